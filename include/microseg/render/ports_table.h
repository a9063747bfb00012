// Our table of family bridge in the host's own namespace, `bridge microseg`: who may use which address on the ports of
// the gateway bridge. It only ever drops. Pure.
//
//   prerouting  by a port of ours   IPv4, IPv6 and ARP, untagged, from the port's own MAC and addresses; from link-local
//                                   IPv6 addresses only what finds neighbours; else "spoofed"
//               by a port of another bridge  not looked at
//               by any other port   not from an address of ours, in whatever tags: "borrowed"
//   forward     from or to a port of ours, past the host: "crossing"
//
// Why here, and not at the ports (family netdev) or in `inet`: this hook needs no br_netfilter, comes before the bridge
// learns where a MAC is, and holds for a port that appears while no daemon looks. Such a port is taken for one of the
// gateway bridge until it is known to be of another one.
#pragma once

#include <map>
#include <set>

#include "microseg/kstate/nft.h"
#include "microseg/kstate/ports.h"

namespace microseg::render {

// Sets of ports.
inline constexpr const char* kBoundPorts = "bound";          // ours
inline constexpr const char* kElsewherePorts = "elsewhere";  // of other bridges
// Sets  port . MAC . address, and the addresses alone.
inline constexpr const char* kBound4 = "bound4";
inline constexpr const char* kBound6 = "bound6";
inline constexpr const char* kBoundMac = "boundmac";  // port . MAC
inline constexpr const char* kTaken4 = "taken4";
inline constexpr const char* kTaken6 = "taken6";

// Named counters: frames dropped.
inline constexpr const char* kPortCounters[] = {"borrowed", "crossing", "spoofed"};

// Owned (kstate::Owner::us). Chains and rules are always the same; ports coming and going change elements only.
kstate::Table ports_table(const kstate::GatewayPorts& wanted, const std::set<kstate::PortIndex>& elsewhere);

// Addresses that such a table keeps from all ports but their own.
std::set<Ip> taken_in(const kstate::Table& table);
// What such a table says, of whichever daemon: the bindings that were in force.
std::map<kstate::PortIndex, kstate::PortBinding> bindings_of(const kstate::Table& table);

}  // namespace microseg::render
