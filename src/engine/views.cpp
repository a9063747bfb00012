#include "views.h"

#include <algorithm>

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

std::string display_name(const Network& network) { return network.name.value_or(network.id.brief()); }

const Core::Runtime& runtime_of(const Core& core, const NetworkId& id) { return core.runtimes().at(id); }

std::string state_text(const Core::Runtime& runtime) {
  if (!runtime.trouble.empty()) return "pending: " + runtime.trouble;
  if (runtime.verdict.closed.starts_with("policy error")) return runtime.verdict.closed;
  if (!runtime.link_trouble.empty()) return "pending: " + runtime.link_trouble.begin()->second;
  return "ok";
}

}  // namespace

std::string quarantine_reason(const Core& core, const Endpoint& endpoint) {
  if (endpoint.phase != Endpoint::Phase::joined) return "";
  if (!endpoint.identity) return endpoint.quarantined;
  auto& verdict = runtime_of(core, endpoint.network).verdict;
  if (verdict.judgement.needs_labels && endpoint.identity->container_id.empty())
    return "the policy asks for labels, and its container is not known yet";
  return verdict.closed;
}

std::vector<NetworkView> view_networks(Core& core) {
  std::vector<NetworkView> out;
  for (auto& [id, network] : core.state().networks) {
    auto& runtime = runtime_of(core, id);
    NetworkView view{.id = id, .name = network.name.value_or(""), .mode = network.settings.mode,
                     .subnets = network.subnets, .applied_version = network.applied.version,
                     .generation = runtime.generation, .state = state_text(runtime), .packets = {}};
    for (auto& [_, endpoint] : core.state().endpoints)
      if (endpoint.network == id) {
        ++view.endpoints;
        if (!quarantine_reason(core, endpoint).empty()) ++view.quarantined;
      }
    if (auto counters = core.kernel().counters(id.brief())) view.packets = std::move(counters).value();
    out.push_back(std::move(view));
  }
  return out;
}

std::vector<EndpointView> view_endpoints(const Core& core) {
  std::vector<EndpointView> out;
  for (auto& [id, endpoint] : core.state().endpoints) {
    auto& network = core.state().networks.at(endpoint.network);
    const bool joined = endpoint.phase == Endpoint::Phase::joined;
    EndpointView view{.id = id, .network = endpoint.network, .network_name = display_name(network), .service = {},
                      .source = {}, .container = {},
                      .class_number = render::class_of(endpoint, runtime_of(core, endpoint.network).verdict.judgement),
                      .v4 = endpoint.v4, .v6 = endpoint.v6, .mac = endpoint.mac,
                      .link = joined ? render::link_name(id).str() : "", .phase = joined ? "joined" : "created",
                      .joined_ms = endpoint.joined_ms, .quarantined = quarantine_reason(core, endpoint), .labels = {}};
    if (endpoint.identity) {
      view.service = endpoint.identity->identity.service;
      view.source = model::to_string(endpoint.identity->source);
      view.container = endpoint.identity->container_name;
      view.labels = endpoint.identity->identity.labels;
    }
    out.push_back(std::move(view));
  }
  return out;
}

PolicyView view_policy(const Core& core, const Network& network) {
  auto& verdict = runtime_of(core, network.id).verdict;
  PolicyView out{.network = network.id, .network_name = network.name.value_or(""), .sources = {}, .effective = {},
                 .applied = network.applied};
  for (auto& source : verdict.sources) {
    const char* kind = source.origin == kOptionOrigin ? "option" : source.origin == kLabelOrigin ? "label" : "applied";
    out.sources.push_back({kind, source.text, source.error});
  }
  out.effective = policy::print(verdict.policy);
  if (verdict.judgement.numbering) out.classes = policy::class_count(verdict.judgement.numbering->alphabet);
  out.elements = verdict.judgement.allow->size();
  return out;
}

std::vector<std::string> problems(const Core& core) {
  std::vector<std::string> out;
  std::size_t quarantined = 0;
  for (auto& [id, network] : core.state().networks) {
    auto state = state_text(runtime_of(core, id));
    if (state == "ok") continue;
    out.push_back("network " + display_name(network) + ": " + state +
                  (state.starts_with("policy") ? "; its endpoints are quarantined until the network is made anew "
                                                 "with a policy that parses"
                                               : "; being tried again"));
  }
  for (auto& [id, endpoint] : core.state().endpoints)
    if (!quarantine_reason(core, endpoint).empty()) ++quarantined;
  if (quarantined)
    out.push_back(std::to_string(quarantined) +
                  " endpoints are quarantined and allowed nothing; `microseg endpoints` says why");
  return out;
}

}  // namespace microseg::engine
