// Policy that is applied while the network lives.
#include "core.h"
#include "microseg/base/log.h"

namespace microseg::engine {

using model::Network;

Result<const Network*> Core::find_network(const std::string& name_or_id) const {
  const Network* found = nullptr;
  std::string all;
  int matches = 0;
  for (auto& [id, network] : state_.networks) {
    if (id.str() == name_or_id) return &network;
    if (network.name == name_or_id || (!name_or_id.empty() && id.str().starts_with(name_or_id))) {
      found = &network;
      ++matches;
    }
    all += (all.empty() ? "" : ", ") + network.name.value_or(id.brief());
  }
  if (matches == 1) return found;
  if (matches > 1) return Error{Errc::invalid, 0, "'" + name_or_id + "' fits several networks; give the full id"};
  return Error{Errc::not_found, 0,
               "no microseg network '" + name_or_id + "'; " + (all.empty() ? "there is none" : "there is: " + all)};
}

Status Core::set_policy(const std::string& name, const std::string& text) {
  MS_TRY(auto* found, find_network(name));
  if (found->settings.spans_hosts())
    return Error{Errc::unsupported, 0,
                 "network " + name + " spans hosts: a policy applied on one node would hold on that node alone; "
                 "put it into the network's options (microseg.policy) or labels when you create it"};
  MS_CHECK(policy::parse(text, kAppliedOrigin));
  Network network = *found;
  network.applied = {network.applied.version + 1, text, now_()};
  auto verdict = judge(network, now_(), setup_.with_docker);
  // The other sources' errors do not keep anybody from applying; what is wrong with this one does.
  for (auto& source : verdict.sources)
    if (source.origin == kAppliedOrigin && !source.error.empty()) return Error{Errc::invalid, 0, source.error};
  if (verdict.closed.starts_with("policy error")) {
    bool others = false;
    for (auto& source : verdict.sources) others = others || !source.error.empty();
    if (!others) return Error{Errc::invalid, 0, verdict.closed};
  }
  if (verdict.closed.empty()) MS_CHECK(enforce(verdict, endpoints_of(network.id)));
  network.blocks = verdict.blocks;
  MS_CHECK(store_.write({.put_networks = {network}, .add_revisions = {{network.id, network.applied}}}));
  state_.networks.insert_or_assign(network.id, network);
  runtimes_[network.id].verdict = std::move(verdict);
  norths_.clear();
  log_info("policy applied", {{"net", network.id.brief()}, {"version", std::to_string(network.applied.version)}});
  return round(network.id).in("policy is stored as version " + std::to_string(network.applied.version) +
                              " and will be tried again, but it is not in force yet");
}

Result<std::uint64_t> Core::apply_policy(const std::string& network, const std::string& text) {
  MS_CHECK(set_policy(network, text));
  return find_network(network).value()->applied.version;
}

Status Core::remove_policy(const std::string& network) { return set_policy(network, ""); }

Result<HistoryView> Core::policy_history(const std::string& name) {
  MS_TRY(auto* network, find_network(name));
  MS_TRY(auto versions, store_.revisions(network->id));
  return HistoryView{network->id, network->name.value_or(""), std::move(versions)};
}

}  // namespace microseg::engine
