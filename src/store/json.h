// Rows as JSON text. Pure; from_text(to_text(x)) == x for every value that to_text accepts.
#pragma once

#include <string>
#include <string_view>

#include "microseg/model/network.h"

namespace microseg::store {

// One line of JSON with its keys sorted: equal values give equal text. Refuses (invalid) text that is not UTF-8, which
// JSON cannot hold.
Result<std::string> to_text(const model::Network& network);
Result<std::string> to_text(const model::Endpoint& endpoint);
Result<std::string> to_text(const model::AppliedPolicy& policy);

// Refuse (invalid) whatever this version could misread, naming the field: broken JSON, wrong types, values out of
// range, fields that only a newer microseg knows, class blocks that are not sorted or do not fit. Missing fields take
// their defaults, but ids, addresses and the like, which have none, are demanded.
Result<model::Network> network_from_text(std::string_view text);
Result<model::Endpoint> endpoint_from_text(std::string_view text);
Result<model::AppliedPolicy> policy_from_text(std::string_view text);

}  // namespace microseg::store
