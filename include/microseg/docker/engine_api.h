// The Engine API client: who is behind an endpoint, what a network's labels say, what changes. Unversioned paths, so
// that every engine answers. Every call has a deadline that holds against an engine that accepts and never answers
// (it does so at boot, while containers restart) and against one that dribbles.
//
// Safe to call from driver calls: no call here takes a container's lock (never GET /containers/{id}/json).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "microseg/base/id.h"
#include "microseg/model/network.h"

namespace microseg::docker {

using Deadline = std::chrono::steady_clock::time_point;

struct NetworkInfo {
  NetworkId id;
  std::string name, driver, scope;
  policy::Labels labels;
  model::Options options;
  // Endpoint -> container name, for endpoints of this host, keyed "ep-<id>" during Join and by container id after
  // (daemon/network.go, buildContainerAttachments).
  std::map<EndpointId, std::string> endpoints;
  // Endpoint -> container id, only where the key was one.
  std::map<EndpointId, std::string> container_ids;
  // Underlay addresses of the nodes that have the network, this one among them; sorted, unique. Only of a network that
  // Swarm manages, and only while this node has it (libnetwork's gossip).
  std::vector<Ip> peers{};
};

// Docker's bridge to the outside, docker_gwbridge: which sandbox has which address there. Sandboxes of all networks show,
// not only of ours.
struct GatewayBridge {
  struct Addresses {
    std::optional<Ip> v4, v6;
    std::optional<Mac> mac;  // of the container's end, as Docker made it
    auto operator<=>(const Addresses&) const = default;
  };
  std::string link;                            // the bridge's interface
  std::set<Ip> gateways;                       // the bridge's own addresses
  std::map<std::string, Addresses> sandboxes;  // by the last component of the SandboxKey, 12 characters
};

struct Event {
  std::string type, action;  // "network", "connect"; "container", "rename", "start"; "daemon"; …
  std::string actor_id;
  std::map<std::string, std::string> attributes;  // network connect: "container" (its id), "name"
};

// As networks name a driver: `driver`, of a managed plugin `driver:TAG`, and before it where the plugin was pulled from, as
// in `localhost:5000/team/driver:TAG`.
bool is_driver(std::string_view candidate, std::string_view driver);

class EngineApi {
 public:
  virtual ~EngineApi() = default;
  // Errors of all calls: unavailable (no engine, no answer in time, 5xx), not_found (404), invalid (unreadable answer).
  virtual Result<NetworkInfo> network(const NetworkId& id, Deadline deadline) = 0;
  // All networks of all drivers, without endpoints.
  virtual Result<std::vector<NetworkInfo>> networks(Deadline deadline) = 0;
  // not_found before the first container needs it: Docker makes it then.
  virtual Result<GatewayBridge> gateway_bridge(Deadline deadline) = 0;
  // not_found when no container has exactly this name.
  virtual Result<model::Container> container_by_name(const std::string& name, Deadline deadline) = 0;
  virtual Result<model::Container> container_by_id(const std::string& id, Deadline deadline) = 0;

  // This node's address as the other nodes of the Swarm know it, which is what they list as a peer. Absent when the
  // node is in no Swarm; unavailable while it is in one that cannot be talked to (locked, starting).
  virtual Result<std::optional<Ip>> node_address(Deadline deadline) = 0;

  // Follows network and container events from now on, calling `on_open` once the engine has accepted the
  // subscription (so that nothing falls between a listing made then and the first event), then `on_event` for each.
  // Returns when the stream ends, or when `stop` becomes true (looked at at least every 200 ms).
  virtual Status follow(const std::function<void()>& on_open, const std::function<void(const Event&)>& on_event,
                        const std::function<bool()>& stop) = 0;
};

// Over a Unix socket, e.g. "/var/run/docker.sock". Opens a connection per call; thread-safe.
std::unique_ptr<EngineApi> make_engine_api(const std::string& socket_path);

}  // namespace microseg::docker
