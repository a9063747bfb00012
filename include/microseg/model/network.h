// What microseg knows about networks and endpoints: plain values, stored as they are.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/base/id.h"
#include "microseg/policy/compile.h"

namespace microseg::model {

using Options = std::map<std::string, std::string>;

enum class Mode { enforce, monitor };  // monitor judges and reports, and refuses nothing
enum class Refusal { reject, drop };   // what a refused packet's sender gets: ICMP error or TCP reset, or silence
// How a published port (`docker run -p`) is opened: by being published, or only by a statement of policy.
enum class Publish { implicitly, explicitly };

inline constexpr std::uint32_t kMaxVni = (1U << 24) - 1;

// A network's settings, out of its driver options (`docker network create -o`).
struct Settings {
  Mode mode = Mode::enforce;               // microseg.mode
  Refusal refusal = Refusal::reject;       // microseg.deny
  Publish publish = Publish::implicitly;   // microseg.publish
  std::optional<std::uint32_t> vni;        // microseg.vni, 1..2^24-1; every network that spans hosts has one
  // microseg.encoding: how the manager's microseg numbers classes (policy::kEncodingVersion there). Its AllocateNetwork
  // adds it, so a network that has it spans hosts.
  std::optional<std::uint32_t> encoding;
  std::optional<std::uint16_t> mtu;        // com.docker.network.driver.mtu, 1280..65535 (IPv6 needs 1280); see mtu_of
  std::string interface_prefix = "eth";    // com.docker.network.container_iface_prefix
  std::string policy;                      // microseg.policy and microseg.policy.*, in key order, one per line
  bool spans_hosts() const { return encoding.has_value(); }
  auto operator<=>(const Settings&) const = default;
};

// Refuses (invalid) unknown `microseg.*` keys, naming the nearest known one, bad values, and a policy that does not
// parse (with the parser's message) or does not fit. Keys are case-insensitive: the docker CLI lower-cases some.
// Keys outside `microseg.` that are not ours are left alone.
Result<Settings> parse_settings(const Options& options);

// The VNI that a network's options name, whatever else is in them; absent when there is none that can be read.
std::optional<std::uint32_t> vni_in(const Options& options);

// The policy text in a network's labels (microseg.policy and microseg.policy.*), in key order; "" when there is none.
// Other microseg.* labels are ignored.
std::string policy_in_labels(const policy::Labels& labels);

struct Subnet {
  Prefix pool;
  std::optional<Ip> gateway;
  auto operator<=>(const Subnet&) const = default;
};

// A policy statement set applied through the CLI or API. Version 0: none was ever applied.
struct AppliedPolicy {
  std::uint64_t version = 0;
  std::string text;
  std::int64_t at_ms = 0;  // Unix time
  auto operator<=>(const AppliedPolicy&) const = default;
};

// A block of class numbers and, when no policy uses it any more, since when (Unix ms): a number never changes its
// meaning, so a block is dealt anew only when all numbers are used up and it has been out of use for long.
struct Block {
  policy::Numbering numbering;
  std::optional<std::int64_t> retired_ms;
  auto operator<=>(const Block&) const = default;
};

// How the hosts of a network that spans hosts reach one another. Told by Docker, kept for when it does not answer.
struct Underlay {
  std::optional<Ip> self;   // this host's address, as the others know it
  std::vector<Ip> peers;    // the other hosts that have the network; sorted, unique
  auto operator<=>(const Underlay&) const = default;
};

struct Network {
  NetworkId id;
  Options options;             // the driver options as Docker sent them
  Settings settings;           // parsed from them
  bool internal = false;
  std::vector<Subnet> subnets; // IPv4 first, then IPv6, as Docker listed them
  // From the Engine API; empty until it has been asked. While `labels` is unknown the network's endpoints are
  // quarantined: a deny might be in there.
  std::optional<std::string> name;
  std::optional<policy::Labels> labels;
  AppliedPolicy applied;
  std::vector<Block> blocks;   // newest last; the last one that is not retired is in force
  Underlay underlay{};         // empty where the network does not span hosts
  std::int64_t created_ms = 0;
  auto operator<=>(const Network&) const = default;
};

// The MTU of the network's links, bytes of an inner IP packet: as given, else 1500, or what VXLAN leaves of that where the
// network spans hosts (RFC 7348, section 5): 1450, or 1430 where the hosts know each other by IPv6 addresses.
std::uint16_t mtu_of(const Network& network);

// Where an endpoint's service name came from.
enum class IdentitySource { endpoint_option, container_label, swarm_label, compose_label, container_name };
std::string_view to_string(IdentitySource source);

// A container as the Engine API shows it, as far as identity needs it.
struct Container {
  std::string id;    // 64 hex digits; may be empty when only the name is known
  std::string name;  // without the leading '/'
  policy::Labels labels;
  auto operator<=>(const Container&) const = default;
};

struct ResolvedIdentity {
  policy::Identity identity;
  IdentitySource source = IdentitySource::container_name;
  std::string container_id, container_name;  // empty when an endpoint option alone decided
  auto operator<=>(const ResolvedIdentity&) const = default;
};

// The first of: endpoint option microseg.service; label microseg.service; com.docker.swarm.service.name (without the
// prefix `S_` where com.docker.stack.namespace=S); com.docker.compose.service; the container's name. Without a
// container only the endpoint option can answer.
std::optional<ResolvedIdentity> resolve_identity(const Options& endpoint_options, const Container* container);

// Refuses (invalid) unknown `microseg.*` endpoint options (known: microseg.service) with the nearest known key, and
// service names that the policy language cannot write.
Status check_endpoint_options(const Options& options);

// A port that `docker run -p` publishes: what the user declared open to the world.
struct PublishedPort {
  std::uint8_t protocol = kTcp;  // IANA number
  std::uint16_t port = 0;        // the container's
  std::uint16_t host_port = 0;   // the host's; 0: Docker chooses one
  auto operator<=>(const PublishedPort&) const = default;
};

struct Endpoint {
  enum class Phase { created, joined };
  EndpointId id;
  NetworkId network;
  std::optional<Prefix> v4, v6;   // with the pool's length, as Docker sent them
  Mac mac;
  Options options;                // strings of CreateEndpoint.Options
  Phase phase = Phase::created;
  std::string sandbox;            // SandboxKey of the last Join, "" before
  std::optional<ResolvedIdentity> identity;
  std::string quarantined;        // why there is no identity, for people; "" when there is one
  std::int64_t created_ms = 0, joined_ms = 0;
  std::vector<PublishedPort> published{};  // the container's, as the last Join told
  std::vector<Ip> resolvers{};             // the container's own DNS servers (docker run --dns), in their order
  // On Docker's gateway bridge, once Docker has told: addresses, and the MAC of the container's end.
  std::optional<Ip> gateway4{}, gateway6{};
  std::optional<Mac> gateway_mac{};
  auto operator<=>(const Endpoint&) const = default;
};

// Everything durable. Kept by the store, owned by the engine.
struct State {
  std::map<NetworkId, Network> networks;
  std::map<EndpointId, Endpoint> endpoints;
  bool operator==(const State&) const = default;
};

}  // namespace microseg::model
