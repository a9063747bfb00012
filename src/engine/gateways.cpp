#include "gateways.h"

namespace microseg::engine {

void Gateways::expect(const std::string& sandbox) {
  sandboxes_.insert(sandbox);
  if (!ours_.contains(sandbox)) expected_.insert(sandbox);
}

void Gateways::forget(const std::string& sandbox) {
  sandboxes_.erase(sandbox);
  expected_.erase(sandbox);
  ours_.erase(sandbox);
}

void Gateways::settle(const std::string& sandbox) { expected_.erase(sandbox); }

void Gateways::doubt() {
  if (holding()) foreign_.clear();
}

void Gateways::take(const docker::GatewayBridge& listing, std::uint64_t asked) {
  if (asked <= taken_) return;
  taken_ = asked;
  link_ = listing.link;
  foreign_.clear();
  for (auto& [sandbox, addresses] : listing.sandboxes) {
    if (sandboxes_.contains(sandbox)) {
      ours_.insert_or_assign(sandbox, addresses);
      expected_.erase(sandbox);
      continue;
    }
    for (auto& ip : {addresses.v4, addresses.v6})
      if (ip) foreign_.insert(*ip);
  }
  // One of ours that is not listed is on its way out and keeps its address until its Leave, or until the address is
  // somebody else's.
  auto taken_over = [&](const Addresses& a) {
    return (a.v4 && foreign_.contains(*a.v4)) || (a.v6 && foreign_.contains(*a.v6));
  };
  std::erase_if(ours_, [&](auto& entry) { return !listing.sandboxes.contains(entry.first) && taken_over(entry.second); });
}

std::string sandbox_name(const std::string& sandbox_key) {
  auto slash = sandbox_key.rfind('/');
  return slash == std::string::npos ? sandbox_key : sandbox_key.substr(slash + 1);
}

}  // namespace microseg::engine
