// The rules of a segment's table: which chain does what, in which order, and why. They never depend on a container:
// containers coming and going change set elements only (segment.h says what is in them).
//
//   prerouting, raw   tag       (link, source) -> class, or dropped: the proof that the source is the sender's own
//   input             local     the gateway answers neighbour solicitations and nothing else
//   forward, filter   forward   stamped connection -> accept; else class x class x protocol x port -> stamp; else refused
//
// Where the network spans hosts, `forward` sends what comes from the VXLAN device to `inbound` and what leaves by it to
// `outbound`; from other hosts a packet brings its sender's class with it.
//
// A packet's mark is its sender's class. A connection's mark is the generation in which policy allowed it (the lower 16
// bits) and, where it crosses hosts, the remote side's class (the upper 16): another service that has taken over the
// remote side's address is of another class, and passes on its own permissions only.
#pragma once

#include <cstdint>
#include <optional>

#include "microseg/kstate/segment.h"
#include "microseg/model/network.h"

namespace microseg::render {

// Maps, one for each family: these names and "4" or "6".
inline constexpr const char* kTag = "tag";      // link . source : mark
inline constexpr const char* kClass = "class";  // destination : class
// set  class . class . protocol . port, ranges. There are two, one of them in use: an interval set cannot exchange
// overlapping ranges without a moment in which neither is found, so a new policy is written into the other set and the
// rules are switched. Desired tables know one, `allow`; observed ones have the two.
inline constexpr const char* kAllow = "allow";
inline constexpr const char* kAllowSets[] = {"allow_a", "allow_b"};
// set  mark . mark, only where the network spans hosts: (class << 16, class) of every class that the policy knows.
// Answers whether the class in a packet is the one in the upper half of its connection's mark: a rule cannot compare
// two values that it computed.
inline constexpr const char* kPairs = "pairs";

// Named counters: packets by verdict.
inline constexpr const char* kCounters[] = {"allowed",  // first packets, of connections that policy allows
                                            "refused", "quarantined", "spoofed", "invalid",
                                            "local",       // to the gateway itself
                                            "linklocal"};  // IPv6 link-local chatter, which goes nowhere here

// What of a table changes when permissions are taken away (reconcile/steps.h).
struct Generation {
  std::uint16_t number = 1;  // connections stamped with it pass unjudged; 1..65535, 0 is what unjudged ones carry
  int allow = 0;             // which of kAllowSets judges
  bool owed = false;         // something was taken away, and the next number is not in force yet
  bool spans = false;        // the network spans hosts; never changes
  auto operator<=>(const Generation&) const = default;
};
inline constexpr const char* kForwardChain = "forward";
inline constexpr const char* kStampChain = "stamp";
inline constexpr const char* kOwedChain = "owed";  // empty; that it is there is the note

// The chains of a table for these settings, all but those that depend on the generation.
std::map<std::string, kstate::Chain> chains(const model::Settings& settings);

// Those: `forward` and `stamp`; where the network spans hosts `inbound`, `outbound`, `stamp_remote` and `stamp_kept` too.
std::map<std::string, kstate::Chain> generation_chains(Generation generation);

// Reads them back; absent when the chains are not exactly those of some number.
std::optional<Generation> generation_in(const kstate::Table& table);

// Whether the table is, or should be, that of a network that spans hosts.
bool spans_hosts(const kstate::Table& table);

// The number that the chain `stamp` writes, whatever became of the other chains; absent when that chain is not ours.
std::optional<std::uint16_t> stamp_in(const kstate::Table& table);

}  // namespace microseg::render
