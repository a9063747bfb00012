#include "network_reads.h"

#include <algorithm>

namespace microseg::engine {

using std::chrono::steady_clock;

void NetworkReads::removal_begins(const NetworkId& network, const EndpointId& endpoint) {
  std::lock_guard lock(mutex_);
  traffic_[network].removals[endpoint] = steady_clock::now() + forgotten_;
}

void NetworkReads::await_reads(const NetworkId& network) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience_, [&] {
    auto it = traffic_.find(network);
    return it == traffic_.end() || it->second.reads == 0;
  });
}

void NetworkReads::removal_ends(const NetworkId& network, const EndpointId& endpoint) {
  {
    std::lock_guard lock(mutex_);
    auto it = traffic_.find(network);
    if (it == traffic_.end()) return;
    it->second.removals.erase(endpoint);
    tidy(network);
  }
  changed_.notify_all();
}

Result<docker::NetworkInfo> NetworkReads::network(const NetworkId& id, docker::Deadline deadline) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, std::min(deadline, steady_clock::now() + patience_), [&] { return !being_removed(id); });
    ++traffic_[id].reads;
  }
  auto answer = api_->network(id, deadline);
  {
    std::lock_guard lock(mutex_);
    --traffic_[id].reads;
    tidy(id);
  }
  changed_.notify_all();
  return answer;
}

bool NetworkReads::being_removed(const NetworkId& network) {
  auto it = traffic_.find(network);
  if (it == traffic_.end()) return false;
  std::erase_if(it->second.removals, [now = steady_clock::now()](auto& removal) { return removal.second <= now; });
  return !it->second.removals.empty();
}

void NetworkReads::tidy(const NetworkId& network) {
  auto it = traffic_.find(network);
  if (it != traffic_.end() && it->second.reads == 0 && it->second.removals.empty()) traffic_.erase(it);
}

}  // namespace microseg::engine
