// What of our table at the host judges containers' traffic through Docker's gateway bridge: egress, published ports, the
// host itself. It only ever drops, and looks only at addresses that it is told of. Pure.
//
//   forward   gateway_forward   unknown addresses while holding; from ours -> from_ours, to ours -> to_ours
//   input     gateway_input     the same; from ours -> to_host
//   output    gateway_output    the same; to ours -> from_host
//
// Every packet of ours is judged, both ways, by what its connection's first direction is allowed; connections carry no
// mark. So taking an element away is in force for the next packet. A packet that opens a connection is refused with an
// answer; one of a connection that had been allowed is dropped in silence, since a set that is being rewritten may miss
// for a moment, and a reset would end a connection that is allowed before and after.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/kstate/nft.h"
#include "microseg/policy/north.h"

namespace microseg::render {

struct Port {
  std::uint8_t protocol = kTcp;  // IANA number
  std::uint16_t number = 0;
  auto operator<=>(const Port&) const = default;
};

// One container (sandbox) of ours with an address on the gateway bridge.
struct GatewayMember {
  std::optional<Ip> v4{}, v6{};
  policy::North north{};          // nothing: the container is quarantined, or its policy closed
  std::vector<Port> published{};  // of the container, open to the world and the host; none where publishing opens nothing
  std::vector<Port> proxied{};    // of the host: others' published ports that this one may reach as service to service
  std::vector<Ip> resolvers{};    // asked for this one alone (docker run --dns)
};

struct Gateway {
  bool holding = false;  // what comes or leaves by `link` with an address that is neither a member's nor `foreign` is dropped
  std::string link = "docker_gwbridge";  // the bridge's interface
  std::set<Ip> foreign{};     // somebody else's, the bridge's own among them; never looked at any further
  // Where containers' DNS queries go. Members whose policy lets them out may ask these, unless it denies that
  // (policy::North::resolve). Loopback addresses are of no use here: the host asks those.
  std::vector<Ip> resolvers{};
  std::vector<GatewayMember> members{};
};

inline constexpr const char* kHeld = "held";  // set  link: the bridge's, while holding
// Sets, one for each family: these names and "4" or "6".
inline constexpr const char* kOurs = "ours";            // address
inline constexpr const char* kKnown = "known";          // address: ours and foreign
inline constexpr const char* kEnds = "ends";            // address . the same address, of ours
inline constexpr const char* kOut = "out";              // ours . remote . protocol . remote's port, ranges
inline constexpr const char* kIn = "in";                // ours . remote . protocol . our port, ranges
inline constexpr const char* kResolve = "resolve";      // ours . resolver . protocol . port
inline constexpr const char* kToHost = "to_host";       // ours . protocol . the host's port, ranges
inline constexpr const char* kFromHost = "from_host";   // ours . protocol . our port, ranges
inline constexpr const char* kPublished = "published";  // ours . protocol . our port
inline constexpr const char* kProxied = "proxied";      // ours . protocol . the host's port

// Named counters: packets refused.
inline constexpr const char* kGatewayCounters[] = {
    "held",     // of or to an address that is not known yet
    "detour",   // from one of ours to another, past the network that judges them
    "egress",   // from ours to the world
    "ingress",  // from the world to ours
    "to_host", "from_host"};

// The addresses that such a table, of whichever daemon, knows as somebody else's.
std::set<Ip> foreign_in(const kstate::Table& table);

// Adds sets, counters and chains to `table`; the chains never depend on `gateway`.
void add_gateway(kstate::Table& table, const Gateway& gateway);

}  // namespace microseg::render
