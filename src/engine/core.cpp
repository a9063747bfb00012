#include "core.h"

#include <algorithm>

#include "microseg/base/log.h"
#include "microseg/reconcile/steps.h"

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

std::string addresses_text(const Endpoint& endpoint) {
  std::string out = endpoint.v4 ? endpoint.v4->ip().str() : "";
  if (endpoint.v6) out += (out.empty() ? "" : " ") + endpoint.v6->ip().str();
  return out;
}

// Another network of this host, of those that span hosts, with the same VNI: packets of the one would end in the other.
const Network* with_vni_of(const model::State& state, const Network& network) {
  if (!network.settings.spans_hosts() || !network.settings.vni) return nullptr;
  for (auto& [id, other] : state.networks)
    if (id != network.id && other.settings.spans_hosts() && other.settings.vni == network.settings.vni) return &other;
  return nullptr;
}

// An endpoint of the network that holds one of these addresses: it is dead, or Docker would not give them out again.
const Endpoint* holder(const model::State& state, const CreateEndpoint& request) {
  auto same = [](const std::optional<Prefix>& a, const std::optional<Prefix>& b) { return a && b && a->ip() == b->ip(); };
  for (auto& [id, endpoint] : state.endpoints)
    if (endpoint.network == request.network && id != request.id &&
        (same(endpoint.v4, request.v4) || same(endpoint.v6, request.v6)))
      return &endpoint;
  return nullptr;
}

}  // namespace

Core::Core(kernel::Kernel& kernel, store::Store& store, Clock now, Setup setup)
    : kernel_(kernel), store_(store), now_(std::move(now)), setup_(setup) {}

Status Core::start() {
  MS_TRY(state_, store_.load());
  for (auto& [id, network] : state_.networks)
    if (auto done = reconsider(network); !done)
      log_error("policy not in force", {{"net", id.brief()}, {"error", done.error().text}});
  if (setup_.guards_gateway) restore_gateways();
  (void)ports_round();
  (void)host_round();  // before any VXLAN device; what goes wrong is kept, logged and tried again
  std::vector<std::string> wanted;
  for (auto& [id, network] : state_.networks) {
    wanted.push_back(id.brief());
    if (auto done = round(id); !done)
      log_error("network not adopted", {{"net", id.brief()}, {"error", done.error().text}});
  }
  auto present = kernel_.segments();
  if (!present) {
    log_error("segments not listed", {{"error", present.error().text}});
    return {};
  }
  for (auto& name : present.value())
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
      auto gone = kernel_.delete_segment(name);
      log_info("unknown segment removed", {{"segment", name}, {"error", gone ? "none" : gone.error().text}});
    }
  return {};
}

// ---- networks ----

Status Core::create_network(const CreateNetwork& request) {
  const std::string what = "create network " + request.id.brief();
  if (auto it = state_.networks.find(request.id); it != state_.networks.end()) {
    auto& have = it->second;
    if (have.options == request.options && have.internal == request.internal && have.subnets == request.subnets) return {};
    return Error{Errc::exists, 0, what + ": it exists with other options; remove it first"};
  }
  MS_TRY(auto settings, model::parse_settings(request.options).in(what));
  Network network{.id = request.id, .options = request.options, .settings = settings, .internal = request.internal,
                  .subnets = request.subnets, .name = {}, .labels = {}, .applied = {}, .blocks = {},
                  .underlay = {}, .created_ms = now_()};
  if (!setup_.with_docker && !settings.spans_hosts()) network.labels = policy::Labels{};
  MS_CHECK(check_across_hosts(settings).in(what));
  if (auto* other = with_vni_of(state_, network))
    return Error{Errc::exists, 0,
                 what + ": its VNI " + std::to_string(*settings.vni) + " is that of the network " +
                     other->name.value_or(other->id.brief()) + " on this node; create it with another microseg.vni"};
  // Until Docker has told: this host is the same for all networks.
  for (auto& [id, underlay] : underlays())
    if (settings.spans_hosts() && underlay.self) network.underlay.self = underlay.self;
  auto verdict = judge(network, now_(), setup_.with_docker);
  network.blocks = verdict.blocks;
  MS_CHECK(store_.write({.put_networks = {network}}).in(what));
  state_.networks.insert_or_assign(request.id, network);
  runtimes_[request.id].verdict = std::move(verdict);
  if (auto done = round(request.id); !done) {
    (void)delete_network(request.id);
    return std::move(done).in(what);
  }
  log_info("network created", {{"net", request.id.brief()}});
  return {};
}

Status Core::delete_network(const NetworkId& id) {
  if (!state_.networks.contains(id)) return {};
  std::erase_if(state_.endpoints, [&](auto& entry) { return entry.second.network == id; });
  state_.networks.erase(id);
  runtimes_.erase(id);
  norths_.clear();
  follow_sandboxes();
  auto kernel = kernel_.delete_segment(id.brief());
  (void)host_round();  // with the device gone, nobody needs to be let in to it
  auto stored = store_.write({.remove_networks = {id}});
  log_info("network removed", {{"net", id.brief()}});
  MS_CHECK(std::move(kernel).in("remove network " + id.brief()));
  return std::move(stored).in("remove network " + id.brief());
}

// ---- endpoints ----

Result<std::optional<Mac>> Core::create_endpoint(const CreateEndpoint& request) {
  const std::string what = "create endpoint " + request.id.brief();
  if (!state_.networks.contains(request.network))
    return Error{Errc::not_found, 0,
                 what + ": unknown network " + request.network.brief() +
                     "; it was made without microseg, or its state was lost: remove the network and create it again"};
  MS_CHECK(model::check_endpoint_options(request.options).in(what));
  const Mac mac = request.mac ? *request.mac : render::default_mac(request.id, request.v4);
  const std::optional<Mac> answer = request.mac ? std::nullopt : std::optional(mac);
  if (auto it = state_.endpoints.find(request.id); it != state_.endpoints.end()) {
    auto& have = it->second;
    if (have.network == request.network && have.v4 == request.v4 && have.v6 == request.v6 && have.mac == mac &&
        have.options == request.options)
      return answer;
    return Error{Errc::exists, 0, what + ": it exists with other addresses or options; remove it first"};
  }
  Endpoint endpoint{.id = request.id, .network = request.network, .v4 = request.v4, .v6 = request.v6, .mac = mac,
                    .options = request.options, .phase = Endpoint::Phase::created, .sandbox = {}, .identity = {},
                    .quarantined = "not joined yet", .created_ms = now_(), .joined_ms = 0, .resolvers = request.resolvers};
  // Docker gave this address out again, so whoever holds it is dead and its end did not reach us.
  if (auto* dead = holder(state_, request)) {
    log_warn("endpoint evicted, its address was given out again",
             {{"net", request.network.brief()}, {"ep", dead->id.brief()}, {"address", addresses_text(*dead)}});
    MS_CHECK(delete_endpoint(EndpointId(dead->id)).in(what));
  }
  MS_CHECK(store_.write({.put_endpoints = {endpoint}}).in(what));
  state_.endpoints.insert_or_assign(request.id, endpoint);
  return answer;
}

Status Core::delete_endpoint(const EndpointId& id) {
  auto it = state_.endpoints.find(id);
  if (it == state_.endpoints.end()) return {};
  const NetworkId network = it->second.network;
  const bool joined = it->second.phase == Endpoint::Phase::joined;
  state_.endpoints.erase(it);
  follow_sandboxes();
  // The kernel first, whatever the disk says: a full disk must not keep a dead endpoint's permissions alive.
  Status kernel;
  if (joined) kernel = round(network, {.later = true});
  auto stored = store_.write({.remove_endpoints = {id}});
  MS_CHECK(std::move(kernel).in("remove endpoint " + id.brief()));
  return std::move(stored).in("remove endpoint " + id.brief());
}

bool Core::needs_look_up(const EndpointId& id) const {
  auto it = state_.endpoints.find(id);
  if (it == state_.endpoints.end()) return false;
  auto& network = state_.networks.at(it->second.network);
  if (!network.labels) return true;
  return runtimes_.at(it->second.network).verdict.judgement.needs_labels ||
         !model::resolve_identity(it->second.options, nullptr);
}

bool Core::place(Endpoint& endpoint, const Facts& facts) const {
  const Endpoint before = endpoint;
  auto identity = model::resolve_identity(endpoint.options, facts.container ? &*facts.container : nullptr);
  if (identity) {
    endpoint.identity = std::move(identity);
    endpoint.quarantined.clear();
  } else if (!endpoint.identity) {
    endpoint.quarantined = !facts.trouble.empty() ? facts.trouble
                           : setup_.with_docker         ? "its container is not known yet"
                                                  : "no service: without the Docker API set the endpoint option "
                                                    "microseg.service";
  }
  return endpoint != before;
}

bool Core::take_network_facts(Network& network, const Facts& facts) {
  bool changed = false;
  if (facts.network_name && network.name != facts.network_name) network.name = facts.network_name, changed = true;
  if (facts.network_labels && network.labels != facts.network_labels) {
    network.labels = facts.network_labels;
    changed = true;
  }
  return changed;
}

Status Core::reconsider(Network& network) {
  auto& runtime = runtimes_[network.id];
  const std::string closed_before = runtime.verdict.closed;
  runtime.verdict = judge(network, now_(), setup_.with_docker);
  norths_.clear();
  if (runtime.verdict.closed != closed_before && runtime.verdict.closed.starts_with("policy error"))
    log_error("network closed: all its endpoints are quarantined",
              {{"net", network.id.brief()}, {"name", network.name.value_or("")}, {"why", runtime.verdict.closed}});
  if (runtime.verdict.blocks == network.blocks) return {};
  network.blocks = runtime.verdict.blocks;
  return store_.write({.put_networks = {network}});
}

Result<Joined> Core::join(const Join& request, const Facts& facts) {
  const std::string what = "join endpoint " + request.endpoint.brief();
  auto it = state_.endpoints.find(request.endpoint);
  if (it == state_.endpoints.end() || it->second.network != request.network)
    return Error{Errc::not_found, 0, what + ": unknown endpoint"};
  auto& network = state_.networks.at(request.network);
  auto& endpoint = it->second;
  if (endpoint.phase == Endpoint::Phase::joined) MS_CHECK(leave(request.endpoint).in(what));

  if (take_network_facts(network, facts)) {
    MS_CHECK(store_.write({.put_networks = {network}}).in(what));
    MS_CHECK(reconsider(network).in(what));
  }
  Endpoint joined = endpoint;
  joined.phase = Endpoint::Phase::joined;
  joined.sandbox = request.sandbox;
  joined.joined_ms = now_();
  joined.published = request.published;
  joined.gateway4.reset(), joined.gateway6.reset(), joined.gateway_mac.reset();
  joined.identity.reset();
  (void)place(joined, facts);
  MS_CHECK(store_.write({.put_endpoints = {joined}}).in(what));
  endpoint = joined;
  if (uses_gateway(joined)) expect_gateway(facts);

  auto done = round(request.network, {.fresh = &request.endpoint, .later = true});
  auto& runtime = runtimes_.at(request.network);
  if (auto trouble = runtime.link_trouble.find(request.endpoint); done && trouble != runtime.link_trouble.end())
    done = Error{Errc::unavailable, 0, trouble->second};
  if (done && uses_gateway(joined) && !host_.trouble.empty())
    done = Error{Errc::unavailable, 0, "what passes Docker's gateway bridge cannot be guarded: " + host_.trouble};
  if (!done) {
    (void)leave(request.endpoint);
    return std::move(done).in(what).error();
  }
  Joined answer{render::link_name(request.endpoint), network.settings.interface_prefix, {}};
  for (auto& route : render::container_routes(network, joined)) answer.routes.push_back({route.destination, route.via});
  if (joined.quarantined.empty())
    log_info("endpoint joined", {{"net", request.network.brief()}, {"ep", request.endpoint.brief()},
                                 {"service", joined.identity->identity.service}, {"address", addresses_text(joined)},
                                 {"link", answer.source.str()}});
  else
    log_warn("endpoint joined in quarantine",
             {{"net", request.network.brief()}, {"ep", request.endpoint.brief()},
              {"address", addresses_text(joined)}, {"link", answer.source.str()}, {"why", joined.quarantined}});
  return answer;
}

Status Core::leave(const EndpointId& id) {
  auto it = state_.endpoints.find(id);
  if (it == state_.endpoints.end() || it->second.phase != Endpoint::Phase::joined) return {};
  it->second.phase = Endpoint::Phase::created;
  it->second.sandbox.clear();
  it->second.gateway4.reset(), it->second.gateway6.reset(), it->second.gateway_mac.reset();
  follow_sandboxes();
  it->second.identity.reset();
  it->second.quarantined = "not joined yet";
  auto kernel = round(it->second.network, {.later = true});
  auto stored = store_.write({.put_endpoints = {it->second}});
  log_info("endpoint left", {{"net", it->second.network.brief()}, {"ep", id.brief()}});
  MS_CHECK(std::move(kernel).in("leave endpoint " + id.brief()));
  return std::move(stored).in("leave endpoint " + id.brief());
}

std::vector<const Endpoint*> Core::endpoints_of(const NetworkId& id) const {
  std::vector<const Endpoint*> out;
  for (auto& [_, endpoint] : state_.endpoints)
    if (endpoint.network == id) out.push_back(&endpoint);
  return out;
}

}  // namespace microseg::engine
