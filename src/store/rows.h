// Reading the rows of an open database.
#pragma once

#include <vector>

#include "microseg/model/network.h"
#include "store/db.h"

namespace microseg::store {

// All networks and endpoints. A row that is damaged, or that this version cannot read, refuses the whole load
// (invalid) by name: half a state would tear down what the other half describes.
Result<model::State> read_state(const Db& db);

// The applied policies of one network, newest first.
Result<std::vector<model::AppliedPolicy>> read_revisions(const Db& db, const NetworkId& network);

// Reads all revisions of all networks, for the errors only.
Status check_revisions(const Db& db);

}  // namespace microseg::store
