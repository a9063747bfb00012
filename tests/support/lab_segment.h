// A small Docker: an engine over the real kernel, with networks and containers. Without the Engine API: who a
// container is comes from the endpoint option microseg.service.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "microseg/engine/engine.h"
#include "support/lab_box.h"

namespace microseg::lab {

class Lab {
 public:
  Lab();
  ~Lab();

  // The engine; between stop() and start() there is none, as when the daemon is not running.
  engine::Engine& engine() { return *engine_; }
  void start();
  void stop();

  NetworkId network(const NetworkSpec& spec = {});
  // A container that has started. An empty service: nobody knows who it is, and it is quarantined.
  Box& run(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses,
           std::optional<Mac> mac = {});
  // One that answers to nothing, for tests that play both ends themselves.
  Box& run_mute(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses);
  // Ends it as Docker does: Leave, DeleteEndpoint, then the namespace.
  void end(Box& box);

  void apply(const NetworkId& network, const std::string& policy);
  std::string path_of(const NetworkId& network) const { return directory_ + "/" + network.brief(); }
  // The segment's namespace as it is mounted now.
  Netns segment(const NetworkId& network) const { return Netns::open(path_of(network)); }
  // The MAC that containers of the network know as their gateway's.
  Mac gateway_mac(const Box& box) const { return segment(box.endpoint.network).mac_of(box.link()); }
  std::map<std::string, std::uint64_t> counters(const NetworkId& network) const;
  // All that the segment holds of ours.
  Result<kstate::Segment> observe(const NetworkId& network) const;

 private:
  Box& add(const NetworkId& network, const std::string& service, const std::vector<std::string>& addresses,
           std::optional<Mac> mac, bool with_addresses);

  std::string directory_;
  std::shared_ptr<store::Store> store_;
  std::unique_ptr<engine::Engine> engine_;
  std::thread thread_;
  std::vector<std::unique_ptr<Box>> boxes_;
  std::vector<std::unique_ptr<Shown>> shown_;
};

}  // namespace microseg::lab
