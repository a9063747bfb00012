// The same for our table in the host's own namespace (kernel::kHost): desired, observed -> the one transaction that turns
// one into the other. Pure. Nothing there is stamped, so there are no generations and nothing to wait for.
#pragma once

#include <optional>

#include "microseg/kstate/plan.h"

namespace microseg::reconcile {

// Where `desired` is absent the table is deleted. Where it should be owned, one that a dead daemon left is taken over as it
// stands; one that never had an owner, or has objects that cannot be turned into what is wanted, is exchanged: in neither
// case is there a moment without it. Empty when observed is what is desired.
kstate::Plan plan_host(const std::optional<kstate::Table>& desired, const std::optional<kstate::Table>& observed);

// Whether a table does what `least` does and has what its sets have, whoever owns it and whatever else is in it.
bool does(const std::optional<kstate::Table>& observed, const kstate::Table& least);

}  // namespace microseg::reconcile
