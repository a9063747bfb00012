#include "rtnl_vxlan.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>

#include "rtnl.h"
#include "rtnl_attributes.h"
#include "rtnl_messages.h"

namespace microseg::kernel {
namespace {

IfName device_name() { return IfName::parse(kstate::kVxlan).value(); }

void message_create(Messages& out, const Fd& netns, const kstate::Vxlan& vxlan) {
  auto* nlh = out.add(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(ifinfomsg));
  mnl_attr_put_strz(nlh, IFLA_IFNAME, kstate::kVxlan);
  mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns.get()));
  put_mac(nlh, IFLA_ADDRESS, vxlan.mac);
  mnl_attr_put_u32(nlh, IFLA_MTU, vxlan.mtu);
  auto* info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
  mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vxlan");
  auto* data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
  mnl_attr_put_u32(nlh, IFLA_VXLAN_ID, vxlan.vni);
  put_ip(nlh, vxlan.local.is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, vxlan.local);
  mnl_attr_put_u16(nlh, IFLA_VXLAN_PORT, htons(vxlan.port));
  mnl_attr_put_u8(nlh, IFLA_VXLAN_TTL, kVxlanTtl);
  mnl_attr_put_u8(nlh, IFLA_VXLAN_LEARNING, 1);
  mnl_attr_put(nlh, IFLA_VXLAN_GBP, 0, nullptr);
  mnl_attr_nest_end(nlh, data);
  mnl_attr_nest_end(nlh, info);
  out.says("add VXLAN device " + std::string(kstate::kVxlan));
}

void message_names(Messages& out, int index, const kstate::Vxlan& vxlan) {
  auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
  static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh))->ifi_index = index;
  mnl_attr_put_u32(nlh, IFLA_MTU, vxlan.mtu);
  mnl_attr_put_strz(nlh, IFLA_IFALIAS, vxlan.alias.c_str());
  out.says("set VXLAN device " + std::string(kstate::kVxlan));
}

// No link-local address of the kernel's making: its duplicate detection would go to all peers, and ours will do.
void message_no_own_address(Messages& out, int index) {
  auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
  static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh))->ifi_index = index;
  auto* families = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
  auto* family = mnl_attr_nest_start(nlh, AF_INET6);
  mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(nlh, family);
  mnl_attr_nest_end(nlh, families);
  out.says("set IPv6 of " + std::string(kstate::kVxlan));
}

// Proxies answer without the usual random delay of up to 0.8 s. A namespace has no default for it, only each device.
void message_answer_at_once(Messages& out, int index, std::uint8_t family, const char* table) {
  auto* nlh = out.add(RTM_SETNEIGHTBL, 0, sizeof(ndtmsg));
  static_cast<ndtmsg*>(mnl_nlmsg_get_payload(nlh))->ndtm_family = family;
  mnl_attr_put_strz(nlh, NDTA_NAME, table);
  auto* parameters = mnl_attr_nest_start(nlh, NDTA_PARMS);
  mnl_attr_put_u32(nlh, NDTPA_IFINDEX, static_cast<std::uint32_t>(index));
  mnl_attr_put_u64(nlh, NDTPA_PROXY_DELAY, 0);  // ms
  mnl_attr_nest_end(nlh, parameters);
  out.says("set " + std::string(table) + " of " + kstate::kVxlan);
}

void message_raise(Messages& out, int index) {
  auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
  auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
  ifi->ifi_index = index;
  ifi->ifi_flags = ifi->ifi_change = IFF_UP;
  out.says("raise VXLAN device " + std::string(kstate::kVxlan));
}

// Routes need a device that is up; all else is there before it.
void messages_all(Messages& out, int index, const kstate::Vxlan& vxlan) {
  message_names(out, index, vxlan);
  const auto v6 = [](const Prefix& address) { return !address.ip().is_v4(); };
  message_answer_at_once(out, index, AF_INET, "arp_cache");
  if (std::any_of(vxlan.addresses.begin(), vxlan.addresses.end(), v6)) {
    message_no_own_address(out, index);
    message_answer_at_once(out, index, AF_INET6, "ndisc_cache");
  }
  for (auto& address : vxlan.addresses) message_address(out, true, index, address);
  for (auto& ip : vxlan.proxies) message_proxy(out, true, index, ip);
  for (auto& peer : vxlan.peers) message_peer(out, true, index, peer);
  message_raise(out, index);
  for (auto& route : vxlan.routes) message_route(out, true, index, route, std::nullopt, kRouteProtocol);
}

// Forgets behind which host an address was found, so that the next packet asks everybody. Where peers come and go, what
// was found may hold no more: a host that is gone does not answer, and what one announced before it was a peer here was
// refused by the guard of the underlay. Left alone, the kernel believes what it found for half a minute and longer.
Status forget_neighbours(NetlinkSocket& socket, int index) {
  Messages out;
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    alignas(nlmsghdr) char buffer[256];
    auto* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETNEIGH;
    static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ndmsg)))->ndm_family = family;
    MS_CHECK(socket.dump(
        request, [] {},
        [&](const nlmsghdr* m) {
          auto* ndm = header_of<ndmsg>(m);
          // Not one that is being asked for just now: packets wait for the answer.
          constexpr unsigned kFound = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_FAILED;
          if (!ndm || ndm->ndm_ifindex != index || !(ndm->ndm_state & kFound)) return;
          for_each_attr(m, sizeof *ndm, [&](const nlattr* a) {
            if (mnl_attr_get_type(a) != NDA_DST) return;
            if (auto ip = ip_of(ndm->ndm_family, a)) message_neighbour(out, false, index, *ip, Mac::local(0));
          });
        },
        "list neighbours"));
  }
  auto forgotten = socket.request(out);
  return forgotten || forgotten.error().code == Errc::not_found ? Status{} : forgotten;  // it forgets by itself, too
}

// An error with this errno also says what to do.
Status advise(Status outcome, int sys, const std::string& advice) {
  if (outcome || outcome.error().sys != sys) return outcome;
  Error error = outcome.error();
  error.text += "; " + advice;
  return error;
}

}  // namespace

Status add_vxlan(NetlinkSocket& socket, const Fd& netns, NetlinkSocket& host, const kstate::Vxlan& vxlan) {
  auto there = index_of(socket, device_name());
  if (there) return Error{Errc::exists, EEXIST, "VXLAN device " + std::string(kstate::kVxlan) + ": the segment has one"};
  if (there.error().code != Errc::not_found) return std::move(there).error();
  const std::string number = std::to_string(vxlan.vni), port = std::to_string(vxlan.port);
  Messages create;
  message_create(create, netns, vxlan);
  MS_CHECK(advise(host.request(create), EEXIST,
                  "VNI " + number + " at UDP port " + port +
                      " is in use on this host: remove that device, or give the network another microseg.vni"));

  auto finish = [&]() -> Status {
    MS_TRY(int index, index_of(socket, device_name()));
    Messages out;
    messages_all(out, index, vxlan);
    return advise(socket.request(out), EADDRINUSE, "UDP port " + port + " has another user on this host: remove it");
  };
  auto finished = finish();
  if (!finished) (void)del_vxlan(socket);
  return finished;
}

Status del_vxlan(NetlinkSocket& socket) { return del_link(socket, device_name()); }

Status mend_vxlan(NetlinkSocket& socket, const kstate::Vxlan& vxlan) {
  MS_TRY(int index, index_of(socket, device_name()));
  MS_TRY(auto devices, observe_devices(socket));
  Messages out;
  bool others = false;
  if (auto& have = devices.vxlan) {
    others = have->peers != vxlan.peers;
    // Addresses last: with a device's last IPv4 address the kernel removes its IPv4 routes.
    for (auto& route : have->routes)
      if (!vxlan.routes.contains(route)) message_route(out, false, index, route, std::nullopt, kRouteProtocol);
    for (auto& ip : have->proxies)
      if (!vxlan.proxies.contains(ip)) message_proxy(out, false, index, ip);
    for (auto& peer : have->peers)
      if (!vxlan.peers.contains(peer)) message_peer(out, false, index, peer);
    for (auto& address : have->addresses)
      if (!vxlan.addresses.contains(address)) message_address(out, false, index, address);
  }
  messages_all(out, index, vxlan);
  MS_CHECK(socket.request(out));
  return others ? forget_neighbours(socket, index) : Status{};
}

}  // namespace microseg::kernel
