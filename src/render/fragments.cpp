#include "fragments.h"

namespace microseg::render {

using namespace kstate;

Rule rule(std::initializer_list<Fragment> fragments) {
  Rule out;
  for (auto& fragment : fragments) out.insert(out.end(), fragment.begin(), fragment.end());
  return out;
}

Bytes byte(std::uint8_t value) { return Bytes(1, static_cast<char>(value)); }
Bytes raw(const Ip& ip) { return Bytes(ip.bytes().begin(), ip.bytes().end()); }

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
Fragment is_reset() {
  constexpr unsigned kFlags = 13;  // RFC 9293, 3.1
  constexpr std::uint8_t kRst = 4;
  return {Payload{Base::transport, kFlags, 1, kScratch}, Mask{kScratch, kScratch, byte(kRst), byte(0)},
          Cmp{kScratch, true, byte(kRst)}};
}
Fragment icmpv6_is(std::uint8_t type) {
  return rule({transport_is(kIcmpv6), {Payload{Base::transport, 0, 1, kScratch}, Cmp{kScratch, true, byte(type)}}});
}
Expr opened_port(char direction, unsigned to) {
  return Payload{Base::transport, direction == kOriginal ? 2U : 0U, 2, to};
}

Fragment count(const char* counter) { return {Count{counter}}; }
Fragment accept() { return {Verdict{Verdict::Kind::accept, {}}}; }
Fragment drop() { return {Verdict{Verdict::Kind::drop, {}}}; }
Fragment dropped(const char* counter) { return rule({count(counter), drop()}); }
Fragment go(const char* chain) { return {Verdict{Verdict::Kind::go, chain}}; }

}  // namespace microseg::render
