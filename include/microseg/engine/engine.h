// Engine: owns the truth on one thread; others hand it commands and wait for the answer. What has to be asked of
// Docker is asked on the caller's thread or on the watcher's, never on the engine's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "microseg/docker/engine_api.h"
#include "microseg/engine/commands.h"
#include "microseg/kernel/kernel.h"
#include "microseg/render/segment.h"
#include "microseg/store/store.h"

namespace microseg::engine {

struct Parts {
  std::unique_ptr<kernel::Kernel> kernel;
  std::unique_ptr<store::Store> store;
  std::vector<kernel::Capability> capabilities;
};

struct Config {
  std::string version;
  bool guards_host = false;                       // networks may span hosts (the driver's scope is global)
  std::uint16_t vxlan_port = render::kVxlanPort;  // UDP, the same on all hosts
  std::string driver = "microseg";                // as Docker calls us, for its list of networks
  std::shared_ptr<docker::EngineApi> docker;      // null: no Docker API
  // How long a driver call waits for Docker to say whose endpoint it is. While dockerd boots it never answers, and
  // the boot waits for us (PROTOCOL.md 7.3).
  std::chrono::milliseconds look_up_limit{300};
};

class Engine final : public DriverCommands, public AdminCommands {
 public:
  explicit Engine(Config config);
  ~Engine() override;

  // The engine's thread: first makes the parts with `assemble`, then takes commands, which have been queueing since
  // construction. If the parts cannot be made, every command is refused with the reason: what the kernel holds stays
  // as it is, closed. Returns after stop().
  void run(const std::function<Result<Parts>()>& assemble);
  // The watcher's thread: follows Docker's events, resolves endpoints that joined without an identity, forgets what
  // Docker no longer has, asks for the other hosts of networks that span hosts. Returns after stop(); returns at once without a Docker API.
  void watch_docker();
  void stop();

  Status admit_network(const NewNetwork& request) override;
  Status create_network(const CreateNetwork& request) override;
  Status delete_network(const NetworkId& id) override;
  Result<std::optional<Mac>> create_endpoint(const CreateEndpoint& request) override;
  Status delete_endpoint(const NetworkId& network, const EndpointId& id) override;
  Result<Joined> join(const Join& request) override;
  Status leave(const NetworkId& network, const EndpointId& id) override;
  Result<model::Options> allocate_network(const NetworkId& id, const model::Options& options) override;
  Status free_network(const NetworkId& id) override;
  void nodes_changed() override;
  std::map<std::string, std::string> endpoint_info(const NetworkId& network, const EndpointId& id) override;

  StatusView status() override;
  std::vector<NetworkView> networks() override;
  std::vector<EndpointView> endpoints() override;
  Result<PolicyView> policy(const std::string& network) override;
  Result<HistoryView> policy_history(const std::string& network) override;
  Result<std::uint64_t> apply_policy(const std::string& network, const std::string& text) override;
  Status remove_policy(const std::string& network) override;
  Result<ExplainView> explain(const ExplainRequest& request) override;
  Result<CheckView> check_policy(const std::string& text) override;

 private:
  struct Private;
  std::unique_ptr<Private> p_;
};

}  // namespace microseg::engine
