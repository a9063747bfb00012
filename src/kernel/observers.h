// What one answer of the kernel adds to what has been observed so far. Apart from the sockets, so that any bytes can
// be tried on them (tests/fuzz/netlink_fuzz.cpp). Messages that are not about us, or make no sense, add nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "microseg/kstate/segment.h"
#include "nft.h"

struct nlmsghdr;

namespace microseg::kernel {

struct Found {
  std::map<int, std::pair<IfName, kstate::Link>> links;  // by ifindex
  std::optional<std::pair<int, kstate::Vxlan>> vxlan;    // with its ifindex; VNI 0: something on it cannot be mended
};
void take_link(Found& found, const nlmsghdr* nlh);
void take_address(Found& found, const nlmsghdr* nlh);
void take_route(Found& found, const nlmsghdr* nlh);
void take_neighbour(Found& found, const nlmsghdr* nlh);
void take_forwarding(Found& found, const nlmsghdr* nlh);  // FDB entries
void take_proxy(Found& found, const nlmsghdr* nlh);       // of a dump of proxies
// Of a VXLAN device's link message; absent for any other kind. VNI 0: a tunnel that is none of ours.
std::optional<kstate::Vxlan> tunnel_of(const nlmsghdr* nlh);

// A link, as far as it may be a bridge or a bridge's port.
struct FoundPort {
  std::string name;
  int master = 0;  // of ports
  bool isolated = false, learning = true;
  std::set<Mac> kept{};
  std::optional<std::int32_t> other_end_in{};  // the number by which this namespace calls that of the other end
  int other_end = 0;  // its ifindex there
  std::optional<Mac> mac{};
};
using FoundPorts = std::map<int, FoundPort>;  // by ifindex
void take_port(FoundPorts& found, const nlmsghdr* nlh);
void take_kept(FoundPorts& found, const nlmsghdr* nlh);
// What the kernel tells of a change, of either group RTNLGRP_LINK or RTNLGRP_NEIGH.
void take_port_news(FoundPorts& found, const nlmsghdr* nlh);
std::map<kstate::PortIndex, kstate::BridgePort> ports_of(const FoundPorts& found);

// Whether it is our table; `port` is the asking socket's.
bool take_table(kstate::Table& out, const nlmsghdr* nlh, std::uint32_t port, Family family = Family::inet);
void take_chain(kstate::Table& out, const nlmsghdr* nlh);
void take_rule(kstate::Table& out, const nlmsghdr* nlh);  // of a chain that was taken before
void take_set(kstate::Table& out, const nlmsghdr* nlh);   // without its elements
void take_elements(const kstate::SetType& type, std::set<kstate::Element>& out, const nlmsghdr* nlh);
void take_counter(const std::function<void(const std::string&, std::uint64_t)>& take, const nlmsghdr* nlh);

}  // namespace microseg::kernel
