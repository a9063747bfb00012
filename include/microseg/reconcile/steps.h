// desired, observed -> the ordered ops that turn one into the other. Pure.
//
// The order is the safety of it:
//   1. links that go, go first: nothing of a dead endpoint is on its way any more
//   2. a new policy is written into the allow set that is not in use
//   3. one transaction switches the rules to it and changes the other sets; stamped connections pass as before
//   4. wait until every packet that began before 3 is through: none of them may stamp with the next number
//   5. one transaction puts the next number in force: every live connection is judged again, by the new policy
//   6. links that come, come after all that: policy before link
//   7. last the way to other hosts: the VXLAN device with who is a peer and what it answers for, then the announcement
//      of the addresses that came. One with another tunnel, or that nobody wants, goes with the links in 1
// 2 only where ranges are taken away, 4 and 5 only where anything is; 3 then leaves a note in the table (the chain
// `owed`) that 5 removes, so that whoever finds a plan cut short between them, this daemon or the next, finishes it.
#pragma once

#include <cstdint>

#include "microseg/kstate/plan.h"
#include "microseg/render/datapath.h"

namespace microseg::reconcile {

struct Step {
  kstate::Plan plan;
  kstate::Segment after;         // what is observed once all of it is done
  std::uint16_t generation = 0;  // the one that is open then
  bool unfinished = false;       // something was left for a later plan
};

// `desired` is without the generation's chains (render::segment). `last_generation`: the highest number known to have
// been in use in this segment, 0 if none is known; needed when the table was lost. Where `observed` is what is desired
// the plan is empty.
//
// `later`: leaves to a later plan what costs a wait and can wait. After an endpoint has left, that is the next
// generation: its link is gone, and a plan that brings a link, perhaps with its address, opens it first. After a policy
// only grew, it is the emptying of the set that is not in use any more.
Step plan(const kstate::Segment& desired, const kstate::Segment& observed, std::uint16_t last_generation,
          bool later = false);

// The number after `number`; 65535 is followed by 1.
std::uint16_t next_generation(std::uint16_t number);

}  // namespace microseg::reconcile
