// Policy as people read it: statement by statement, endpoint by endpoint. compile() must agree with what is said here.
#include <algorithm>

#include "microseg/policy/compile.h"

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

bool covers(const PortItem& item, std::uint8_t protocol, std::uint16_t port) {
  if (item.protocol == kIcmp) return protocol == kIcmp || protocol == kIcmpv6;
  return item.protocol == protocol && item.first <= port && port <= item.last;
}

bool speaks_of(const Statement& statement, const Identity& from, const Identity& to, std::uint8_t protocol,
               std::uint16_t port) {
  if (!matches(statement.from, from) || !matches(statement.to, to)) return false;
  return statement.ports.empty() ||
         std::ranges::any_of(statement.ports, [&](auto& item) { return covers(item, protocol, port); });
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

Explanation explain(const Policy& policy, const Identity& from, const Identity& to, std::uint8_t protocol,
                    std::uint16_t port) {
  Explanation out;
  for (auto& statement : policy.statements) {
    const bool denies = statement.action == Statement::Action::deny;
    if ((out.decides && !denies) || !speaks_of(statement, from, to, protocol, port)) continue;
    out = {!denies, &statement};
    if (denies) break;
  }
  return out;
}

}  // namespace microseg::policy
