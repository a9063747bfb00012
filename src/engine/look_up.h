// Who is behind an endpoint, asked of the Docker Engine: two calls, neither of which takes a container's lock.
#pragma once

#include "core.h"
#include "microseg/docker/engine_api.h"

namespace microseg::engine {

// Never fails: what could not be found out is missing from the facts, with the reason in `trouble`.
Facts look_up(docker::EngineApi& api, const Unresolved& which, docker::Deadline deadline);

// Who has which address on the gateway bridge. Before Docker has made the bridge, nobody has.
Result<docker::GatewayBridge> list_gateways(docker::EngineApi& api, docker::Deadline deadline);

}  // namespace microseg::engine
