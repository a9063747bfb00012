#include "spanning.h"

#include "judging.h"

namespace microseg::render {
namespace {

using namespace kstate;

// A connection's mark: the generation below, the remote side's class above.
constexpr std::uint32_t kNumber = 0xffff, kRemote = 0xffff0000;

constexpr const char* kInbound = "inbound";
constexpr const char* kOutbound = "outbound";
constexpr const char* kStampRemote = "stamp_remote";
constexpr const char* kStampKept = "stamp_kept";
constexpr const char* kFromSegment = "from_segment";
constexpr const char* kRemoteErrors = "remote_errors";

Fragment stamped(Generation generation) { return connection_is(generation.number, kNumber); }

// The sender is of the class that the connection's mark says it should be.
Fragment same_remote() {
  return {Ct{CtKey::mark, 0}, Mask{0, 0, bytes_of_mark(kRemote), bytes_of_mark(0)}, Meta{MetaKey::mark, 1},
          Lookup{kPairs, 0, std::nullopt}};
}

// An error about a connection that was opened here and has had no answer yet, so that nothing is known of its other
// side: judged as that connection's answer. That it comes from the connection's own end the sender's host has seen to
// (its chain `errors`); that it goes to the other one, connection tracking.
Rule judge_error(const Family& f, const char* allow) {
  return rule({is(f), transport_is(f.icmp), state_is(kRelated), direction_is(kReply),
               class_of_target(f), priority_from_scratch(), load_priority(0), load_mark(1),
               {Ct{CtKey::protocol, 2}, Ct{CtKey::original_target_port, 3}, Lookup{allow, 0, std::nullopt}},
               accept()});
}

// What another host's segment lets through to us. The sender's class is in the packet; a destination that is not here
// has no class, so that nobody reaches one host by way of another.
Chain inbound_chain(Generation generation) {
  const char* allow = kAllowSets[generation.allow];
  return {std::nullopt,
          {rule({stamped(generation), same_remote(), state_is_not(kRelated), accept()}),
           rule({mark_is(0), go(kFromSegment)}),
           rule({stamped(generation), same_remote(), go(kRemoteErrors)}),
           judge_error(kV4, allow),
           judge_error(kV6, allow),
           rule({state_is(kRelated), dropped("invalid")}),
           rule({state_is(kInvalid), dropped("invalid")}),
           judge(kV4, kOriginal, allow, kStampRemote),
           judge(kV4, kReply, allow, kStampRemote),
           judge(kV6, kOriginal, allow, kStampRemote),
           judge(kV6, kReply, allow, kStampRemote),
           to_quarantined(kV4),
           to_quarantined(kV6),
           rule({go("refused")})}};
}

// Judges by the remote side's class as it was last seen.
Rule judge_kept(char direction, const char* allow) {
  const unsigned here = direction == kOriginal ? 0 : 1, there = 1 - here;
  return rule({direction_is(direction),
               {Ct{CtKey::mark, kScratch}, Shift{kScratch, kScratch, -16}},
               priority_from_scratch(), load_priority(there), load_mark(here),
               {Meta{MetaKey::l4proto, 2}, opened_port(direction, 3), Lookup{allow, 0, std::nullopt}},
               go(kStampKept)});
}

// A class of judge_kept's would choose the packet's place in the queues of the host's own links.
Fragment clear_priority() { return {Load{kScratch, bytes_of_mark(0)}, SetMeta{MetaKey::priority, kScratch}}; }

// What local containers send to other hosts. The receiving host judges it in any case; here is refused what is known to
// be refused there, and what a revocation here has ended.
Chain outbound_chain(Generation generation) {
  const char* allow = kAllowSets[generation.allow];
  return {std::nullopt,
          {rule({mark_is(0), go("quarantined")}),
           rule({stamped(generation), state_is_not(kRelated), accept()}),
           rule({stamped(generation), go("errors")}),
           rule({state_is(kRelated), dropped("invalid")}),
           rule({state_is(kInvalid), dropped("invalid")}),
           // Nobody has answered yet, so the remote side's class is not known: its host judges, and the answer is
           // judged here.
           rule({direction_is(kOriginal), connection_is(0, kRemote), accept()}),
           judge_kept(kOriginal, allow),
           judge_kept(kReply, allow),
           rule({clear_priority(), go("refused")})}};
}

Chain stamp_remote_chain(Generation generation) {
  return {std::nullopt,
          {rule({{Meta{MetaKey::mark, kScratch}, Shift{kScratch, kScratch, 16},
                  Mask{kScratch, kScratch, bytes_of_mark(kRemote), bytes_of_mark(generation.number)},
                  SetCtMark{kScratch}, Count{"allowed"}},
                 accept()})}};
}

Chain stamp_kept_chain(Generation generation) {
  return {std::nullopt,
          {rule({{Ct{CtKey::mark, kScratch},
                  Mask{kScratch, kScratch, bytes_of_mark(kRemote), bytes_of_mark(generation.number)},
                  SetCtMark{kScratch}, Count{"allowed"}},
                 clear_priority(), accept()})}};
}

// Class 0 leaves no host from a container (`outbound`), so this is what a segment says itself: that it refused a
// packet, or could not deliver it. It goes to the one who sent that packet, and to nobody else.
Chain from_segment_chain(const model::Settings& settings) {
  Chain chain;
  chain.rules = {rule({leaves_by(kVxlan), dropped("invalid")}),
                 // In either direction: the one who is refused may be the one who was called. A reset begins no
                 // connection, and an established one is known by addresses and ports.
                 rule({transport_is(kTcp), is_reset(), state_is(kEstablished), accept()}),
                 rule({is(kV4), transport_is(kIcmp), state_is(kRelated), accept()}),
                 rule({is(kV6), transport_is(kIcmpv6), state_is(kRelated), accept()})};
  // Where nothing is refused, those in quarantine speak as well.
  if (settings.mode == model::Mode::monitor) chain.rules.push_back(rule({state_is_not(kInvalid), go("quarantined")}));
  chain.rules.push_back(rule({dropped("invalid")}));
  return chain;
}

Chain remote_errors_chain() {
  return {std::nullopt,
          {rule({is(kV4), transport_is(kIcmp), accept()}),
           rule({is(kV6), transport_is(kIcmpv6), accept()}),
           rule({dropped("invalid")})}};
}

}  // namespace

Rule from_other_hosts() {
  return rule({came_by(kVxlan),
               {Meta{MetaKey::mark, kScratch}, Mask{kScratch, kScratch, bytes_of_mark(kNumber), bytes_of_mark(0)},
                SetMeta{MetaKey::mark, kScratch}},
               accept()});
}

Rule neighbours_answer() { return rule({came_by(kVxlan), is(kV6), icmpv6_is(kAdvertisement), accept()}); }

std::vector<Rule> ways_to_other_hosts() {
  return {rule({came_by(kVxlan), go(kInbound)}), rule({leaves_by(kVxlan), go(kOutbound)})};
}

std::map<std::string, Chain> spanning_chains(const model::Settings& settings) {
  return {{kFromSegment, from_segment_chain(settings)}, {kRemoteErrors, remote_errors_chain()}};
}

std::map<std::string, Chain> spanning_generation_chains(Generation generation) {
  return {{kInbound, inbound_chain(generation)},
          {kOutbound, outbound_chain(generation)},
          {kStampRemote, stamp_remote_chain(generation)},
          {kStampKept, stamp_kept_chain(generation)}};
}

}  // namespace microseg::render
