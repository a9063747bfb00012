// desired, observed -> the ordered ops that turn one into the other. Pure.
//
// The order is the safety of it:
//   1. links that go, go first: nothing of a dead endpoint is on its way any more
//   2. one transaction changes the table's sets and rules; stamped connections pass as before
//   3. wait until every packet that began under the old sets is through: none of them may stamp with the next number
//   4. one transaction opens the next generation: every live connection is judged again, by the new policy
//   5. links that come, come last: policy before link
// 3 and 4 only where something is taken away; 2 then leaves a note in the table (the chain `owed`) that 4 removes, so
// that whoever finds a plan cut short between them, this daemon or the next, knows to finish it.
#pragma once

#include <cstdint>

#include "microseg/kstate/plan.h"
#include "microseg/render/datapath.h"

namespace microseg::reconcile {

struct Step {
  kstate::Plan plan;
  kstate::Segment after;         // what is observed once all of it is done
  std::uint16_t generation = 0;  // the one that is open then
};

// `desired` is without the generation's chains (render::segment). `last_generation`: the highest number known to have
// been in use in this segment, 0 if none is known; needed when the table was lost. Where `observed` is what is desired
// the plan is empty.
Step plan(const kstate::Segment& desired, const kstate::Segment& observed, std::uint16_t last_generation);

// The number after `number`; 65535 is followed by 1.
std::uint16_t next_generation(std::uint16_t number);

}  // namespace microseg::reconcile
