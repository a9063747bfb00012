#include "microseg/render/gateway.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "fragments.h"

namespace microseg::render {
namespace {

using namespace kstate;

// Before Docker's filter rules, after its address translation of what comes in (-100): addresses are the containers' own.
constexpr std::int32_t kPriority = -10;

constexpr std::uint32_t kDnat = 0x20;  // IPS_DST_NAT of `ct status` (include/uapi/linux/netfilter/nf_conntrack_common.h)
// Neighbour solicitation and advertisement: untracked, and without them nobody finds the gateway.
constexpr std::uint8_t kNeighbour[] = {135, 136};

// Type and code of our refusals.
Bytes prohibited(const Family& f) { return {f.icmp == kIcmp ? "\x03\x0d" : "\x01\x01", 2}; }

Fragment translated() {
  return {Ct{CtKey::status, kScratch}, Mask{kScratch, kScratch, bytes_of_mark(kDnat), bytes_of_mark(0)},
          Cmp{kScratch, false, bytes_of_mark(0)}};
}

// `at`: f.source or f.target.
Fragment one_of(const Family& f, unsigned at, const char* set) {
  return {Payload{Base::network, at, f.length, 0}, Lookup{f.set(set), 0, std::nullopt}};
}

// (address . protocol . port) is in `set`; the address is at `ours`.
Fragment service(const Family& f, char direction, unsigned ours, const char* set) {
  const auto w = f.words();
  return {Payload{Base::network, ours, f.length, 0}, Meta{MetaKey::l4proto, w}, opened_port(direction, w + 1),
          Lookup{f.set(set), 0, std::nullopt}};
}

// (address . the other address . protocol . port) is in `set`.
Fragment pair(const Family& f, char direction, unsigned ours, const char* set) {
  const auto w = f.words();
  const auto remote = ours == f.source ? f.target : f.source;
  return {Payload{Base::network, ours, f.length, 0}, Payload{Base::network, remote, f.length, w},
          Meta{MetaKey::l4proto, 2 * w}, opened_port(direction, 2 * w + 1), Lookup{f.set(set), 0, std::nullopt}};
}

Rule held(const Family& f, MetaKey link, unsigned at) {
  return rule({{Meta{link, 0}, Lookup{kHeld, 0, std::nullopt}}, is(f),
               {Payload{Base::network, at, f.length, kScratch}, Lookup{f.set(kKnown), kScratch, std::nullopt, true}},
               dropped("held")});
}

void accept_neighbours(Chain& chain) {
  for (auto type : kNeighbour)
    chain.rules.push_back(rule({is(kV6), icmpv6_is(type), accept()}));
}

// An ICMP error of ours passes when it is about a connection of the sender's own: with another's it could end that, or
// carry what policy keeps in. Two registers are compared by looking up the pair.
void accept_own_errors(Chain& chain) {
  for (auto* f : kFamilies)
    for (auto end : {f->original_source, f->reply_source})
      chain.rules.push_back(rule({is(*f), transport_is(f->icmp), state_is(kRelated),
                                  {Payload{Base::network, f->source, f->length, 0}, Ct{end, f->words()},
                                   Lookup{f->set(kEnds), 0, std::nullopt}},
                                  accept()}));
}

// Errors to ours: conntrack has held the receiver against the connection that they are about.
void accept_errors(Chain& chain) {
  for (auto* f : kFamilies) chain.rules.push_back(rule({is(*f), transport_is(f->icmp), state_is(kRelated), accept()}));
}

// Packets of this direction, by what their connection is.
void allow(Chain& chain, const Family& f, char direction, const Fragment& what) {
  chain.rules.push_back(rule({is(f), direction_is(direction), what, accept()}));
}

void refuse(Chain& chain, const char* counter) {
  chain.rules.push_back(count(counter));
  chain.rules.push_back(rule({state_is(kNew), transport_is(kTcp), {Reject{Reject::Kind::tcp_reset}}}));
  chain.rules.push_back(rule({state_is(kNew), {Reject{Reject::Kind::admin_prohibited}}}));
  chain.rules.push_back(drop());
}

Chain from_ours() {
  Chain chain;
  for (auto* f : kFamilies) chain.rules.push_back(rule({is(*f), one_of(*f, f->target, kOurs), dropped("detour")}));
  accept_own_errors(chain);
  chain.rules.push_back(rule({state_is(kInvalid), dropped("egress")}));
  for (auto* f : kFamilies) {
    allow(chain, *f, kOriginal, pair(*f, kOriginal, f->source, kOut));
    allow(chain, *f, kOriginal, pair(*f, kOriginal, f->source, kResolve));
    allow(chain, *f, kReply, rule({translated(), service(*f, kReply, f->source, kPublished)}));
    allow(chain, *f, kReply, pair(*f, kReply, f->source, kIn));
  }
  refuse(chain, "egress");
  return chain;
}

Chain to_ours() {
  Chain chain;
  accept_errors(chain);
  for (auto* f : kFamilies) {
    allow(chain, *f, kReply, pair(*f, kReply, f->target, kOut));
    allow(chain, *f, kReply, pair(*f, kReply, f->target, kResolve));
    allow(chain, *f, kOriginal, rule({translated(), service(*f, kOriginal, f->target, kPublished)}));
    allow(chain, *f, kOriginal, pair(*f, kOriginal, f->target, kIn));
  }
  chain.rules.push_back(dropped("ingress"));
  return chain;
}

Chain to_host() {
  Chain chain;
  accept_own_errors(chain);
  chain.rules.push_back(rule({state_is(kInvalid), dropped("to_host")}));
  for (auto* f : kFamilies) {
    for (auto* set : {kToHost, kProxied})
      allow(chain, *f, kOriginal, service(*f, kOriginal, f->source, set));
    allow(chain, *f, kOriginal, pair(*f, kOriginal, f->source, kResolve));
    for (auto* set : {kFromHost, kPublished})
      allow(chain, *f, kReply, service(*f, kReply, f->source, set));
  }
  refuse(chain, "to_host");
  return chain;
}

Chain from_host() {
  Chain chain;
  accept_errors(chain);
  // Our own refusals. What they answer was never confirmed, so to conntrack the ICMP ones belong to nothing.
  for (auto* f : kFamilies)
    chain.rules.push_back(rule({is(*f), transport_is(f->icmp),
                                {Payload{Base::transport, 0, 2, kScratch}, Cmp{kScratch, true, prohibited(*f)}},
                                accept()}));
  chain.rules.push_back(rule({transport_is(kTcp), state_is(kRelated), is_reset(), accept()}));
  for (auto* f : kFamilies) {
    // Published ports without translation too: docker-proxy connects to the container itself.
    for (auto* set : {kFromHost, kPublished})
      allow(chain, *f, kOriginal, service(*f, kOriginal, f->target, set));
    for (auto* set : {kToHost, kProxied})
      allow(chain, *f, kReply, service(*f, kReply, f->target, set));
    allow(chain, *f, kReply, pair(*f, kReply, f->target, kResolve));
  }
  chain.rules.push_back(dropped("from_host"));
  return chain;
}

void add_chains(Table& table) {
  Chain forward{Hook{Hook::Place::forward, kPriority, false}, {}};
  Chain input{Hook{Hook::Place::input, kPriority, false}, {}};
  Chain output{Hook{Hook::Place::output, kPriority, false}, {}};
  accept_neighbours(input);
  accept_neighbours(output);
  for (auto* f : kFamilies) {
    forward.rules.push_back(held(*f, MetaKey::iifname, f->source));
    forward.rules.push_back(held(*f, MetaKey::oifname, f->target));
    forward.rules.push_back(rule({is(*f), one_of(*f, f->source, kOurs), go("from_ours")}));
    forward.rules.push_back(rule({is(*f), one_of(*f, f->target, kOurs), go("to_ours")}));
    input.rules.push_back(held(*f, MetaKey::iifname, f->source));
    input.rules.push_back(rule({is(*f), one_of(*f, f->source, kOurs), go("to_host")}));
    output.rules.push_back(held(*f, MetaKey::oifname, f->target));
    output.rules.push_back(rule({is(*f), one_of(*f, f->target, kOurs), go("from_host")}));
  }
  table.chains["gateway_forward"] = std::move(forward);
  table.chains["gateway_input"] = std::move(input);
  table.chains["gateway_output"] = std::move(output);
  table.chains["from_ours"] = from_ours();
  table.chains["to_ours"] = to_ours();
  table.chains["to_host"] = to_host();
  table.chains["from_host"] = from_host();
}

// ---- elements ----

Bytes protocol_of(std::uint16_t value) { return bytes_of_protocol(static_cast<std::uint8_t>(value)); }

using Sets = std::map<std::string_view, std::set<Element>>;  // by name without the family

void add_member(Sets& sets, const Ip& address, const GatewayMember& member, const Gateway& gateway) {
  const Bytes ours = raw(address);
  sets[kOurs].insert({ours, {}, {}});
  sets[kKnown].insert({ours, {}, {}});
  sets[kEnds].insert({ours + ours, {}, {}});
  auto boxes = [&](const char* set, const std::vector<policy::Beyond>& all) {
    for (auto& [remote, protocol, port] : all)
      if (remote.first.is_v4() == address.is_v4())
        sets[set].insert({ours + raw(remote.first) + protocol_of(protocol.first) + bytes_of_port(port.first),
                          ours + raw(remote.last) + protocol_of(protocol.last) + bytes_of_port(port.last),
                          {}});
  };
  boxes(kOut, member.north.out);
  boxes(kIn, member.north.in);
  auto ranges = [&](const char* set, const std::vector<policy::ToHost>& all) {
    for (auto& [protocol, port] : all)
      sets[set].insert({ours + protocol_of(protocol.first) + bytes_of_port(port.first),
                        ours + protocol_of(protocol.last) + bytes_of_port(port.last),
                        {}});
  };
  ranges(kToHost, member.north.to_host);
  ranges(kFromHost, member.north.from_host);
  for (auto& port : member.published)
    sets[kPublished].insert({ours + bytes_of_protocol(port.protocol) + bytes_of_port(port.number), {}, {}});
  for (auto& port : member.proxied)
    sets[kProxied].insert({ours + bytes_of_protocol(port.protocol) + bytes_of_port(port.number), {}, {}});
  for (auto* resolvers : {&gateway.resolvers, &member.resolvers})
    for (auto& resolver : *resolvers)
      for (auto& [remote, protocol, port] : member.north.resolve)
        if (resolver.is_v4() == address.is_v4() && remote.first <= resolver && resolver <= remote.last)
          sets[kResolve].insert({ours + raw(resolver) + protocol_of(protocol.first) + bytes_of_port(port.first), {}, {}});
}

void add_sets(Table& table, const Family& f, const Gateway& gateway) {
  const bool v4 = f.address == Field::ipv4;
  Sets sets;
  for (auto& ip : gateway.foreign)
    if (ip.is_v4() == v4) sets[kKnown].insert({raw(ip), {}, {}});
  for (auto& member : gateway.members)
    if (auto& address = v4 ? member.v4 : member.v6) add_member(sets, *address, member, gateway);
  const auto a = f.address;
  using enum Field;
  const std::pair<const char*, SetType> types[] = {
      {kOurs, {{a}, std::nullopt, false}},
      {kKnown, {{a}, std::nullopt, false}},
      {kEnds, {{a, a}, std::nullopt, false}},
      {kOut, {{a, a, protocol, port}, std::nullopt, true}},
      {kIn, {{a, a, protocol, port}, std::nullopt, true}},
      {kResolve, {{a, a, protocol, port}, std::nullopt, false}},
      {kToHost, {{a, protocol, port}, std::nullopt, true}},
      {kFromHost, {{a, protocol, port}, std::nullopt, true}},
      {kPublished, {{a, protocol, port}, std::nullopt, false}},
      {kProxied, {{a, protocol, port}, std::nullopt, false}},
  };
  for (auto& [name, type] : types) table.sets[f.set(name)] = {type, make_elements(std::move(sets[name]))};
}

}  // namespace

std::set<Ip> foreign_in(const Table& table) {
  std::set<Ip> out;
  for (auto* f : kFamilies) {
    auto known = table.sets.find(f->set(kKnown)), ours = table.sets.find(f->set(kOurs));
    if (known == table.sets.end() || ours == table.sets.end()) continue;
    for (auto& element : *known->second.elements) {
      if (element.key.size() != f->length || ours->second.elements->contains(element)) continue;
      std::array<std::uint8_t, 16> bytes{};
      std::copy(element.key.begin(), element.key.end(), bytes.begin());
      out.insert(f->length == 4 ? Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]}) : Ip::v6(bytes));
    }
  }
  return out;
}

void add_gateway(Table& table, const Gateway& gateway) {
  for (auto* f : kFamilies) add_sets(table, *f, gateway);
  std::set<Element> held;
  if (gateway.holding) held.insert({bytes_of_ifname(gateway.link), {}, {}});
  table.sets[kHeld] = {{{Field::ifname}, std::nullopt, false}, make_elements(std::move(held))};
  for (auto* counter : kGatewayCounters) table.counters.insert(counter);
  add_chains(table);
}

}  // namespace microseg::render
