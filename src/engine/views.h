// State -> what the admin protocol shows. Pure but for the segments' packet counters.
#pragma once

#include "core.h"

namespace microseg::engine {

std::vector<NetworkView> view_networks(Core& core);
std::vector<EndpointView> view_endpoints(const Core& core);
PolicyView view_policy(const Core& core, const model::Network& network);
Result<ExplainView> explain(const Core& core, const ExplainRequest& request);
// Sentences about what is not as it should be, each with what to do; empty when all is well.
std::vector<std::string> problems(const Core& core);
// Why the endpoint is allowed nothing, "" when it is not so.
std::string quarantine_reason(const Core& core, const model::Endpoint& endpoint);

}  // namespace microseg::engine
