// What containers of ours may do through Docker's gateway bridge: who they are there, what their networks' policies
// allow them beyond the network, and the bridge's ports they are behind.
#include <algorithm>
#include <chrono>
#include <list>
#include <set>
#include <utility>

#include "core.h"
#include "microseg/base/log.h"
#include "microseg/reconcile/host.h"
#include "microseg/reconcile/ports.h"
#include "microseg/render/ports_table.h"

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

std::int64_t steady_now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// A network in monitor mode refuses nothing.
const policy::Policy& anything() {
  static const auto policy =
      policy::parse("allow any -> world; allow world -> any; allow any -> host; allow host -> any", "microseg.mode").value();
  return policy;
}

bool monitors(const Network& network) { return network.settings.mode == model::Mode::monitor; }

// Whether policy takes a published port from somebody beyond the network.
bool denied(const policy::Policy& policy, const policy::Identity& to, const model::PublishedPort& port) {
  return std::ranges::any_of(policy.statements, [&](auto& statement) {
    if (statement.action != policy::Statement::Action::deny || statement.from.is_endpoint()) return false;
    if (!policy::matches(statement.to, to)) return false;
    return statement.ports.empty() || std::ranges::any_of(statement.ports, [&](auto& item) {
             return item.protocol == port.protocol && item.first <= port.port && port.port <= item.last;
           });
  });
}

// The policy, and what publishing these ports says.
policy::Policy opened(policy::Policy policy, const std::set<render::Port>& ports) {
  policy::Statement statement;
  statement.to.kind = policy::Peer::Kind::any;
  for (auto& port : ports) statement.ports.push_back({port.protocol, port.number, port.number});
  for (auto kind : {policy::Peer::Kind::world, policy::Peer::Kind::host}) {
    statement.from.kind = kind;
    policy.statements.push_back(statement);
  }
  return policy;
}

// The endpoint of `sandbox` that shares a network with `endpoint`.
const Endpoint* on_same_network(const std::vector<const Endpoint*>& sandbox, const Endpoint& endpoint) {
  auto it = std::ranges::find_if(sandbox, [&](auto* other) { return other->network == endpoint.network; });
  return it == sandbox.end() ? nullptr : *it;
}

}  // namespace

// Joined endpoints by sandbox.
std::map<std::string, std::vector<const Endpoint*>> Core::sandboxes() const {
  std::map<std::string, std::vector<const Endpoint*>> out;
  for (auto& [id, endpoint] : state_.endpoints)
    if (endpoint.phase == Endpoint::Phase::joined) out[sandbox_name(endpoint.sandbox)].push_back(&endpoint);
  return out;
}

std::uint16_t Core::class_in_force(const Endpoint& endpoint) const {
  auto& verdict = runtimes_.at(endpoint.network).verdict;
  return verdict.closed.empty() ? render::class_of(endpoint, verdict.judgement) : std::uint16_t{0};
}

// A network that says nothing for sure, or an endpoint that nobody knows, adds no permission. The class says all that
// policy can ask of an endpoint.
Result<policy::North> Core::north_of(const std::vector<const Endpoint*>& sandbox, const Judged& judged) {
  static const policy::Identity anybody;
  NorthKey key;
  std::vector<policy::Member> members;
  std::list<policy::Policy> made;
  for (auto* endpoint : sandbox) {
    const auto number = class_in_force(*endpoint);
    const bool free = monitors(state_.networks.at(endpoint->network));
    if (!number && !free) continue;
    auto* policy = free ? &anything() : &runtimes_.at(endpoint->network).verdict.policy;
    auto ports = judged.find(endpoint->id);
    if (ports != judged.end() && !free) policy = &made.emplace_back(opened(*policy, ports->second));
    key.emplace_back(endpoint->network, number, ports != judged.end() ? ports->second : std::set<render::Port>{});
    members.push_back({policy, endpoint->identity ? &endpoint->identity->identity : &anybody});
  }
  if (auto known = norths_.find(key); known != norths_.end()) return known->second;
  auto north = policy::north(members);
  if (!north)
    log_error("a container reaches nothing beyond its networks", {{"ep", sandbox.front()->id.brief()}, {"error", north.error().text}});
  return norths_.emplace(std::move(key), std::move(north)).first->second;
}

// Ports of the host that lead to other containers' published ports, where policy lets this one go there as well.
std::vector<render::Port> Core::proxied_for(const std::vector<const Endpoint*>& sandbox,
                                            const std::vector<const Endpoint*>& other) const {
  std::set<render::Port> out;
  for (auto* to : other)
    for (auto& port : to->published) {
      auto* from = on_same_network(sandbox, *to);
      if (!port.host_port || !from || !class_in_force(*from) || !class_in_force(*to)) continue;
      auto& policy = runtimes_.at(to->network).verdict.policy;
      if (policy::explain(policy, from->identity->identity, to->identity->identity, port.protocol, port.port).allowed)
        out.insert({port.protocol, port.host_port});
    }
  return {out.begin(), out.end()};
}

render::Gateway Core::gateway() {
  render::Gateway out;
  out.holding = gateways_.holding();
  out.link = gateways_.link();
  out.foreign = gateways_.foreign();
  out.resolvers = setup_.resolvers ? setup_.resolvers() : std::vector<Ip>{};
  const auto all = sandboxes();
  north_troubles_.clear();
  for (auto& [name, addresses] : gateways_.ours()) {
    auto it = all.find(name);
    if (it == all.end()) continue;
    const auto& sandbox = it->second;
    render::GatewayMember member{.v4 = addresses.v4, .v6 = addresses.v6};
    // An address that others could use as well is ours and may do nothing.
    const auto kept = [&](const std::optional<Ip>& ip) { return !ip || ports_.kept.contains(*ip); };
    if (!kept(member.v4) || !kept(member.v6)) {
      out.members.push_back(std::move(member));
      continue;
    }
    std::set<render::Port> published, proxied;
    Judged judged;
    for (auto* endpoint : sandbox) {
      if (!class_in_force(*endpoint)) continue;
      if (state_.networks.at(endpoint->network).settings.publish == model::Publish::implicitly)
        for (auto& port : endpoint->published) {
          auto& policy = runtimes_.at(endpoint->network).verdict.policy;
          const render::Port number{port.protocol, port.port};
          if (denied(policy, endpoint->identity->identity, port)) judged[endpoint->id].insert(number);
          else published.insert(number);
        }
      member.resolvers.insert(member.resolvers.end(), endpoint->resolvers.begin(), endpoint->resolvers.end());
    }
    if (auto north = north_of(sandbox, judged)) member.north = std::move(north).value();
    else north_troubles_[sandbox.front()->id] = north.error().text;
    for (auto& [other, endpoints] : all)
      if (other != name)
        for (auto& port : proxied_for(sandbox, endpoints)) proxied.insert(port);
    member.published.assign(published.begin(), published.end());
    member.proxied.assign(proxied.begin(), proxied.end());
    out.members.push_back(std::move(member));
  }
  std::set<Ip> given;  // out again already
  for (auto& member : out.members)
    for (auto& ip : {member.v4, member.v6})
      if (ip) given.insert(*ip);
  for (auto& addresses : gateways_.parting()) {
    render::GatewayMember member{.v4 = addresses.v4, .v6 = addresses.v6};
    if (member.v4 && given.contains(*member.v4)) member.v4.reset();
    if (member.v6 && given.contains(*member.v6)) member.v6.reset();
    out.members.push_back(std::move(member));
  }
  return out;
}

bool Core::uses_gateway(const Endpoint& endpoint) const {
  return setup_.guards_gateway && !state_.networks.at(endpoint.network).internal;
}

// What was known before we started: our endpoints' addresses from the store, others' from the table that still stands.
void Core::restore_gateways() {
  for (auto& [name, endpoints] : sandboxes())
    for (auto* endpoint : endpoints)
      if (uses_gateway(*endpoint)) gateways_.restore(name, {endpoint->gateway4, endpoint->gateway6, endpoint->gateway_mac});
  auto seen = kernel_.observe(kernel::kHost, {});
  if (!seen || !seen->table) return;
  std::set<Ip> foreign = render::foreign_in(*seen->table);
  for (auto& [name, addresses] : gateways_.ours())
    for (auto& ip : {addresses.v4, addresses.v6})
      if (ip) foreign.erase(*ip);
  gateways_.restore_foreign(std::move(foreign));
}

void Core::follow_sandboxes() {
  std::set<std::string> names;
  for (auto& [name, endpoints] : sandboxes())
    if (std::ranges::any_of(endpoints, [&](auto* endpoint) { return uses_gateway(*endpoint); })) names.insert(name);
  gateways_.follow(names, now_());
}

void Core::learn_gateways(const docker::GatewayBridge& listing, std::int64_t asked) {
  gateways_.take(listing, asked);
  store::Change change;
  for (auto& [id, endpoint] : state_.endpoints) {
    if (endpoint.phase != Endpoint::Phase::joined) continue;
    auto it = gateways_.ours().find(sandbox_name(endpoint.sandbox));
    const auto addresses = it == gateways_.ours().end() ? Gateways::Addresses{} : it->second;
    if (std::tie(endpoint.gateway4, endpoint.gateway6, endpoint.gateway_mac) ==
        std::tie(addresses.v4, addresses.v6, addresses.mac))
      continue;
    std::tie(endpoint.gateway4, endpoint.gateway6, endpoint.gateway_mac) =
        std::tie(addresses.v4, addresses.v6, addresses.mac);
    change.put_endpoints.push_back(endpoint);
  }
  // Permissions come with the address: what binds that to its port first, so that nobody else can use it. The container may
  // be about to speak, so the disk comes last: what is not stored is held after a restart, until Docker lists it.
  (void)ports_round([this] { (void)host_round(); });
  (void)host_round();
  if (change.put_endpoints.empty()) return;
  if (auto done = store_.write(change); !done)
    log_error("gateway address not stored", {{"error", done.error().text}});
}

// A container that is connected later may be on the bridge already.
void Core::expect_gateway(const Facts& facts) {
  follow_sandboxes();
  if (facts.gateway) learn_gateways(*facts.gateway, facts.gateway_asked);
  else gateways_.doubt(steady_now());
}

bool Core::waits_for_gateway(const Endpoint& endpoint) const {
  return endpoint.phase == Endpoint::Phase::joined && uses_gateway(endpoint) &&
         !gateways_.ours().contains(sandbox_name(endpoint.sandbox));
}

bool Core::gateways_urgent() const { return gateways_.urgent(now_()) || !ports_.unplaced.empty(); }

std::optional<kstate::GatewayPorts> Core::desired_ports() {
  if (!setup_.guards_gateway) return std::nullopt;
  auto bridge = IfName::parse(gateways_.link());
  if (!bridge || gateways_.ours().empty()) return std::nullopt;
  kstate::GatewayPorts out{bridge.value()};
  const auto all = sandboxes();
  for (auto& [name, addresses] : gateways_.ours()) {
    auto it = all.find(name);
    std::set<Ip> ips;
    for (auto& ip : {addresses.v4, addresses.v6})
      if (ip) ips.insert(*ip);
    auto port = it == all.end() ? Result<kstate::PortIndex>(Error{Errc::not_found, 0, "no sandbox"})
                                : kernel_.port_of(it->second.front()->sandbox, out.bridge, addresses.mac);
    if (port && addresses.mac) out.bound.insert_or_assign(port.value(), kstate::PortBinding{*addresses.mac, std::move(ips)});
    else out.unplaced.merge(ips);
  }
  return out;
}

std::set<Ip> Core::kept_addresses() {
  const auto bridge = IfName::parse(gateways_.link());
  auto seen = kernel_.observe(kernel::kHostPorts, {});
  if (!bridge || !seen || !reconcile::does(seen->table, render::ports_table({bridge.value()}, {}))) return {};
  return render::taken_in(*seen->table);
}

Status Core::ports_round(std::function<void()> once_bound) {
  auto attempt = [&]() -> Status {
    const auto desired = desired_ports();
    MS_TRY(auto observed, kernel_.observe(kernel::kHostPorts, {}));
    const auto plan = reconcile::plan_ports(desired, observed);
    ports_.unplaced = desired ? desired->unplaced : std::set<Ip>{};
    std::set<kstate::PortIndex> present;
    for (auto& [index, port] : observed.ports)
      if (port.bridge.str() == gateways_.link()) present.insert(index);
    // The address behind a port that has gone may be one of ours next.
    if (!std::ranges::includes(present, ports_.present)) gateways_.doubt(steady_now());
    ports_.present = std::move(present);
    auto bound = [&] {
      ports_.kept = ports_.unplaced;
      if (!desired) return;
      for (auto& [index, binding] : desired->bound) ports_.kept.insert(binding.addresses.begin(), binding.addresses.end());
    };
    if (plan.empty()) {
      bound();
      return {};
    }
    log_debug("plan", {{"net", kernel::kHostPorts}, {"ops", kstate::to_text(plan)}});
    for (auto& op : plan) {
      if (std::holds_alternative<kstate::BindPort>(op) && once_bound) {
        bound();
        std::exchange(once_bound, nullptr)();
      }
      MS_CHECK(kernel_.apply(kernel::kHostPorts, op));
    }
    bound();
    return {};
  };
  if (!setup_.guards_gateway) return {};
  auto outcome = attempt();
  if (!outcome) outcome = attempt();  // a port may have gone between looking and doing
  if (!outcome) ports_.kept = kept_addresses();
  if (!outcome && ports_.trouble != outcome.error().text)
    log_error("the gateway bridge's ports are not as desired; retrying", {{"error", outcome.error().text}});
  ports_.trouble = outcome ? "" : outcome.error().text;
  if (outcome) ports_.retry_at.reset();
  else ports_.retry_at = now_() + 1000;
  return outcome;
}

}  // namespace microseg::engine
