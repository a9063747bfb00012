#include "fragments.h"

namespace microseg::render {

using namespace kstate;

Rule rule(std::initializer_list<Fragment> fragments) {
  Rule out;
  for (auto& fragment : fragments) out.insert(out.end(), fragment.begin(), fragment.end());
  return out;
}

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
Fragment state_is_not(std::uint32_t state) {
  return {Ct{CtKey::state, kScratch}, Cmp{kScratch, false, bytes_of_mark(state)}};
}
Fragment came_by(const char* link) {
  return {Meta{MetaKey::iifname, kScratch}, Cmp{kScratch, true, bytes_of_ifname(link)}};
}
Fragment leaves_by(const char* link) {
  return {Meta{MetaKey::oifname, kScratch}, Cmp{kScratch, true, bytes_of_ifname(link)}};
}
Fragment mark_is(std::uint32_t mark) {
  return {Meta{MetaKey::mark, kScratch}, Cmp{kScratch, true, bytes_of_mark(mark)}};
}
Fragment connection_is(std::uint32_t value, std::uint32_t mask) {
  return {Ct{CtKey::mark, kScratch}, Mask{kScratch, kScratch, bytes_of_mark(mask), bytes_of_mark(0)},
          Cmp{kScratch, true, bytes_of_mark(value)}};
}
Fragment load_port(char direction, unsigned to) {
  return {Payload{Base::transport, direction == kOriginal ? 2U : 0U, 2, to}};
}
Fragment neighbour_message(std::uint8_t icmpv6_type) {
  return {Meta{MetaKey::l4proto, kScratch}, Cmp{kScratch, true, byte(kIcmpv6)},
          Payload{Base::transport, 0, 1, kScratch}, Cmp{kScratch, true, byte(icmpv6_type)}};
}

Fragment priority_from_scratch() { return {SetMeta{MetaKey::priority, kScratch}}; }
Fragment load_priority(unsigned to) { return {Meta{MetaKey::priority, to}, ToNetworkOrder{to, to}}; }
Fragment load_mark(unsigned to) { return {Meta{MetaKey::mark, to}, ToNetworkOrder{to, to}}; }

Fragment count(const char* counter) { return {Count{counter}}; }
Fragment accept() { return {Verdict{Verdict::Kind::accept, {}}}; }
Fragment drop() { return {Verdict{Verdict::Kind::drop, {}}}; }
Fragment go(const char* chain) { return {Verdict{Verdict::Kind::go, chain}}; }

Rule judge(const Family& f, char direction, const char* allow, const char* stamp) {
  const unsigned sender = direction == kOriginal ? 0 : 1, receiver = 1 - sender;
  return rule({is(f), direction_is(direction),
               {Payload{Base::network, f.target, f.length, kScratch}, Lookup{f.classes, kScratch, kScratch}},
               priority_from_scratch(), load_priority(receiver), load_mark(sender),
               {Meta{MetaKey::l4proto, 2}}, load_port(direction, 3), {Lookup{allow, 0, std::nullopt}},
               go(stamp)});
}

Rule to_quarantined(const Family& f) {
  return rule({is(f),
               {Payload{Base::network, f.target, f.length, kScratch}, Lookup{f.classes, kScratch, kScratch}},
               priority_from_scratch(),
               {Meta{MetaKey::priority, kScratch}, Cmp{kScratch, true, bytes_of_mark(0)}},
               go("quarantined")});
}

}  // namespace microseg::render
