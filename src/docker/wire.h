// The Engine API's JSON: text -> values. Pure. Errors are `invalid` unless said: the answer is not what an engine sends.
// Fields that we do not read may be anything; maps and lists may be null, as Go prints empty ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microseg/docker/engine_api.h"

namespace microseg::docker::wire {

// GET /networks/{id}
Result<NetworkInfo> parse_network(std::string_view text);
// GET /networks
Result<std::vector<NetworkInfo>> parse_networks(std::string_view text);
// GET /info: Swarm.NodeAddr; absent when the node is in no Swarm, unavailable when it is in one without an address.
Result<std::optional<Ip>> parse_node_address(std::string_view text);
// GET /networks/docker_gwbridge
Result<GatewayBridge> parse_gateway_bridge(std::string_view text);
// GET /containers/json
Result<std::vector<model::Container>> parse_containers(std::string_view text);
// One line of GET /events
Result<Event> parse_event(std::string_view text);
// The message of an error answer; the text itself (shortened) where it is no {"message": …}.
std::string error_message(std::string_view text);

// Request targets.
inline constexpr const char* kGatewayBridgeTarget = "/networks/docker_gwbridge";
std::string network_target(const NetworkId& id);
std::string container_by_name_target(std::string_view name);
std::string container_by_id_target(std::string_view id);
// `since`: Unix time in seconds and nanoseconds.
std::string events_target(std::int64_t seconds, std::int64_t nanoseconds);

}  // namespace microseg::docker::wire
