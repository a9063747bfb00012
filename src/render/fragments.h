// What rules are written with: pieces of a rule, and the pieces joined.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "microseg/kstate/nft.h"
#include "microseg/render/datapath.h"

namespace microseg::render {

using Fragment = std::vector<kstate::Expr>;
kstate::Rule rule(std::initializer_list<Fragment> fragments);

// Registers 0..7 hold look-up keys, 8 and up are scratch.
inline constexpr unsigned kScratch = 8;

struct Family {
  std::uint8_t nfproto;             // NFPROTO_IPV4, NFPROTO_IPV6
  unsigned source, target, length;  // of the addresses in the header, bytes
  std::uint8_t icmp;
  const char *tag, *classes;
  kstate::CtKey original_source, original_target;
};
inline constexpr Family kV4{
    2, 12, 16, 4, kIcmp, kTag4, kClass4, kstate::CtKey::original_source4, kstate::CtKey::original_target4};
inline constexpr Family kV6{
    10, 8, 24, 16, kIcmpv6, kTag6, kClass6, kstate::CtKey::original_source6, kstate::CtKey::original_target6};

// Values of `ct state` (include/net/netfilter/nf_conntrack.h, NF_CT_STATE_BIT) and `ct direction`.
inline constexpr std::uint32_t kInvalid = 1, kEstablished = 2, kRelated = 4;
inline constexpr char kOriginal = 0, kReply = 1;

kstate::Bytes byte(std::uint8_t value);

Fragment is(const Family& family);
Fragment transport_is(std::uint8_t protocol);
Fragment direction_is(char direction);
Fragment state_is(std::uint32_t state);
Fragment state_is_not(std::uint32_t state);
Fragment came_by(const char* link);
Fragment leaves_by(const char* link);
Fragment mark_is(std::uint32_t mark);  // the packet's
// (the connection's mark & mask) == value
Fragment connection_is(std::uint32_t value, std::uint32_t mask);
Fragment load_port(char direction, unsigned to);  // the opened side's, of a packet in this direction
Fragment neighbour_message(std::uint8_t icmpv6_type);

// A class on its way into a look-up key goes through the packet's priority, which nobody downstream of a veth sees:
// nft(8) cannot print a look-up's result inside a concatenation, and aborts on a table that has one.
Fragment priority_from_scratch();
Fragment load_priority(unsigned to);  // as allow sets have classes, in network order
Fragment load_mark(unsigned to);

Fragment count(const char* counter);
Fragment accept();
Fragment drop();
Fragment go(const char* chain);

// Judges a packet by its connection's first direction: the opener's class, the opened one's class, protocol and port.
// The sender's class is the packet's mark, the receiver's that of its address. `stamp`: where it goes when allowed.
kstate::Rule judge(const Family& f, char direction, const char* allow, const char* stamp);
kstate::Rule to_quarantined(const Family& f);

}  // namespace microseg::render
