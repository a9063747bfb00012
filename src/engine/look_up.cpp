#include "look_up.h"

namespace microseg::engine {

Facts look_up(docker::EngineApi& api, const Unresolved& which, docker::Deadline deadline) {
  Facts out;
  auto network = api.network(which.network, deadline);
  if (!network) {
    out.trouble = "Docker did not tell whose it is: " + network.error().text;
    return out;
  }
  out.network_name = network->name;
  out.network_labels = network->labels;
  auto id = network->container_ids.find(which.endpoint);
  auto name = network->endpoints.find(which.endpoint);
  if (id == network->container_ids.end() && name == network->endpoints.end()) {
    out.trouble = "Docker does not list it in its network";
    return out;
  }
  auto container = id != network->container_ids.end() ? api.container_by_id(id->second, deadline)
                                                      : api.container_by_name(name->second, deadline);
  if (container) out.container = std::move(container).value();
  else out.trouble = "Docker did not tell its container's labels: " + container.error().text;
  return out;
}

Result<docker::GatewayBridge> list_gateways(docker::EngineApi& api, docker::Deadline deadline) {
  auto bridge = api.gateway_bridge(deadline);
  if (!bridge && bridge.error().code == Errc::not_found) return docker::GatewayBridge{render::kGatewayBridge, {}, {}};
  return bridge;
}

}  // namespace microseg::engine
