#include "microseg/render/datapath.h"

#include <cstring>
#include <initializer_list>

namespace microseg::render {
namespace {

using namespace kstate;

// A rule is written as fragments; this joins them.
Rule rule(std::initializer_list<std::vector<Expr>> fragments) {
  Rule out;
  for (auto& fragment : fragments) out.insert(out.end(), fragment.begin(), fragment.end());
  return out;
}

using Fragment = std::vector<Expr>;

// Registers 0..7 hold look-up keys, 8 and up are scratch.
constexpr unsigned kScratch = 8;

struct Family {
  std::uint8_t nfproto;         // NFPROTO_IPV4, NFPROTO_IPV6
  unsigned source, target, length;  // of the addresses in the header, bytes
  std::uint8_t icmp;
  const char *tag, *classes;
  CtKey original_source, original_target;
};
constexpr Family kV4{2, 12, 16, 4, kIcmp, kTag4, kClass4, CtKey::original_source4, CtKey::original_target4};
constexpr Family kV6{10, 8, 24, 16, kIcmpv6, kTag6, kClass6, CtKey::original_source6, CtKey::original_target6};

// Values of `ct state` (include/net/netfilter/nf_conntrack.h, NF_CT_STATE_BIT) and `ct direction`.
constexpr std::uint32_t kInvalid = 1, kRelated = 4;
constexpr char kOriginal = 0, kReply = 1;

Bytes byte(std::uint8_t value) { return Bytes(1, static_cast<char>(value)); }

Fragment is(const Family& family) {
  return {Meta{MetaKey::nfproto, kScratch}, Cmp{kScratch, true, byte(family.nfproto)}};
}
Fragment transport_is(std::uint8_t protocol) {
  return {Meta{MetaKey::l4proto, kScratch}, Cmp{kScratch, true, byte(protocol)}};
}
Fragment direction_is(char direction) {
  return {Ct{CtKey::direction, kScratch}, Cmp{kScratch, true, Bytes(1, direction)}};
}
Fragment state_is(std::uint32_t state) {
  return {Ct{CtKey::state, kScratch}, Cmp{kScratch, true, bytes_of_mark(state)}};
}
Fragment count(const char* counter) { return {Count{counter}}; }
Fragment accept() { return {Verdict{Verdict::Kind::accept, {}}}; }
Fragment drop() { return {Verdict{Verdict::Kind::drop, {}}}; }
Fragment go(const char* chain) { return {Verdict{Verdict::Kind::go, chain}}; }

// (link, source) -> class, into the packet's mark. A miss ends the rule: the source is not this link's.
Rule tag(const Family& f) {
  return rule({is(f),
               {Meta{MetaKey::iifname, 0}, Payload{Base::network, f.source, f.length, 4}, Lookup{f.tag, 0, kScratch},
                SetMeta{MetaKey::mark, kScratch}},
               accept()});
}

// Source in ::/128 or fe80::/10: what a kernel sends on its own before and beside its configured addresses.
Fragment link_local_source() {
  return {Payload{Base::network, kV6.source, 4, kScratch},
          Mask{kScratch, kScratch, Bytes("\xff\xc0\x00\x00", 4), Bytes(4, '\0')},
          Cmp{kScratch, true, Bytes("\xfe\x80\x00\x00", 4)}};
}
Fragment unspecified_source() {
  return {Payload{Base::network, kV6.source, 16, kScratch}, Cmp{kScratch, true, Bytes(16, '\0')}};
}
Fragment neighbour_solicitation() {
  return {Meta{MetaKey::l4proto, kScratch}, Cmp{kScratch, true, byte(kIcmpv6)},
          Payload{Base::transport, 0, 1, kScratch}, Cmp{kScratch, true, byte(135)}};
}

Chain tag_chain() {
  return {Hook{Hook::Place::prerouting, -300, false},
          {tag(kV4),
           tag(kV6),
           // A container may ask for its gateway's MAC from its link-local address; marked 0, it gets no further.
           rule({is(kV6), link_local_source(), neighbour_solicitation(),
                 {Load{kScratch, bytes_of_mark(0)}, SetMeta{MetaKey::mark, kScratch}}, accept()}),
           rule({is(kV6), link_local_source(), count("linklocal"), drop()}),
           rule({is(kV6), unspecified_source(), count("linklocal"), drop()}),
           rule({count("spoofed"), drop()})}};
}

Chain local_chain() {
  return {Hook{Hook::Place::input, 0, true},
          {rule({is(kV6), neighbour_solicitation(), accept()}), rule({count("local"), drop()})}};
}

// Judges a packet by its connection's first direction: the opener's class, the opened one's class, protocol and port.
// The receiver's class goes through the packet's priority, which nobody downstream of a veth sees: nft(8) cannot print
// a look-up's result inside a concatenation, and aborts on a table that has one.
Rule judge(const Family& f, char direction, const char* allow) {
  const bool original = direction == kOriginal;
  const unsigned sender = original ? 0 : 1, receiver = original ? 1 : 0;
  return rule({is(f), direction_is(direction),
               {Payload{Base::network, f.target, f.length, kScratch}, Lookup{f.classes, kScratch, kScratch},
                SetMeta{MetaKey::priority, kScratch},
                Meta{MetaKey::priority, receiver}, ToNetworkOrder{receiver, receiver},
                Meta{MetaKey::mark, sender}, ToNetworkOrder{sender, sender},
                Meta{MetaKey::l4proto, 2},
                Payload{Base::transport, original ? 2U : 0U, 2, 3},  // the opened side's port
                Lookup{allow, 0, std::nullopt}},
               go(kStampChain)});
}

Rule to_quarantined(const Family& f) {
  return rule({is(f),
               {Payload{Base::network, f.target, f.length, kScratch}, Lookup{f.classes, kScratch, kScratch},
                SetMeta{MetaKey::priority, kScratch}, Meta{MetaKey::priority, kScratch},
                Cmp{kScratch, true, bytes_of_mark(0)}},
               go("quarantined")});
}

// The first rule is the whole way of a packet whose connection is stamped.
Chain forward_chain(Generation generation) {
  const Fragment stamped{Ct{CtKey::mark, kScratch}, Cmp{kScratch, true, bytes_of_mark(generation.number)}};
  const char* allow = kAllowSets[generation.allow];
  return {Hook{Hook::Place::forward, 0, true},
          {rule({stamped, {Ct{CtKey::state, kScratch}, Cmp{kScratch, false, bytes_of_mark(kRelated)}}, accept()}),
           rule({stamped, go("errors")}),
           rule({state_is(kRelated), count("invalid"), drop()}),
           rule({state_is(kInvalid), count("invalid"), drop()}),
           rule({{Meta{MetaKey::mark, kScratch}, Cmp{kScratch, true, bytes_of_mark(0)}}, go("quarantined")}),
           judge(kV4, kOriginal, allow),
           judge(kV4, kReply, allow),
           judge(kV6, kOriginal, allow),
           judge(kV6, kReply, allow),
           to_quarantined(kV4),
           to_quarantined(kV6),
           rule({go("refused")})}};
}

// An ICMP error about a stamped connection passes only from one of the connection's own ends: anybody else who knows
// the ports could otherwise reach a victim, or end its connections, without any permission.
Chain errors_chain() {
  Chain chain;
  for (auto* f : {&kV4, &kV6})
    for (char direction : {kOriginal, kReply}) {
      auto end = direction == kOriginal ? f->original_source : f->original_target;
      chain.rules.push_back(rule({is(*f), transport_is(f->icmp), direction_is(direction),
                                  {Meta{MetaKey::iifname, 0}, Ct{end, 4}, Lookup{f->tag, 0, kScratch}},
                                  accept()}));
    }
  chain.rules.push_back(rule({count("invalid"), drop()}));
  return chain;
}

Chain refusal_chain(const char* counter, const model::Settings& settings) {
  if (settings.mode == model::Mode::monitor) return {std::nullopt, {rule({count(counter), accept()})}};
  if (settings.refusal == model::Refusal::drop) return {std::nullopt, {rule({count(counter), drop()})}};
  return {std::nullopt,
          {rule({count(counter)}),
           rule({transport_is(kTcp), {Reject{Reject::Kind::tcp_reset}}}),
           rule({{Reject{Reject::Kind::admin_prohibited}}})}};
}

}  // namespace

std::map<std::string, Chain> chains(const model::Settings& settings) {
  return {{"tag", tag_chain()},
          {"local", local_chain()},
          {"errors", errors_chain()},
          {"quarantined", refusal_chain("quarantined", settings)},
          {"refused", refusal_chain("refused", settings)}};
}

std::map<std::string, Chain> generation_chains(Generation generation) {
  const Chain stamp{std::nullopt,
                    {rule({{Load{kScratch, bytes_of_mark(generation.number)}, SetCtMark{kScratch}, Count{"allowed"}},
                           accept()})}};
  return {{kForwardChain, forward_chain(generation)}, {kStampChain, stamp}};
}

std::optional<std::uint16_t> stamp_in(const Table& table) {
  auto stamp = table.chains.find(kStampChain);
  if (stamp == table.chains.end() || stamp->second.rules.empty() || stamp->second.rules.front().empty()) return std::nullopt;
  auto* load = std::get_if<Load>(&stamp->second.rules.front().front());
  if (!load || load->value.size() != 4) return std::nullopt;
  std::uint32_t number = 0;
  std::memcpy(&number, load->value.data(), 4);
  if (number == 0 || number > 65535) return std::nullopt;
  const Generation generation{static_cast<std::uint16_t>(number), 0, false};
  if (generation_chains(generation).at(kStampChain) != stamp->second) return std::nullopt;
  return generation.number;
}

std::optional<Generation> generation_in(const Table& table) {
  auto number = stamp_in(table);
  auto forward = table.chains.find(kForwardChain);
  if (!number || forward == table.chains.end()) return std::nullopt;
  for (int allow : {0, 1}) {
    const Generation generation{*number, allow, table.chains.contains(kOwedChain)};
    if (generation_chains(generation).at(kForwardChain) == forward->second) return generation;
  }
  return std::nullopt;
}

}  // namespace microseg::render
