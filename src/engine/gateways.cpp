#include "gateways.h"

namespace microseg::engine {

void Gateways::follow(const std::set<std::string>& sandboxes, std::int64_t now) {
  auto gone = [&](auto& entry) { return !sandboxes.contains(entry.first); };
  for (auto& [sandbox, addresses] : ours_)
    if (!sandboxes.contains(sandbox)) parting_.insert_or_assign(sandbox, Parting{addresses});
  std::erase_if(sandboxes_, gone);
  std::erase_if(ours_, gone);
  for (auto& sandbox : sandboxes) parting_.erase(sandbox);
  for (auto& sandbox : sandboxes) sandboxes_.try_emplace(sandbox, now);
}

void Gateways::restore(const std::string& sandbox, const Addresses& addresses) {
  sandboxes_.try_emplace(sandbox, 0);
  if (addresses.v4 || addresses.v6) ours_.insert_or_assign(sandbox, addresses);
}

bool Gateways::urgent(std::int64_t now) const {
  constexpr std::int64_t kForMs = 5'000;
  for (auto& [sandbox, since] : sandboxes_)
    if (!ours_.contains(sandbox) && now - since < kForMs) return true;
  return false;
}

void Gateways::take(const docker::GatewayBridge& listing, std::int64_t asked) {
  if (asked <= taken_ || asked <= doubted_) return;
  taken_ = asked;
  link_ = listing.link;
  foreign_ = listing.gateways;
  constexpr std::int64_t kLivesOnNs = 2'000'000'000;
  for (auto& [sandbox, parting] : parting_)
    if (parting.listed == 0) parting.listed = asked;
  std::erase_if(parting_, [&](auto& entry) {
    return !listing.sandboxes.contains(entry.first) || asked - entry.second.listed >= kLivesOnNs;
  });
  for (auto& [sandbox, addresses] : listing.sandboxes) {
    if (parting_.contains(sandbox)) continue;
    if (sandboxes_.contains(sandbox)) {
      ours_.insert_or_assign(sandbox, addresses);
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

std::vector<Gateways::Addresses> Gateways::parting() const {
  std::vector<Addresses> out;
  for (auto& [sandbox, parting] : parting_) out.push_back(parting.addresses);
  return out;
}

std::string sandbox_name(const std::string& sandbox_key) {
  auto slash = sandbox_key.rfind('/');
  return slash == std::string::npos ? sandbox_key : sandbox_key.substr(slash + 1);
}

}  // namespace microseg::engine
