#include "underlays.h"

#include <vector>

namespace microseg::engine {
namespace {

// An engine starts programs to answer GET /info, and a node's address hardly ever changes.
constexpr std::chrono::seconds kAskSelfEach{15};

docker::Deadline soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(1); }

}  // namespace

std::map<NetworkId, model::Underlay> Underlays::changes(const std::map<NetworkId, model::Underlay>& known,
                                                        docker::Deadline now) {
  std::map<NetworkId, model::Underlay> out;
  if (known.empty()) return out;
  if (!asked_ || now - *asked_ >= kAskSelfEach) {
    auto self = api_.node_address(soon());
    if (!self) return out;
    self_ = self.value();
    asked_ = now;
  }
  for (auto& [id, before] : known) {
    // Docker lists a network a moment after it had us create it; one that is gone it has us remove, or we find out.
    auto network = api_.network(id, soon());
    if (!network && network.error().code != Errc::not_found) break;
    model::Underlay underlay{self_, network ? network->peers : before.peers};
    if (!self_) underlay.peers.clear();  // the node has left the Swarm
    // A node is among the peers itself. Where it is not, it may have another address by now.
    const bool listed = self_ && std::erase(underlay.peers, *self_) > 0;
    if (network && !network->peers.empty() && !listed) asked_.reset();
    if (underlay != before) out.emplace(id, std::move(underlay));
  }
  return out;
}

}  // namespace microseg::engine
