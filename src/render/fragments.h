// What the rules of every table are written with: pieces of a rule, and the pieces joined.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/kstate/nft.h"

namespace microseg::render {

using Fragment = std::vector<kstate::Expr>;
kstate::Rule rule(std::initializer_list<Fragment> fragments);

// Where a fragment puts what it compares. A look-up's key begins at register 0 and is loaded right before the look-up, so
// that one of more than 8 registers may end in here.
inline constexpr unsigned kScratch = 8;

struct Family {
  std::uint8_t nfproto;             // NFPROTO_IPV4, NFPROTO_IPV6
  unsigned source, target, length;  // of the addresses in the header, bytes
  std::uint8_t icmp;
  kstate::CtKey original_source, original_target, reply_source;
  kstate::Field address;
  const char* suffix;  // of the names of sets that there is one of for each family
  unsigned words() const { return length / 4; }
  std::string set(const char* name) const { return std::string(name) + suffix; }
};
inline constexpr Family kV4{.nfproto = 2, .source = 12, .target = 16, .length = 4, .icmp = kIcmp,
                            .original_source = kstate::CtKey::original_source4,
                            .original_target = kstate::CtKey::original_target4,
                            .reply_source = kstate::CtKey::reply_source4,
                            .address = kstate::Field::ipv4, .suffix = "4"};
inline constexpr Family kV6{.nfproto = 10, .source = 8, .target = 24, .length = 16, .icmp = kIcmpv6,
                            .original_source = kstate::CtKey::original_source6,
                            .original_target = kstate::CtKey::original_target6,
                            .reply_source = kstate::CtKey::reply_source6,
                            .address = kstate::Field::ipv6, .suffix = "6"};
inline constexpr const Family* kFamilies[] = {&kV4, &kV6};

// Values of `ct state` (include/net/netfilter/nf_conntrack.h, NF_CT_STATE_BIT) and `ct direction`.
inline constexpr std::uint32_t kInvalid = 1, kEstablished = 2, kRelated = 4, kNew = 8;
inline constexpr char kOriginal = 0, kReply = 1;

kstate::Bytes byte(std::uint8_t value);
kstate::Bytes raw(const Ip& ip);  // as headers have it

Fragment is(const Family& family);
Fragment transport_is(std::uint8_t protocol);
Fragment direction_is(char direction);
Fragment state_is(std::uint32_t state);
Fragment state_is_not(std::uint32_t state);
Fragment came_by(const char* link);
Fragment leaves_by(const char* link);
Fragment is_reset();  // of what is TCP
Fragment icmpv6_is(std::uint8_t type);
// The port of the side that was connected to, of a packet in this direction.
kstate::Expr opened_port(char direction, unsigned to);

Fragment count(const char* counter);
Fragment accept();
Fragment drop();
Fragment dropped(const char* counter);
Fragment go(const char* chain);

}  // namespace microseg::render
