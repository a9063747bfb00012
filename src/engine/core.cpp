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

std::string addresses_text(const std::vector<Ip>& addresses) {
  std::string out;
  for (auto& address : addresses) out += (out.empty() ? "" : " ") + address.str();
  return out.empty() ? "none" : out;
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

// ---- what is learnt later ----

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

void Core::renamed(const model::Container& container) {
  for (auto& [id, endpoint] : state_.endpoints) {
    if (!endpoint.identity || endpoint.identity->container_id != container.id) continue;
    auto network = state_.networks.find(endpoint.network);
    if (network == state_.networks.end()) continue;
    learn({endpoint.network, id}, Facts{.network_name = {}, .network_labels = {}, .container = container, .trouble = {}});
  }
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

// ---- policy ----

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

std::vector<const Endpoint*> Core::endpoints_of(const NetworkId& id) const {
  std::vector<const Endpoint*> out;
  for (auto& [_, endpoint] : state_.endpoints)
    if (endpoint.network == id) out.push_back(&endpoint);
  return out;
}

}  // namespace microseg::engine
