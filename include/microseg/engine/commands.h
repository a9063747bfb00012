// What the engine can be asked, by the driver protocol (cnm) and by the admin protocol (api). Engine implements it;
// their tests use a stub. Thread-safe; every call returns when its effect is durable and in the kernel, or has failed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "microseg/model/network.h"

namespace microseg::engine {

struct CreateNetwork {
  NetworkId id;
  model::Options options;       // com.docker.network.generic
  bool internal = false;
  std::vector<model::Subnet> subnets;
};

struct CreateEndpoint {
  NetworkId network;
  EndpointId id;
  std::optional<Prefix> v4, v6;
  std::optional<Mac> mac;       // as Docker gave it; absent: we choose
  model::Options options;       // the string-valued ones
  std::vector<Ip> resolvers{};  // com.docker.network.endpoint.dnsservers
};

struct Join {
  NetworkId network;
  EndpointId endpoint;
  std::string sandbox;          // SandboxKey
  std::vector<model::PublishedPort> published{};  // com.docker.network.portmap
};

struct StaticRoute {            // PROTOCOL: RouteType 0 = via next hop, 1 = connected
  Prefix destination;
  std::optional<Ip> next_hop;   // absent: connected
};

struct Joined {
  IfName source;                // the link that Docker moves into the container
  std::string prefix;           // "eth"
  std::vector<StaticRoute> routes;
};

struct NewNetwork {             // as the Engine API is asked to make one, of whichever driver
  std::string driver;
  model::Options options;
  policy::Labels labels;
};

class DriverCommands {
 public:
  virtual ~DriverCommands() = default;
  // Whether such a network could be made, asked before Docker answers who wants it. One of another driver always can.
  // invalid: an option, or a policy in options or labels, that it would be refused or quarantined for.
  virtual Status admit_network(const NewNetwork& request) = 0;
  // The same again is success; the same id with other content is `exists`.
  virtual Status create_network(const CreateNetwork& request) = 0;
  // Unknown ones are success in all removals: Docker retries, and gone is what it asked for.
  virtual Status delete_network(const NetworkId& id) = 0;
  // Returns the MAC chosen, absent when the request had one. not_found: unknown network.
  virtual Result<std::optional<Mac>> create_endpoint(const CreateEndpoint& request) = 0;
  virtual Status delete_endpoint(const NetworkId& network, const EndpointId& id) = 0;
  virtual Result<Joined> join(const Join& request) = 0;
  virtual Status leave(const NetworkId& network, const EndpointId& id) = 0;
  // Only for networks that span hosts; the options to hand to every node.
  virtual Result<model::Options> allocate_network(const NetworkId& id, const model::Options& options) = 0;
  virtual Status free_network(const NetworkId& id) = 0;
  // A hint that nodes of the Swarm came or went. It may be missing, and says nothing of a single network.
  virtual void nodes_changed() = 0;
  // Values for EndpointOperInfo: what `docker` may show of an endpoint. Unknown endpoint: empty.
  virtual std::map<std::string, std::string> endpoint_info(const NetworkId& network, const EndpointId& id) = 0;
};

// ---- what the admin protocol shows ----

struct StatusView {
  std::string version;
  std::string health;           // "ok", "degraded" or "failed"
  std::vector<std::string> problems;  // sentences, each with what to do; empty when ok
  std::size_t networks = 0, endpoints = 0, quarantined = 0;
  std::int64_t started_ms = 0;
  std::string docker;           // "connected", "unreachable: …" or "off"
  std::map<std::string, std::string> kernel;  // capability -> "yes" or what is missing
};

struct NetworkView {
  NetworkId id;
  std::string name;             // "" when not known
  model::Mode mode = model::Mode::enforce;
  std::vector<model::Subnet> subnets;
  std::size_t endpoints = 0, quarantined = 0;
  std::uint64_t applied_version = 0;
  std::uint32_t generation = 0;
  bool spans_hosts = false;
  std::optional<std::uint32_t> vni;  // only where it spans hosts, as all of these
  std::optional<Ip> underlay;   // this host's address, as the other hosts know it
  std::vector<Ip> peers;        // the other hosts that have the network
  std::string state;            // "ok", "pending: …", "failed: …", "policy error: …"
  std::map<std::string, std::uint64_t> packets;  // counters of the segment: allowed, refused, spoofed, invalid, …
};

struct EndpointView {
  EndpointId id;
  NetworkId network;
  std::string network_name;
  std::string service, source;  // source: where the name came from
  std::string container;        // name
  std::uint16_t class_number = 0;
  std::optional<Prefix> v4, v6;
  Mac mac;
  std::string link;             // in the segment
  std::string phase;            // "created" or "joined"
  std::int64_t joined_ms = 0;
  std::string quarantined;      // why, "" when it is not
  policy::Labels labels;
  std::optional<Ip> gateway_v4{}, gateway_v6{};  // on Docker's gateway bridge
  std::string waiting{};        // for what of the gateway bridge, "" when for nothing
};

struct PolicySource {
  std::string origin;           // "option", "label" or "applied"
  std::string text;
  std::string error;            // why it is not in force, "" when it is
};

struct PolicyView {
  NetworkId network;
  std::string network_name;
  std::vector<PolicySource> sources;
  std::string effective;        // canonical text of the union
  model::AppliedPolicy applied;
  std::size_t classes = 0, elements = 0;
};

struct HistoryView {            // of what was applied to a network
  NetworkId network;
  std::string network_name;
  std::vector<model::AppliedPolicy> versions;  // the one in force first; an empty text was a removal, or as good as one
};

struct CheckView {              // of a policy that no network has yet
  std::size_t statements = 0;
  std::uint64_t classes = 0;
  std::string effective;        // canonical text
  std::string across_hosts;     // why a network that spans hosts could not have it, "" when it could
};

struct ExplainRequest {
  std::string network;          // id, unique id prefix or name; "" when only one network exists or one fits
  // A service, a container, an endpoint's id prefix or address; one of the two may be beyond the network: "world",
  // "host" or an address. In double quotes it is always a service.
  std::string from, to;
  std::uint8_t protocol = kTcp;
  std::uint16_t port = 0;       // ignored where the protocol has none
};

struct ExplainView {
  std::string network;          // name, or id where that is unknown
  std::string from, to;         // as resolved, for people
  bool allowed = false;
  std::string statement, origin;  // "" when no statement decides
  std::string reason;           // one sentence
  std::string note;             // what could not be known here, "" when nothing of the kind
};

class AdminCommands {
 public:
  virtual ~AdminCommands() = default;
  virtual StatusView status() = 0;
  virtual std::vector<NetworkView> networks() = 0;
  virtual std::vector<EndpointView> endpoints() = 0;
  // `network` in all of these: an id, a unique prefix of one, or a name. not_found lists what there is.
  virtual Result<PolicyView> policy(const std::string& network) = 0;
  virtual Result<HistoryView> policy_history(const std::string& network) = 0;
  // In force when it returns. Replaces the applied policy; an empty text is valid. Returns the new version.
  virtual Result<std::uint64_t> apply_policy(const std::string& network, const std::string& text) = 0;
  // As apply_policy with nothing, but the version says "none".
  virtual Status remove_policy(const std::string& network) = 0;
  virtual Result<ExplainView> explain(const ExplainRequest& request) = 0;
  // Judges a policy by itself and changes nothing. invalid: what `docker network create` would refuse it for.
  virtual Result<CheckView> check_policy(const std::string& text) = 0;
};

}  // namespace microseg::engine
