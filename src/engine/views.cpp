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
  if (!runtime.verdict.closed.empty() && runtime.verdict.closed != kLabelsUnknown) return "failed: " + runtime.verdict.closed;
  if (!runtime.vxlan_trouble.empty()) return "pending: way to other hosts: " + runtime.vxlan_trouble;
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
                     .generation = runtime.generation, .spans_hosts = network.settings.spans_hosts(), .vni = {},
                     .underlay = network.underlay.self, .peers = network.underlay.peers,
                     .state = state_text(runtime), .packets = {}};
    if (view.spans_hosts) view.vni = network.settings.vni;
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
                      .joined_ms = endpoint.joined_ms, .quarantined = quarantine_reason(core, endpoint), .labels = {},
                     .gateway_v4 = endpoint.gateway4, .gateway_v6 = endpoint.gateway6,
                     .waiting = core.waits_for_gateway(endpoint) ? "waiting for its gateway address" : ""};
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

namespace {

std::string remedy(const std::string& state) {
  if (state.starts_with("policy"))
    return "; its endpoints are quarantined until the network is made anew with a policy that parses";
  if (state.starts_with("failed")) return "; its endpoints are quarantined until then";
  return "; being tried again";
}

// What keeps the containers of a network that spans hosts from those on other hosts; "" when nothing does.
std::string cut_off(const Core& core, const Network& network) {
  if (!network.settings.spans_hosts()) return "";
  if (!network.settings.vni)
    return "it has no VNI: microseg.encoding is for a Swarm's managers to set, leave it out";
  if (!core.setup().guards_host)
    return "microsegd's scope is local, so nothing guards the underlay: set MICROSEG_SCOPE=global on this node";
  if (!core.host().stands)
    return "the host's table, which guards the underlay, is not in place; being tried again";
  if (!network.underlay.self)
    return "Docker has not told this node's address in the Swarm (docker info --format '{{.Swarm.NodeAddr}}'); being "
           "asked again";
  return "";
}

std::string guarded_by_host(const engine::Setup& setup) {
  if (!setup.guards_gateway) return "the underlay";
  return setup.guards_host ? "the underlay and Docker's gateway bridge" : "Docker's gateway bridge";
}

bool goes_beyond(const policy::Policy& policy) {
  return std::ranges::any_of(policy.statements, [](auto& s) { return !s.from.is_endpoint() || !s.to.is_endpoint(); });
}

// Who has which address on the gateway bridge, Docker alone knows.
std::string unjudged(const Core& core) {
  if (core.setup().with_docker) return "";
  bool any = false;
  std::string without_effect;
  for (auto& [id, network] : core.state().networks) {
    any = any || !network.internal;
    if (goes_beyond(runtime_of(core, id).verdict.policy))
      without_effect += (without_effect.empty() ? "" : ", ") + display_name(network);
  }
  if (!any) return "";
  return "without the Docker API (--docker-socket) what containers exchange with the world and with the host is not judged" +
         (without_effect.empty() ? ""
                                 : ", and the statements about world, host or addresses of " + without_effect +
                                       " have no effect");
}

// Of the gateway bridge.
void add_gateway_problems(const Core& core, std::vector<std::string>& out) {
  if (auto why = unjudged(core); !why.empty()) out.push_back(why);
  if (!core.ports().trouble.empty())
    out.push_back("the ports of Docker's gateway bridge are not as they should be: " + core.ports().trouble +
                  "; being tried again");
  for (auto& [id, why] : core.north_troubles()) {
    auto it = core.state().endpoints.find(id);
    if (it == core.state().endpoints.end()) continue;
    auto& identity = it->second.identity;
    out.push_back((identity ? identity->identity.service : id.brief()) + " reaches nothing beyond its networks: " + why);
  }
}

}  // namespace

std::vector<std::string> problems(const Core& core) {
  std::vector<std::string> out;
  std::size_t quarantined = 0;
  if (!core.host().trouble.empty())
    out.push_back("the host's table, which guards " + guarded_by_host(core.setup()) + ", is not as it should be: " +
                  core.host().trouble + "; being tried again");
  add_gateway_problems(core, out);
  for (auto& [id, network] : core.state().networks) {
    if (auto why = cut_off(core, network); !why.empty())
      out.push_back("network " + display_name(network) + " does not reach other hosts: " + why);
    auto state = state_text(runtime_of(core, id));
    if (state != "ok") out.push_back("network " + display_name(network) + ": " + state + remedy(state));
  }
  for (auto& [id, endpoint] : core.state().endpoints)
    if (!quarantine_reason(core, endpoint).empty()) ++quarantined;
  if (quarantined)
    out.push_back(std::to_string(quarantined) +
                  " endpoints are quarantined and allowed nothing; `microseg endpoints` says why");
  return out;
}

}  // namespace microseg::engine
