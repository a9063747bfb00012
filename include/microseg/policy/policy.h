// The policy language: source text -> Policy. One language in driver options, labels, files, the CLI and the API;
// docs/policy.md teaches it. Statements are separated by newlines or ';', '#' starts a comment that ends with the line.
//
//   statement = ("allow" | "deny") peer "->" peer [":" item {"," item}]
//   peer      = NAME | "any" | "{" term {"," term} "}" | "world" | "host" | CIDR ["except" CIDR {"," CIDR}]
//   term      = KEY "=" VALUE | KEY "!=" VALUE | KEY | "!" KEY
//   item      = PORT | PORT "-" PORT, each with an optional "/tcp" (the default), "/udp" or "/sctp"; or "icmp"
//
//   NAME  = 1 to 255 of [A-Za-z0-9_.-], as Docker, compose and Swarm name things. In "quotes" where it is one of the
//           words above, looks like an IPv4 address, or does not begin with a letter or digit.
//   KEY   = [A-Za-z0-9_./-]+; KEY and VALUE may be any text in "quotes", with \" and \\ for a quote and a backslash.
//   VALUE = as KEY; "" is the empty value.
//
// A statement has an endpoint on one side at least: a NAME, "any" (any endpoint, never the world or the host) or labels.
// Newlines end a statement wherever they are, also within { }. Text is UTF-8 without control characters.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/base/result.h"

namespace microseg::policy {

using Labels = std::map<std::string, std::string>;

// One condition on a container's labels. `key != value` is also true when the key is absent.
struct Term {
  enum class Op { equals, differs, present, absent } op = Op::present;
  std::string key, value;  // value is empty for present and absent
  auto operator<=>(const Term&) const = default;
};

// A conjunction: every term must hold. Terms are sorted by key and unique, so equal selectors compare
// equal.
struct Selector {
  std::vector<Term> terms;
  bool matches(const Labels& labels) const;
  std::string str() const;  // "{stage!=test, tier=backend}"
  auto operator<=>(const Selector&) const = default;
};

struct Peer {
  enum class Kind { name, any, selector, world, host, cidr } kind = Kind::any;
  std::string name;            // kind name
  Selector selector;           // kind selector
  std::optional<Prefix> cidr;  // kind cidr, host bits cleared
  std::vector<Prefix> except{};  // kind cidr: what of it is not meant; host bits cleared, inside `cidr`, sorted, unique
  bool is_endpoint() const { return kind == Kind::name || kind == Kind::any || kind == Kind::selector; }
  std::string str() const;
  auto operator<=>(const Peer&) const = default;
};

// What a statement says about ports. `protocol` is an IANA number; ICMP stands for ICMPv6 too and has ports 0-65535.
struct PortItem {
  std::uint8_t protocol = kTcp;
  std::uint16_t first = 0, last = 65535;
  std::string str() const;  // "8080", "53/udp", "8000-8100", "icmp"
  auto operator<=>(const PortItem&) const = default;
};

struct Statement {
  enum class Action { allow, deny } action = Action::allow;
  Peer from, to;
  std::vector<PortItem> ports;  // sorted, unique; empty = every protocol and port
  std::string origin;           // where it was written, for people: "option microseg.policy, line 2"
  std::string str() const;      // canonical source text, without origin
};

struct Policy {
  std::vector<Statement> statements;  // as written; their order has no meaning
};

// Whether the language can write `s` as a NAME.
bool is_name(std::string_view s);

// What one source may hold; enough for people, small enough that no text keeps the daemon busy.
inline constexpr std::size_t kMaxText = 65536;  // bytes
inline constexpr std::size_t kMaxStatements = 2000;
inline constexpr std::size_t kMaxItems = 128;  // ports of one statement
inline constexpr std::size_t kMaxTerms = 16;   // terms of one selector
inline constexpr std::size_t kMaxExcept = 128;  // exceptions of one CIDR

// Parses one source. `origin` names it in statements and errors ("option microseg.policy"). An empty text is a valid,
// empty policy. Errors (invalid) name line and column, both from 1, and what was expected:
//   "option microseg.policy, line 2, column 7: expected '->' after the first peer, found 'web'"
Result<Policy> parse(std::string_view text, std::string_view origin);

// Canonical text: one statement a line. parse(print(p)) has the statements of p.
std::string print(const Policy& policy);

// The union of policies: all their statements.
Policy merge(std::vector<Policy> parts);

}  // namespace microseg::policy
