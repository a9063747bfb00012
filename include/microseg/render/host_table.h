// Our table in the host's own namespace, `inet microseg`: what may enter and leave the host on its way to or from the
// segments. It only ever drops, and only what it names; a drop is final whatever other tables say. Pure.
//
//   input              underlay  VXLAN to this host: only from a host, and for a network, that we share with it
//   input, forward     injected  VXLAN and other tunnels that containers send: they would speak as this host
//
// VXLAN has no authentication, and the class of a packet's sender is a field in its header: whoever gets a packet to a
// VXLAN device is whoever he says he is. Containers are masqueraded as the host they are on, which is a known peer
// elsewhere, so what they send must not leave. A peer's packets must come in by the link that leads back to it: a
// container, of any bridge, could borrow its address.
#pragma once

#include <compare>
#include <cstdint>
#include <set>

#include "microseg/addr/addr.h"
#include "microseg/kstate/nft.h"

namespace microseg::render {

// Another host, by its underlay address, and a network that it has in common with this one.
struct Tunnel {
  Ip peer;
  std::uint32_t vni = 0;  // 1..2^24-1
  auto operator<=>(const Tunnel&) const = default;
};

// Sets  IPv4 source . VNI * 256, as the VXLAN header has it: the VNI in the upper 24 bits, then 8 bits that must be 0.
inline constexpr const char* kPeers4 = "peers4";
inline constexpr const char* kPeers6 = "peers6";

// Named counters: packets dropped.
inline constexpr const char* kHostCounters[] = {"underlay",   // VXLAN from unknown peers or for unknown networks
                                                "injected"};  // tunnels that containers tried

// Where containers' traffic to the world passes (Docker's name).
inline constexpr const char* kGatewayBridge = "docker_gwbridge";

// The table, owned (kstate::Owner::us), without any part yet: the underlay's here, the gateway's in gateway.h.
kstate::Table host_table();

// Chains and rules depend on the port alone, tunnels coming and going change elements only. `vxlan_port`: UDP, of all
// hosts.
void add_underlay(kstate::Table& table, std::uint16_t vxlan_port, const std::set<Tunnel>& tunnels);

// The table with the underlay's part alone.
kstate::Table host_table(std::uint16_t vxlan_port, const std::set<Tunnel>& tunnels);

}  // namespace microseg::render
