#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <algorithm>
#include <cerrno>

#include "netns.h"
#include "rtnl.h"
#include "rtnl_messages.h"

namespace microseg::kernel {
namespace {

// What an address of the container's end leaves out: libnetwork lets the kernel add the subnet's route too.
constexpr std::uint8_t kBootProtocol = RTPROT_BOOT;

void message_set_link(Messages& out, int index, const kstate::Link& link, const IfName& name) {
  auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
  auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
  ifi->ifi_index = index;
  ifi->ifi_flags = ifi->ifi_change = IFF_UP;
  put_mac(nlh, IFLA_ADDRESS, link.mac);
  mnl_attr_put_u32(nlh, IFLA_MTU, link.mtu);
  mnl_attr_put_strz(nlh, IFLA_IFALIAS, link.alias.c_str());
  out.says("set link " + name.str());
}

// An interface number for the segment's end that the container's end will not have. Where the two are alike the kernel
// takes the link for one without a lower device and may put off the news of its carrier, and with it the first packets,
// for up to a second (linkwatch_urgent_event, net/core/link_watch.c). Containers count from 1.
int index_for(const IfName& name) {
  std::uint32_t h = 2166136261U;
  for (unsigned char c : name.str()) h = (h ^ c) * 16777619U;
  return static_cast<int>(0x100000U + (h & 0xfffffU));
}

// `index` 0: the kernel chooses.
void message_veth(Messages& out, int index, const IfName& name, const kstate::Link& link, const Fd& peer_ns,
                  const std::string& peer_name) {
  auto* nlh = out.add(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(ifinfomsg));
  auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
  ifi->ifi_flags = ifi->ifi_change = IFF_UP;
  ifi->ifi_index = index;
  mnl_attr_put_strz(nlh, IFLA_IFNAME, name.str().c_str());
  put_mac(nlh, IFLA_ADDRESS, link.mac);
  mnl_attr_put_u32(nlh, IFLA_MTU, link.mtu);
  auto* info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
  mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
  auto* data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
  auto* peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
  mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg));
  mnl_attr_put_strz(nlh, IFLA_IFNAME, peer_name.c_str());
  put_mac(nlh, IFLA_ADDRESS, link.peer.mac);
  mnl_attr_put_u32(nlh, IFLA_MTU, link.mtu);
  mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_ns.get()));
  mnl_attr_nest_end(nlh, peer);
  mnl_attr_nest_end(nlh, data);
  mnl_attr_nest_end(nlh, info);
  out.says("create veth " + name.str());
}

void messages_content(Messages& out, int index, const kstate::Link& link) {
  for (auto& address : link.addresses) message_address(out, true, index, address);
  for (auto& [ip, mac] : link.neighbours) message_neighbour(out, true, index, ip, mac);
  for (auto& route : link.routes) message_route(out, true, index, route, std::nullopt, kRouteProtocol);
}

// `prefix` + the lowest number that no link in the sandbox has: what Docker had chosen, unless links came and went.
Result<std::string> free_name(NetlinkSocket& sandbox, const std::string& prefix) {
  for (int i = 0; i < 256; ++i) {
    MS_TRY(auto name, IfName::parse(prefix + std::to_string(i)));
    auto index = index_of(sandbox, name);
    if (!index && index.error().code == Errc::not_found) return name.str();
    if (!index) return std::move(index).error();
  }
  return Error{Errc::exists, 0, "no free interface name " + prefix + "N in the sandbox"};
}

// Gives a restored container end what Docker gave the lost one.
Status configure_peer(NetlinkSocket& sandbox, const std::string& name, const kstate::Link& link) {
  MS_TRY(auto parsed, IfName::parse(name));
  MS_TRY(int index, index_of(sandbox, parsed));
  Messages out;
  for (auto& address : link.peer.addresses) message_address(out, true, index, address);
  auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
  auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
  ifi->ifi_index = index;
  ifi->ifi_flags = ifi->ifi_change = IFF_UP;
  out.says("raise " + name);
  for (auto& route : link.peer.routes) message_route(out, true, index, route.destination, route.via, kBootProtocol);
  return sandbox.request(out);
}

}  // namespace

Status add_link(NetlinkSocket& socket, const Fd& host, const IfName& name, const kstate::Link& link) {
  Fd sandbox_ns;
  std::optional<NetlinkSocket> sandbox;
  std::string peer_name = name.str();
  if (!link.peer.sandbox.empty()) {
    MS_TRY(sandbox_ns, open_netns(link.peer.sandbox));
    MS_TRY(auto inside, NetlinkSocket::open(sandbox_ns, NETLINK_ROUTE));
    sandbox.emplace(std::move(inside));
    MS_TRY(peer_name, free_name(*sandbox, link.peer.prefix));
  }
  auto create = [&](int index) {
    Messages out;
    message_veth(out, index, name, link, sandbox ? sandbox_ns : host, peer_name);
    return socket.request(out);
  };
  auto created = create(index_for(name));
  if (!created && (created.error().sys == EBUSY || created.error().sys == EEXIST)) created = create(0);  // number taken
  MS_CHECK(std::move(created));

  auto finish = [&]() -> Status {
    MS_TRY(int index, index_of(socket, name));
    Messages out;
    message_set_link(out, index, link, name);  // the alias cannot be given at creation
    messages_content(out, index, link);
    MS_CHECK(socket.request(out));
    if (sandbox) MS_CHECK(configure_peer(*sandbox, peer_name, link).in("in sandbox " + link.peer.sandbox));
    return {};
  };
  auto done = finish();
  if (!done) (void)del_link(socket, name);
  return done;
}

Status del_link(NetlinkSocket& socket, const IfName& name) {
  MS_TRY(int index, index_of(socket, name));
  Messages out;
  auto* nlh = out.add(RTM_DELLINK, 0, sizeof(ifinfomsg));
  static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh))->ifi_index = index;
  out.says("delete link " + name.str());
  return socket.request(out);
}

Status mend_link(NetlinkSocket& socket, const IfName& name, const kstate::Link& link) {
  MS_TRY(int index, index_of(socket, name));
  MS_TRY(auto devices, observe_devices(socket));
  Messages out;
  if (auto it = devices.links.find(name); it != devices.links.end()) {
    // Addresses last: with a link's last IPv4 address the kernel removes its IPv4 routes.
    for (auto& route : it->second.routes)
      if (!link.routes.contains(route)) message_route(out, false, index, route, std::nullopt, kRouteProtocol);
    for (auto& [ip, mac] : it->second.neighbours)
      if (!link.neighbours.contains(ip)) message_neighbour(out, false, index, ip, mac);
    for (auto& address : it->second.addresses)
      if (!link.addresses.contains(address)) message_address(out, false, index, address);
  }
  message_set_link(out, index, link, name);
  messages_content(out, index, link);
  return socket.request(out);
}

}  // namespace microseg::kernel
