// Policy -> numbers that a kernel set can hold. Pure and deterministic: equal policies give equal facts, whatever the
// order of the source.
//
// A *class* answers "which names and selectors of this policy match this endpoint". Names exclude one another, so with
// N names and L selectors there are (N+1) * 2^L classes. Within a block of numbers that starts at `base`
//   class = base + name * 2^L + bits
// where `name` is 0 for none of the names, else 1 + the name's place in the sorted names, and bit i of `bits` says
// whether selector i of the sorted selectors matches. Every host computes the same numbers from the same text.
// Class 0 is quarantine and is in no block.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "microseg/policy/policy.h"

namespace microseg::policy {

inline constexpr std::uint32_t kMaxClass = 65535;  // the class travels in 16 bits of a VXLAN-GBP header
inline constexpr int kEncodingVersion = 1;         // of the formula above; hosts that do not know it quarantine

// Who an endpoint is, as far as policy can ask. `service` may be empty (no name known, matches no NAME).
struct Identity {
  std::string service;
  Labels labels;
  auto operator<=>(const Identity&) const = default;
};

bool matches(const Peer& peer, const Identity& identity);

// What a policy can ask about an endpoint. Sorted and unique.
struct Alphabet {
  std::vector<std::string> names;
  std::vector<Selector> selectors;
  // True if everything `other` can ask can be asked here.
  bool covers(const Alphabet& other) const;
  auto operator<=>(const Alphabet&) const = default;
};
Alphabet alphabet_of(const Policy& policy);

// (N+1) * 2^L; saturates at UINT64_MAX.
std::uint64_t class_count(const Alphabet& alphabet);

// Refuses (invalid) an alphabet whose classes do not fit, with the sum in the message:
//   "policy needs (120 names + 1) * 2^10 selectors = 123904 classes, at most 65535 fit: use fewer label selectors"
Status check_fits(const Alphabet& alphabet);

// A block of class numbers: base .. base + class_count - 1, base >= 1, all <= kMaxClass.
struct Numbering {
  std::uint32_t base = 1;
  Alphabet alphabet;
  std::uint32_t last() const;  // the block's last number
  auto operator<=>(const Numbering&) const = default;
};
std::uint16_t class_of(const Numbering& numbering, const Identity& identity);

struct Range {  // inclusive
  std::uint16_t first = 0, last = 0;
  auto operator<=>(const Range&) const = default;
};

// "Connections from these classes to those, of these protocols to these ports, are allowed." All four are inclusive
// ranges; for protocols without ports the port range is 0-65535. ICMP rules appear for protocol 1 and for 58.
struct Fact {
  Range from, to, protocol, port;
  auto operator<=>(const Fact&) const = default;
};

// The allowed facts of `policy` in `numbering`, whose alphabet covers the policy's. Sorted; no two facts overlap
// (pipapo sets refuse overlapping elements). deny beats allow. Errors: invalid when more than kMaxFacts are needed,
// with the number and a remedy.
inline constexpr std::size_t kMaxFacts = 200000;
Result<std::vector<Fact>> compile(const Policy& policy, const Numbering& numbering);

// The same for the classes in `present` alone (sorted, unique, of the block), which is far less where a policy has many
// selectors. Between present classes the facts say what they like of absent ones, so that they are few: whoever makes a
// class present compiles again first.
Result<std::vector<Fact>> compile(const Policy& policy, const Numbering& numbering,
                                  const std::vector<std::uint16_t>& present);

// Why a connection is allowed or refused.
struct Explanation {
  bool allowed = false;
  const Statement* decides = nullptr;  // into `policy`; null when no statement speaks of it (and so it is refused)
};

// Judges one connection by the statements themselves, not by facts: the oracle that facts are tested against.
// `port` is ignored for protocols without ports. A denying statement decides before an allowing one; among equals the
// first as written.
Explanation explain(const Policy& policy, const Identity& from, const Identity& to, std::uint8_t protocol,
                    std::uint16_t port);

}  // namespace microseg::policy
