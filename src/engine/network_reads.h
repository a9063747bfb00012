// Reads of a Docker network, kept apart from Docker's own removal of an endpoint there.
//
// Docker 28.1 and newer list a network's endpoints and put each of them into a cache a moment later
// (libnetwork/store.go, getEndpointsFromStore; moby#49736). An endpoint that was removed in between stays in that cache,
// and `docker network rm` is refused with "has active endpoints" until dockerd is started again. The removal falls between
// our answer to Leave and the call of DeleteEndpoint, so we can stay out of its way: Leave waits for the reads under way,
// and a read waits for the removals under way. Neither waits for longer than kPatience: a late removal is an annoyance, a
// driver call that hangs stops Docker.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "microseg/docker/engine_api.h"

namespace microseg::engine {

class NetworkReads final : public docker::EngineApi {
 public:
  static constexpr std::chrono::milliseconds kPatience{200};
  // Where DeleteEndpoint has not come by then, nobody waits for it any longer: Docker may have ended in between.
  static constexpr std::chrono::milliseconds kForgotten{1000};

  explicit NetworkReads(std::shared_ptr<docker::EngineApi> api, std::chrono::milliseconds patience = kPatience,
                        std::chrono::milliseconds forgotten = kForgotten)
      : api_(std::move(api)), patience_(patience), forgotten_(forgotten) {}

  // Docker is about to remove it: from here on reads of its network wait. Before Leave does its work.
  void removal_begins(const NetworkId& network, const EndpointId& endpoint);
  // Returns when no read of the network is under way, or its patience is over. Before Leave is answered.
  void await_reads(const NetworkId& network);
  // Docker has removed it (DeleteEndpoint), or keeps it after all (Join).
  void removal_ends(const NetworkId& network, const EndpointId& endpoint);

  Result<docker::NetworkInfo> network(const NetworkId& id, docker::Deadline deadline) override;

  // The rest as it is. The gateway bridge's endpoints are cached in the same way, but that network is Docker's own and
  // stays.
  Result<std::vector<docker::NetworkInfo>> networks(docker::Deadline deadline) override { return api_->networks(deadline); }
  Result<docker::GatewayBridge> gateway_bridge(docker::Deadline deadline) override {
    return api_->gateway_bridge(deadline);
  }
  Result<model::Container> container_by_name(const std::string& name, docker::Deadline deadline) override {
    return api_->container_by_name(name, deadline);
  }
  Result<model::Container> container_by_id(const std::string& id, docker::Deadline deadline) override {
    return api_->container_by_id(id, deadline);
  }
  Result<std::optional<Ip>> node_address(docker::Deadline deadline) override { return api_->node_address(deadline); }
  Status follow(const std::function<void()>& on_open, const std::function<void(const docker::Event&)>& on_event,
                const std::function<bool()>& stop) override {
    return api_->follow(on_open, on_event, stop);
  }

 private:
  struct Traffic {
    int reads = 0;
    std::map<EndpointId, docker::Deadline> removals;  // and when each is forgotten
  };

  // With the mutex held.
  bool being_removed(const NetworkId& network);
  void tidy(const NetworkId& network);

  std::shared_ptr<docker::EngineApi> api_;
  std::chrono::milliseconds patience_, forgotten_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<NetworkId, Traffic> traffic_;
};

}  // namespace microseg::engine
