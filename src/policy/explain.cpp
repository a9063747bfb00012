// Policy as people read it: statement by statement, end by end. compile() and north() must agree with what is said here.
#include <algorithm>

#include "microseg/base/overload.h"
#include "microseg/policy/compile.h"
#include "microseg/policy/north.h"

namespace microseg::policy {
namespace {

bool holds(const Term& term, const Labels& labels) {
  const auto found = labels.find(term.key);
  const bool present = found != labels.end();
  switch (term.op) {
    case Term::Op::equals: return present && found->second == term.value;
    case Term::Op::differs: return !present || found->second != term.value;
    case Term::Op::present: return present;
    case Term::Op::absent: break;
  }
  return !present;
}

// In IPv4 `icmp` is ICMP, in IPv6 ICMPv6; without a remote address, both.
bool covers(const PortItem& item, const Ip* remote, std::uint8_t protocol, std::uint16_t port) {
  if (item.protocol == kIcmp)
    return (protocol == kIcmp && (!remote || remote->is_v4())) || (protocol == kIcmpv6 && (!remote || !remote->is_v4()));
  return item.protocol == protocol && item.first <= port && port <= item.last;
}

// `From`, `To`: Identity or Party.
template <class From, class To>
Explanation decide(const Policy& policy, const From& from, const To& to, const Ip* remote, std::uint8_t protocol,
                   std::uint16_t port) {
  auto speaks = [&](const Statement& statement) {
    if (!matches(statement.from, from) || !matches(statement.to, to)) return false;
    return statement.ports.empty() ||
           std::ranges::any_of(statement.ports, [&](auto& item) { return covers(item, remote, protocol, port); });
  };
  Explanation out;
  for (auto& statement : policy.statements) {
    const bool denies = statement.action == Statement::Action::deny;
    if ((out.decides && !denies) || !speaks(statement)) continue;
    out = {!denies, &statement};
    if (denies) break;
  }
  return out;
}

bool matches_address(const Peer& peer, const Ip& ip) {
  if (peer.kind == Peer::Kind::world) return true;
  return peer.kind == Peer::Kind::cidr && peer.cidr->contains(ip) &&
         std::ranges::none_of(peer.except, [&](auto& part) { return part.contains(ip); });
}

}  // namespace

bool Selector::matches(const Labels& labels) const {
  return std::ranges::all_of(terms, [&](auto& term) { return holds(term, labels); });
}

bool matches(const Peer& peer, const Identity& identity) {
  switch (peer.kind) {
    case Peer::Kind::any: return true;
    case Peer::Kind::name: return peer.name == identity.service;
    case Peer::Kind::selector: return peer.selector.matches(identity.labels);
    // No container of the network is any of these.
    case Peer::Kind::world:
    case Peer::Kind::host:
    case Peer::Kind::cidr: break;
  }
  return false;
}

bool matches(const Peer& peer, const Party& party) {
  return std::visit(Overload{[&](const Identity& identity) { return matches(peer, identity); },
                             [&](const Ip& ip) { return matches_address(peer, ip); },
                             [&](const Host&) { return peer.kind == Peer::Kind::host; },
                             [&](const World&) { return peer.kind == Peer::Kind::world; }},
                    party);
}

Explanation explain(const Policy& policy, const Identity& from, const Identity& to, std::uint8_t protocol,
                    std::uint16_t port) {
  return decide(policy, from, to, nullptr, protocol, port);
}

Explanation explain(const Policy& policy, const Party& from, const Party& to, std::uint8_t protocol,
                    std::uint16_t port) {
  const auto* remote = std::get_if<Ip>(&from);
  return decide(policy, from, to, remote ? remote : std::get_if<Ip>(&to), protocol, port);
}

}  // namespace microseg::policy
