// The chains that do not depend on the generation.
#include "microseg/render/datapath.h"

#include "judging.h"
#include "spanning.h"

namespace microseg::render {
namespace {

using namespace kstate;

// (link, source) -> class, into the packet's mark. A miss ends the rule: the source is not this link's.
Rule tag(const Family& f) {
  return rule({is(f),
               {Meta{MetaKey::iifname, 0}, Payload{Base::network, f.source, f.length, 4}, Lookup{f.set(kTag), 0, kScratch},
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

Chain tag_chain(bool spans) {
  Chain out{Hook{Hook::Place::prerouting, -300, false}, {tag(kV4), tag(kV6)}};
  // Behind the look-ups, so that packets of local containers never come here.
  if (spans) out.rules.push_back(from_other_hosts());
  for (auto& r : {// A container may ask for its gateway's MAC from its link-local address; marked 0, it gets no further.
                  rule({is(kV6), link_local_source(), icmpv6_is(kSolicitation),
                        {Load{kScratch, bytes_of_mark(0)}, SetMeta{MetaKey::mark, kScratch}}, accept()}),
                  rule({is(kV6), link_local_source(), dropped("linklocal")}),
                  rule({is(kV6), unspecified_source(), dropped("linklocal")}),
                  rule({dropped("spoofed")})})
    out.rules.push_back(r);
  return out;
}

Chain local_chain(bool spans) {
  Chain out{Hook{Hook::Place::input, 0, true}, {rule({is(kV6), icmpv6_is(kSolicitation), accept()})}};
  if (spans) out.rules.push_back(neighbours_answer());
  out.rules.push_back(rule({dropped("local")}));
  return out;
}

// An ICMP error about a stamped connection passes only from one of the connection's own ends: anybody else who knows
// the ports could otherwise reach a victim, or end its connections, without any permission.
Chain errors_chain() {
  Chain chain;
  for (auto* f : kFamilies)
    for (char direction : {kOriginal, kReply}) {
      auto end = direction == kOriginal ? f->original_source : f->original_target;
      chain.rules.push_back(rule({is(*f), transport_is(f->icmp), direction_is(direction),
                                  {Meta{MetaKey::iifname, 0}, Ct{end, 4}, Lookup{f->set(kTag), 0, kScratch}},
                                  accept()}));
    }
  chain.rules.push_back(rule({dropped("invalid")}));
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
  const bool spans = settings.spans_hosts();
  std::map<std::string, Chain> out{{"tag", tag_chain(spans)},
                                   {"local", local_chain(spans)},
                                   {"errors", errors_chain()},
                                   {"quarantined", refusal_chain("quarantined", settings)},
                                   {"refused", refusal_chain("refused", settings)}};
  if (spans) out.merge(spanning_chains(settings));
  return out;
}

}  // namespace microseg::render
