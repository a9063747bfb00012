// An nft table as values: sets with their elements, chains with their rules. What render wants and what the kernel
// says it holds are compared in this form; `nft list ruleset` shows the same things.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace microseg::kstate {

// Raw bytes as a set holds them, each field padded to a multiple of 4 (a register), network order unless said.
using Bytes = std::string;

enum class Field {
  ifname,   // 16 bytes, zero-padded
  ipv4,     // 4
  ipv6,     // 16
  mark,     // 4, host order: as `meta mark` holds it
  number,   // 4, network order: a class where ranges are compared, which pipapo does byte by byte from the left
  protocol, // 1, padded to 4
  port,     // 2, padded to 4
  index,    // 4, host order: an interface's number, as `meta iif` holds it
  mac,      // 6, padded to 8
};
unsigned length_of(Field field);  // bytes without padding

struct Element {
  Bytes key;
  Bytes key_end;  // interval sets: the last key, inclusive; else empty
  Bytes data;     // maps only
  auto operator<=>(const Element&) const = default;
};

struct SetType {
  std::vector<Field> key;
  std::optional<Field> data;  // makes it a map
  bool interval = false;
  auto operator<=>(const SetType&) const = default;
};

// Shared and never changed once made: a policy's hundred thousand elements are compared by address first.
using Elements = std::shared_ptr<const std::set<Element>>;
Elements make_elements(std::set<Element> elements);

struct Set {
  SetType type;
  Elements elements = make_elements({});
  bool operator==(const Set& other) const;
};

// ---- rules: the kernel's virtual machine, one struct per instruction we use ----
// Registers are counted in 32-bit units, 0..15 (NFT_REG32_00 + n).

enum class MetaKey { mark, iifname, oifname, l4proto, nfproto, priority, iif, oif, protocol };
enum class CtKey {
  state, direction, mark, original_source4, original_target4, original_source6, original_target6,
  status,  // 4 bytes, host order: IPS_* bits
  reply_source4, reply_source6,
  protocol,              // the connection's: an ICMP error has that of the connection it speaks of
  original_target_port,  // where the protocol has ports; else type and code, or 0
};
enum class Base { network, transport, link };  // link: as it was on the wire, with its VLAN tag

struct Meta { MetaKey key; unsigned to; auto operator<=>(const Meta&) const = default; };
struct SetMeta { MetaKey key; unsigned from; auto operator<=>(const SetMeta&) const = default; };  // mark, priority
struct Ct { CtKey key; unsigned to; auto operator<=>(const Ct&) const = default; };
struct SetCtMark { unsigned from; auto operator<=>(const SetCtMark&) const = default; };
struct Payload { Base base; unsigned offset, length, to; auto operator<=>(const Payload&) const = default; };
// 32 bits, 0 unless the route to the packet's source leaves by the link that the packet came in by.
struct ReturnRoute { unsigned to; auto operator<=>(const ReturnRoute&) const = default; };
struct Cmp { unsigned reg; bool equal; Bytes value; auto operator<=>(const Cmp&) const = default; };
struct Mask { unsigned from, to; Bytes mask, flip; auto operator<=>(const Mask&) const = default; };
// 32 bits, in the host's order: left for by > 0, right for by < 0.
struct Shift { unsigned from, to; int by; auto operator<=>(const Shift&) const = default; };
struct ToNetworkOrder { unsigned from, to; auto operator<=>(const ToNetworkOrder&) const = default; };  // 32 bits
struct Load { unsigned to; Bytes value; auto operator<=>(const Load&) const = default; };
// `to` present: a map's value is loaded. A miss ends the rule; with `inverted`, which maps can not have, a hit does.
struct Lookup { std::string set; unsigned from; std::optional<unsigned> to; bool inverted = false; auto operator<=>(const Lookup&) const = default; };
struct Count { std::string counter; auto operator<=>(const Count&) const = default; };  // a named counter
struct Verdict {
  enum class Kind { accept, drop, jump, go } kind;
  std::string chain;  // for jump and go (nft's goto)
  auto operator<=>(const Verdict&) const = default;
};
struct Reject {
  enum class Kind { tcp_reset, admin_prohibited } kind;  // icmpx admin-prohibited
  auto operator<=>(const Reject&) const = default;
};
struct Foreign { std::string name; auto operator<=>(const Foreign&) const = default; };  // not one of ours

using Expr = std::variant<Meta, SetMeta, Ct, SetCtMark, Payload, ReturnRoute, Cmp, Mask, Shift, ToNetworkOrder, Load, Lookup,
                          Count, Verdict, Reject, Foreign>;
using Rule = std::vector<Expr>;

struct Hook {
  enum class Place { prerouting, input, forward, output } place;
  std::int32_t priority = 0;
  bool policy_drop = false;
  auto operator<=>(const Hook&) const = default;
};

struct Chain {
  std::optional<Hook> hook;
  std::vector<Rule> rules;
  bool operator==(const Chain&) const = default;
};

// Who may change a table. One with an owner is closed to everybody else's requests, `nft flush ruleset` among them, and
// outlives its owner (flags owner, persist).
enum class Owner {
  none,   // anybody may change it
  gone,   // its owner has died: whoever adds it next, with AddTable, owns it
  other,  // another process: we can read it, and nothing else
  us,     // where the kernel knows no owners (before 6.9) a table that we may change shows as this, too
};

struct Table {
  std::map<std::string, Set> sets;
  std::map<std::string, Chain> chains;
  std::set<std::string> counters;
  Owner owner = Owner::none;
  bool dormant = false;  // all there, and none of it looked at
  bool operator==(const Table&) const = default;
};

// As `nft list` would write it, nearly: "ms3f2a . 10.5.0.2 : 1", "1-4 . 2 . tcp . 8080".
std::string to_text(const SetType& type, const Element& element);
std::string to_text(const Rule& rule);

// ---- bytes for keys and values ----
Bytes bytes_of_ifname(const std::string& name);
Bytes bytes_of_mark(std::uint32_t value);    // host order
Bytes bytes_of_number(std::uint32_t value);  // network order
Bytes bytes_of_protocol(std::uint8_t value);
Bytes bytes_of_port(std::uint16_t value);
Bytes bytes_of_index(std::uint32_t value);   // host order

}  // namespace microseg::kstate
