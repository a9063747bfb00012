#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "observers.h"
#include "rtnl.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

// Down is never what is wanted: it shows as this.
constexpr std::uint16_t kDown = 0;

template <class T>
void take_names(T& device, const nlattr* a) {
  switch (mnl_attr_get_type(a)) {
    case IFLA_IFALIAS: device.alias = text_of(a); break;
    case IFLA_MTU: device.mtu = static_cast<std::uint16_t>(std::min(number_of(a), 65535U)); break;
    case IFLA_ADDRESS:
      if (auto mac = mac_of(a)) device.mac = *mac;
      break;
    default: break;
  }
}

// What hangs on the link with this index: f(link) or f(vxlan), or nothing.
template <class F>
void at(Found& found, int index, F&& f) {
  if (auto it = found.links.find(index); it != found.links.end()) f(it->second.second);
  else if (found.vxlan && found.vxlan->first == index) f(found.vxlan->second);
}

}  // namespace

void take_link(Found& found, const nlmsghdr* nlh) {
  auto* ifi = header_of<ifinfomsg>(nlh);
  if (!ifi) return;
  std::string name;
  kstate::Link link;
  for_each_attr(nlh, sizeof *ifi, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == IFLA_IFNAME) name = text_of(a);
    take_names(link, a);
  });
  if (!(ifi->ifi_flags & IFF_UP)) link.mtu = kDown;
  if (name == kstate::kVxlan) {
    if (auto vxlan = tunnel_of(nlh)) {
      vxlan->alias = std::move(link.alias);
      vxlan->mac = link.mac;
      vxlan->mtu = link.mtu;
      found.vxlan.emplace(ifi->ifi_index, std::move(*vxlan));
      return;
    }
  }
  // A link whose creation was cut short has no alias yet; by its name it is ours all the same.
  auto parsed = IfName::parse(name);
  if (parsed && (link.alias.starts_with(kAliasMark) || name.starts_with("ms")))
    found.links.emplace(ifi->ifi_index, std::pair{std::move(parsed).value(), std::move(link)});
}

void take_address(Found& found, const nlmsghdr* nlh) {
  auto* ifa = header_of<ifaddrmsg>(nlh);
  if (!ifa) return;
  // Link-local addresses that the kernel gives by itself have length 64; ours, where a pool has no gateway, 128.
  const bool by_itself = ifa->ifa_family == AF_INET6 && ifa->ifa_scope == RT_SCOPE_LINK && ifa->ifa_prefixlen != 128;
  if (by_itself) return;
  for_each_attr(nlh, sizeof *ifa, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) != IFA_ADDRESS) return;
    if (auto ip = ip_of(ifa->ifa_family, a); ip && ifa->ifa_prefixlen <= ip->bits())
      at(found, static_cast<int>(ifa->ifa_index),
         [&](auto& device) { device.addresses.insert(Prefix::of(*ip, ifa->ifa_prefixlen)); });
  });
}

void take_route(Found& found, const nlmsghdr* nlh) {
  auto* rtm = header_of<rtmsg>(nlh);
  if (!rtm) return;
  if (rtm->rtm_table != RT_TABLE_MAIN || rtm->rtm_protocol != kRouteProtocol || (rtm->rtm_flags & RTM_F_CLONED)) return;
  std::optional<Ip> destination;
  int index = 0;
  for_each_attr(nlh, sizeof *rtm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == RTA_DST) destination = ip_of(rtm->rtm_family, a);
    if (mnl_attr_get_type(a) == RTA_OIF) index = static_cast<int>(number_of(a));
  });
  if (destination && rtm->rtm_dst_len <= destination->bits())
    at(found, index, [&](auto& device) { device.routes.insert(Prefix::of(*destination, rtm->rtm_dst_len)); });
}

void take_neighbour(Found& found, const nlmsghdr* nlh) {
  auto* ndm = header_of<ndmsg>(nlh);
  if (!ndm) return;
  if (!(ndm->ndm_state & NUD_PERMANENT)) return;
  std::optional<Ip> ip;
  std::optional<Mac> mac;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NDA_DST) ip = ip_of(ndm->ndm_family, a);
    if (mnl_attr_get_type(a) == NDA_LLADDR) mac = mac_of(a);
  });
  if (!ip || !mac) return;
  if (auto it = found.links.find(ndm->ndm_ifindex); it != found.links.end())
    it->second.second.neighbours.emplace(*ip, *mac);
  else if (found.vxlan && found.vxlan->first == ndm->ndm_ifindex)
    found.vxlan->second.vni = 0;  // its neighbours are all learnt: this one is somebody else's, and goes with the device
}

namespace {

template <class Header>
Status dump(NetlinkSocket& socket, Found& found, std::uint16_t type, Header header,
            void (*take)(Found&, const nlmsghdr*), std::string_view what) {
  alignas(nlmsghdr) char buffer[256];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = type;
  std::memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof header), &header, sizeof header);
  // Taking is adding to sets, so an interrupted dump that is done again adds nothing wrong but what is gone by now;
  // that shows as a difference, and a difference is observed again.
  return socket.dump(
      nlh, [] {}, [&](const nlmsghdr* m) { take(found, m); }, what);
}

rtmsg routes_of(std::uint8_t family) {
  rtmsg out{};
  out.rtm_family = family;
  return out;
}

ndmsg neighbours_of(std::uint8_t family, std::uint8_t flags = 0) {
  ndmsg out{};
  out.ndm_family = family;
  out.ndm_flags = flags;
  return out;
}

}  // namespace

Result<Devices> observe_devices(NetlinkSocket& socket) {
  Found found;
  MS_CHECK(dump(socket, found, RTM_GETLINK, ifinfomsg{}, take_link, "list links"));
  MS_CHECK(dump(socket, found, RTM_GETADDR, ifaddrmsg{}, take_address, "list addresses"));
  for (auto family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    MS_CHECK(dump(socket, found, RTM_GETROUTE, routes_of(family), take_route, "list routes"));
    MS_CHECK(dump(socket, found, RTM_GETNEIGH, neighbours_of(family), take_neighbour, "list neighbours"));
  }
  Devices out;
  if (found.vxlan) {
    MS_CHECK(dump(socket, found, RTM_GETNEIGH, neighbours_of(AF_BRIDGE), take_forwarding, "list forwarding entries"));
    for (auto family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}})
      MS_CHECK(dump(socket, found, RTM_GETNEIGH, neighbours_of(family, NTF_PROXY), take_proxy, "list proxies"));
    out.vxlan = std::move(found.vxlan->second);
  }
  for (auto& [index, entry] : found.links) out.links.insert(std::move(entry));
  return out;
}

}  // namespace microseg::kernel
