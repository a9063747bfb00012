#include "rtnl_messages.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>

#include "rtnl.h"

namespace microseg::kernel {
namespace {

std::uint8_t family_of(const Ip& ip) { return ip.is_v4() ? AF_INET : AF_INET6; }

}  // namespace

void put_ip(nlmsghdr* nlh, std::uint16_t type, const Ip& ip) {
  mnl_attr_put(nlh, type, ip.bytes().size(), ip.bytes().data());
}

void put_mac(nlmsghdr* nlh, std::uint16_t type, const Mac& mac) {
  mnl_attr_put(nlh, type, mac.bytes().size(), mac.bytes().data());
}

void message_address(Messages& out, bool add, int index, const Prefix& address) {
  auto* nlh = add ? out.add(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(ifaddrmsg))
                  : out.add(RTM_DELADDR, 0, sizeof(ifaddrmsg));
  auto* ifa = static_cast<ifaddrmsg*>(mnl_nlmsg_get_payload(nlh));
  ifa->ifa_family = family_of(address.ip());
  ifa->ifa_prefixlen = static_cast<std::uint8_t>(address.length());
  ifa->ifa_scope = RT_SCOPE_UNIVERSE;
  ifa->ifa_index = static_cast<std::uint32_t>(index);
  put_ip(nlh, IFA_LOCAL, address.ip());
  put_ip(nlh, IFA_ADDRESS, address.ip());
  // No duplicate detection: every end of the segment holds the gateway's address, on purpose. And there no route of
  // the kernel's beside ours; a container's end has the route of its subnet, as from Docker.
  const unsigned no_route = address.length() == address.ip().bits() ? IFA_F_NOPREFIXROUTE : 0U;
  if (!address.ip().is_v4()) mnl_attr_put_u32(nlh, IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT | no_route);
  out.says(std::string(add ? "add" : "remove") + " address " + address.str());
}

void message_route(Messages& out, bool add, int index, const Prefix& destination, const std::optional<Ip>& via,
                   std::uint8_t protocol) {
  auto* nlh = add ? out.add(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(rtmsg))
                  : out.add(RTM_DELROUTE, 0, sizeof(rtmsg));
  auto* rtm = static_cast<rtmsg*>(mnl_nlmsg_get_payload(nlh));
  rtm->rtm_family = family_of(destination.ip());
  rtm->rtm_dst_len = static_cast<std::uint8_t>(destination.length());
  rtm->rtm_table = RT_TABLE_MAIN;
  rtm->rtm_protocol = protocol;
  rtm->rtm_scope = via || !destination.ip().is_v4() ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  rtm->rtm_type = RTN_UNICAST;
  put_ip(nlh, RTA_DST, destination.ip());
  if (via) put_ip(nlh, RTA_GATEWAY, *via);
  mnl_attr_put_u32(nlh, RTA_OIF, static_cast<std::uint32_t>(index));
  out.says(std::string(add ? "add" : "remove") + " route " + destination.str());
}

void message_neighbour(Messages& out, bool add, int index, const Ip& ip, const Mac& mac) {
  auto* nlh = add ? out.add(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(ndmsg))
                  : out.add(RTM_DELNEIGH, 0, sizeof(ndmsg));
  auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_get_payload(nlh));
  ndm->ndm_family = family_of(ip);
  ndm->ndm_ifindex = index;
  ndm->ndm_state = NUD_PERMANENT;
  put_ip(nlh, NDA_DST, ip);
  if (add) {
    put_mac(nlh, NDA_LLADDR, mac);
    mnl_attr_put_u8(nlh, NDA_PROTOCOL, kRouteProtocol);
  }
  out.says(std::string(add ? "add" : "remove") + " neighbour " + ip.str());
}

void message_proxy(Messages& out, bool add, int index, const Ip& ip) {
  auto* nlh = add ? out.add(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(ndmsg))
                  : out.add(RTM_DELNEIGH, 0, sizeof(ndmsg));
  auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_get_payload(nlh));
  ndm->ndm_family = family_of(ip);
  ndm->ndm_ifindex = index;
  ndm->ndm_state = NUD_PERMANENT;
  ndm->ndm_flags = NTF_PROXY;
  put_ip(nlh, NDA_DST, ip);
  if (add) mnl_attr_put_u8(nlh, NDA_PROTOCOL, kRouteProtocol);
  out.says(std::string(add ? "add" : "remove") + " proxy " + ip.str());
}

void message_peer(Messages& out, bool add, int index, const Ip& peer) {
  // Appended: the entry has one destination per peer. One that it has already is no error.
  auto* nlh = add ? out.add(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, sizeof(ndmsg))
                  : out.add(RTM_DELNEIGH, 0, sizeof(ndmsg));
  auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_get_payload(nlh));
  ndm->ndm_family = AF_BRIDGE;
  ndm->ndm_ifindex = index;
  ndm->ndm_state = NUD_PERMANENT;
  ndm->ndm_flags = NTF_SELF;
  constexpr std::array<std::uint8_t, 6> kEverybody{};
  mnl_attr_put(nlh, NDA_LLADDR, kEverybody.size(), kEverybody.data());
  put_ip(nlh, NDA_DST, peer);
  out.says(std::string(add ? "add" : "remove") + " peer " + peer.str());
}

Result<int> index_of(NetlinkSocket& socket, const IfName& name) {
  alignas(nlmsghdr) char buffer[512];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = RTM_GETLINK;
  mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg));
  int index = 0;
  MS_CHECK(socket.dump(
      nlh, [&] { index = 0; },
      [&](const nlmsghdr* link) {
        for_each_attr(link, sizeof(ifinfomsg), [&](const nlattr* a) {
          if (mnl_attr_get_type(a) == IFLA_IFNAME && name.str() == mnl_attr_get_str(a))
            index = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(link))->ifi_index;
        });
      },
      "look up link " + name.str()));
  if (!index) return Error{Errc::not_found, 0, "no link " + name.str()};
  return index;
}

}  // namespace microseg::kernel
