// What one segment (a network's own namespace) holds. No ifindex: indexes change across a recreate, names are ours.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/kstate/nft.h"
#include "microseg/kstate/ports.h"

namespace microseg::kstate {

// The container's end of a veth. It leaves our sight when Docker moves it, so it is never observed: this says how it
// is made, together with the segment's end.
struct PeerEnd {
  Mac mac = Mac::local(0);
  // "": born in the host's namespace, named like the segment's end, for Docker to move. Else the sandbox's path: the
  // container is running and has lost its link, so the new end is born in the sandbox, named `prefix` + the lowest
  // free number, and gets the addresses and routes that Docker had given it.
  std::string sandbox;
  std::string prefix = "eth";
  std::vector<Prefix> addresses;
  struct Route {
    Prefix destination;
    std::optional<Ip> via;  // absent: on the link
    bool operator==(const Route&) const = default;
  };
  std::vector<Route> routes;
  bool operator==(const PeerEnd&) const = default;
};

// The segment's end of a veth, up.
struct Link {
  std::string alias;               // "microseg:<endpoint id>"
  Mac mac = Mac::local(0);
  std::uint16_t mtu = 1500;        // bytes, of the inner IP packet
  std::set<Prefix> addresses;      // the gateways', full length
  std::set<Prefix> routes;         // the endpoint's addresses, full length, on this link
  std::map<Ip, Mac> neighbours;    // permanent
  PeerEnd peer;                    // only in desired states
  // Everything but `peer`.
  bool same_as(const Link& other) const;
};

// The segment's way to other hosts: one VXLAN device, named kVxlan, with the group policy extension (GBP), which carries
// a packet's mark in its header. Its tunnel lives in the host's namespace, the device in the segment.
inline constexpr const char* kVxlan = "msvx";
struct Vxlan {
  std::string alias;            // "microseg:<network id>"
  std::uint32_t vni = 0;        // 1..2^24-1
  std::uint16_t port = 0;       // UDP, of all hosts
  Ip local = Ip::v4({});        // this host's address on the underlay: the outer source
  Mac mac = Mac::local(0);
  std::uint16_t mtu = 1450;     // bytes, of the inner IP packet
  std::set<Prefix> addresses;   // its own, unique per host: who asks for a neighbour must be told from who else does
  std::set<Prefix> routes;      // what lies behind it unless a link's route is longer: the pools
  std::set<Ip> peers;           // where broadcasts go: underlay addresses of the other hosts that have the network
  std::set<Ip> proxies;         // whose neighbour requests it answers: the endpoints of this host
  bool operator==(const Vxlan&) const = default;
  // What cannot be changed on a device that is there.
  bool same_tunnel(const Vxlan& other) const;
};

struct Segment {
  std::map<std::string, std::string> sysctls;  // "net/ipv4/ip_forward" -> "1"; those the kernel lacks are absent
  std::map<IfName, Link> links;
  std::optional<Vxlan> vxlan;
  std::optional<Table> table;
  std::map<PortIndex, BridgePort> ports;  // of every bridge; only at kernel::kHostPorts
};

}  // namespace microseg::kstate
