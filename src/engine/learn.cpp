// What Docker tells later: names, labels, renames, other hosts, and what it no longer has.
#include <algorithm>

#include "core.h"
#include "microseg/base/log.h"

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

std::string addresses_text(const std::vector<Ip>& addresses) {
  std::string out;
  for (auto& address : addresses) out += (out.empty() ? "" : " ") + address.str();
  return out.empty() ? "none" : out;
}

}  // namespace

void Core::learn(const Unresolved& which, const Facts& facts) {
  auto network = state_.networks.find(which.network);
  auto endpoint = state_.endpoints.find(which.endpoint);
  if (network == state_.networks.end()) return;
  bool changed = false;
  store::Change change;
  if (take_network_facts(network->second, facts)) {
    change.put_networks = {network->second};
    changed = true;
  }
  if (changed)
    if (auto done = reconsider(network->second); !done)
      log_error("policy not stored", {{"net", which.network.brief()}, {"error", done.error().text}});
  if (endpoint != state_.endpoints.end() && endpoint->second.phase == Endpoint::Phase::joined &&
      place(endpoint->second, facts)) {
    change.put_endpoints = {endpoint->second};
    changed = true;
    if (endpoint->second.identity)
      log_info("endpoint resolved",
               {{"net", which.network.brief()}, {"ep", which.endpoint.brief()},
                {"service", endpoint->second.identity->identity.service}});
  }
  if (!changed) return;
  if (auto done = store_.write(change); !done)
    log_error("identity not stored", {{"ep", which.endpoint.brief()}, {"error", done.error().text}});
  (void)round(which.network);
}

void Core::learn(const NetworkId& id, const Facts& facts) {
  auto network = state_.networks.find(id);
  if (network == state_.networks.end() || !take_network_facts(network->second, facts)) return;
  auto stored = store_.write({.put_networks = {network->second}});
  if (stored) stored = reconsider(network->second);
  if (!stored) log_error("network's labels not stored", {{"net", id.brief()}, {"error", stored.error().text}});
  (void)round(id);
}

std::vector<NetworkId> Core::unknown_networks() const {
  std::vector<NetworkId> out;
  for (auto& [id, network] : state_.networks)
    if (setup_.with_docker && (!network.labels || !network.name)) out.push_back(id);
  return out;
}

void Core::renamed(const std::string& container_id, const std::string& name) {
  for (auto& [id, endpoint] : state_.endpoints) {
    if (!endpoint.identity || endpoint.identity->container_id != container_id) continue;
    const model::Container container{container_id, name, endpoint.identity->identity.labels};
    learn({endpoint.network, id}, Facts{.network_name = {}, .network_labels = {}, .container = container, .trouble = {}});
  }
}

std::vector<Unresolved> Core::known_otherwise(const NetworkId& id, const std::map<EndpointId, std::string>& names) const {
  std::vector<Unresolved> out;
  for (auto& [ep, name] : names) {
    const auto endpoint = state_.endpoints.find(ep);
    if (endpoint == state_.endpoints.end() || endpoint->second.network != id || !endpoint->second.identity) continue;
    const auto& identity = *endpoint->second.identity;
    if (!identity.container_id.empty() && identity.container_name != name) out.push_back({id, ep});
  }
  return out;
}

std::vector<Unresolved> Core::unresolved() const {
  std::vector<Unresolved> out;
  if (!setup_.with_docker) return out;
  for (auto& [id, endpoint] : state_.endpoints) {
    if (endpoint.phase != Endpoint::Phase::joined) continue;
    auto& network = state_.networks.at(endpoint.network);
    // Without its container an endpoint's labels are not known: a policy may ask for them one day.
    if (!endpoint.identity || endpoint.identity->container_id.empty() || !network.labels)
      out.push_back({endpoint.network, id});
  }
  return out;
}

std::map<NetworkId, model::Underlay> Core::underlays() const {
  std::map<NetworkId, model::Underlay> out;
  for (auto& [id, network] : state_.networks)
    if (network.settings.spans_hosts()) out.emplace(id, network.underlay);
  return out;
}

void Core::learn_underlay(const NetworkId& id, model::Underlay underlay) {
  auto it = state_.networks.find(id);
  if (it == state_.networks.end() || !it->second.settings.spans_hosts()) return;
  auto& peers = underlay.peers;
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  if (underlay.self) std::erase(peers, *underlay.self);
  if (it->second.underlay == underlay) return;
  it->second.underlay = std::move(underlay);
  log_info("peers of a network have changed",
           {{"net", id.brief()}, {"self", it->second.underlay.self ? it->second.underlay.self->str() : "none"},
            {"peers", addresses_text(it->second.underlay.peers)}});
  if (auto done = store_.write({.put_networks = {it->second}}); !done)
    log_error("peers not stored", {{"net", id.brief()}, {"error", done.error().text}});
  (void)round(id);
}

std::vector<NetworkId> Core::network_ids() const {
  std::vector<NetworkId> out;
  for (auto& [id, network] : state_.networks) out.push_back(id);
  return out;
}

bool Core::docker_has(const NetworkId& id, const std::vector<EndpointId>* endpoints, std::int64_t asked_ms) {
  auto network = state_.networks.find(id);
  if (network == state_.networks.end()) return false;
  if (!endpoints) {
    if (network->second.created_ms + kCreatedGraceMs > asked_ms) return true;
    log_info("network is gone from Docker", {{"net", id.brief()}});
    (void)delete_network(id);
    return false;
  }
  std::vector<EndpointId> dead;
  bool too_young = false;
  for (auto& [ep, endpoint] : state_.endpoints) {
    if (endpoint.network != id || std::find(endpoints->begin(), endpoints->end(), ep) != endpoints->end()) continue;
    const bool joined = endpoint.phase == Endpoint::Phase::joined;
    const auto since = joined ? endpoint.joined_ms + kJoinedGraceMs : endpoint.created_ms + kCreatedGraceMs;
    if (since > asked_ms) too_young = true;
    else dead.push_back(ep);
  }
  for (auto& ep : dead) {
    log_info("endpoint is gone from Docker", {{"net", id.brief()}, {"ep", ep.brief()}});
    (void)delete_endpoint(ep);
  }
  return too_young;
}

}  // namespace microseg::engine
