// The same for the ports of the gateway bridge (kernel::kHostPorts): desired, observed -> ordered ops. Pure.
//
// The table lets an address through by its own port alone before the port is isolated. A port is left as it was found only
// where a table of ours says that we had bound it, and last: whoever changes a link waits for all others who do. Ports of
// others are never changed.
#pragma once

#include <optional>

#include "microseg/kstate/plan.h"
#include "microseg/kstate/ports.h"

namespace microseg::reconcile {

// Absent: nothing of ours is on the bridge; the table goes. A bound port that is not there any more, or is another
// bridge's, counts as unplaced: its addresses stay forbidden to all. Empty when observed is what is desired.
kstate::Plan plan_ports(const std::optional<kstate::GatewayPorts>& desired, const kstate::Segment& observed);

}  // namespace microseg::reconcile
