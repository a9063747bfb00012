#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "observers.h"
#include "rtnl.h"

namespace microseg::kernel {
namespace {

std::optional<Ip> ip_of(int family, const nlattr* a) {
  auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
  const auto length = mnl_attr_get_payload_len(a);
  if (family == AF_INET && length == 4) return Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]});
  if (family == AF_INET6 && length == 16) {
    std::array<std::uint8_t, 16> all{};
    std::copy(bytes, bytes + 16, all.begin());
    return Ip::v6(all);
  }
  return std::nullopt;
}

std::optional<Mac> mac_of(const nlattr* a) {
  if (mnl_attr_get_payload_len(a) != 6) return std::nullopt;
  auto* b = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
  char text[18];
  (void)std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
  auto mac = Mac::parse(text);
  if (!mac) return std::nullopt;
  return mac.value();
}

// The fixed header at the beginning of a message; null when the message is too short for it.
template <class Header>
const Header* header_of(const nlmsghdr* nlh) {
  return mnl_nlmsg_get_payload_len(nlh) < sizeof(Header) ? nullptr
                                                         : static_cast<const Header*>(mnl_nlmsg_get_payload(nlh));
}

std::uint32_t number_of(const nlattr* a) { return mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0; }

std::string text_of(const nlattr* a) {
  auto* text = static_cast<const char*>(mnl_attr_get_payload(a));
  return std::string(text, strnlen(text, mnl_attr_get_payload_len(a)));
}

}  // namespace

void take_link(FoundLinks& found, const nlmsghdr* nlh) {
  auto* ifi = header_of<ifinfomsg>(nlh);
  if (!ifi) return;
  std::string name;
  kstate::Link link;
  for_each_attr(nlh, sizeof *ifi, [&](const nlattr* a) {
    switch (mnl_attr_get_type(a)) {
      case IFLA_IFNAME: name = text_of(a); break;
      case IFLA_IFALIAS: link.alias = text_of(a); break;
      case IFLA_MTU: link.mtu = static_cast<std::uint16_t>(std::min(number_of(a), 65535U)); break;
      case IFLA_ADDRESS:
        if (auto mac = mac_of(a)) link.mac = *mac;
        break;
      default: break;
    }
  });
  if (!(ifi->ifi_flags & IFF_UP)) link.mtu = 0;  // never what is wanted: a link that is down differs
  // A link whose creation was cut short has no alias yet; by its name it is ours all the same.
  auto parsed = IfName::parse(name);
  if (parsed && (link.alias.starts_with(kAliasMark) || name.starts_with("ms")))
    found.emplace(ifi->ifi_index, std::pair{std::move(parsed).value(), std::move(link)});
}

void take_address(FoundLinks& found, const nlmsghdr* nlh) {
  auto* ifa = header_of<ifaddrmsg>(nlh);
  if (!ifa) return;
  auto it = found.find(static_cast<int>(ifa->ifa_index));
  // Link-local addresses that the kernel gives by itself have length 64; ours, where a pool has no gateway, 128.
  const bool by_itself = ifa->ifa_family == AF_INET6 && ifa->ifa_scope == RT_SCOPE_LINK && ifa->ifa_prefixlen != 128;
  if (it == found.end() || by_itself) return;
  for_each_attr(nlh, sizeof *ifa, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) != IFA_ADDRESS) return;
    if (auto ip = ip_of(ifa->ifa_family, a); ip && ifa->ifa_prefixlen <= ip->bits())
      it->second.second.addresses.insert(Prefix::of(*ip, ifa->ifa_prefixlen));
  });
}

void take_route(FoundLinks& found, const nlmsghdr* nlh) {
  auto* rtm = header_of<rtmsg>(nlh);
  if (!rtm) return;
  if (rtm->rtm_table != RT_TABLE_MAIN || rtm->rtm_protocol != kRouteProtocol || (rtm->rtm_flags & RTM_F_CLONED)) return;
  std::optional<Ip> destination;
  int index = 0;
  for_each_attr(nlh, sizeof *rtm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == RTA_DST) destination = ip_of(rtm->rtm_family, a);
    if (mnl_attr_get_type(a) == RTA_OIF) index = static_cast<int>(number_of(a));
  });
  if (auto it = found.find(index); it != found.end() && destination && rtm->rtm_dst_len <= destination->bits())
    it->second.second.routes.insert(Prefix::of(*destination, rtm->rtm_dst_len));
}

void take_neighbour(FoundLinks& found, const nlmsghdr* nlh) {
  auto* ndm = header_of<ndmsg>(nlh);
  if (!ndm) return;
  auto it = found.find(ndm->ndm_ifindex);
  if (it == found.end() || !(ndm->ndm_state & NUD_PERMANENT)) return;
  std::optional<Ip> ip;
  std::optional<Mac> mac;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NDA_DST) ip = ip_of(ndm->ndm_family, a);
    if (mnl_attr_get_type(a) == NDA_LLADDR) mac = mac_of(a);
  });
  if (ip && mac) it->second.second.neighbours.emplace(*ip, *mac);
}

namespace {

template <class Header>
Status dump(NetlinkSocket& socket, FoundLinks& found, std::uint16_t type, std::uint8_t family,
            void (*take)(FoundLinks&, const nlmsghdr*), std::string_view what) {
  alignas(nlmsghdr) char buffer[256];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = type;
  *static_cast<std::uint8_t*>(mnl_nlmsg_put_extra_header(nlh, sizeof(Header))) = family;
  // Taking is adding to sets, so an interrupted dump that is done again adds nothing wrong but what is gone by now;
  // that shows as a difference, and a difference is observed again.
  return socket.dump(
      nlh, [] {}, [&](const nlmsghdr* m) { take(found, m); }, what);
}

}  // namespace

Result<std::map<IfName, kstate::Link>> observe_links(NetlinkSocket& socket) {
  FoundLinks found;
  MS_CHECK(dump<ifinfomsg>(socket, found, RTM_GETLINK, AF_UNSPEC, take_link, "list links"));
  MS_CHECK(dump<ifaddrmsg>(socket, found, RTM_GETADDR, AF_UNSPEC, take_address, "list addresses"));
  for (auto family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    MS_CHECK(dump<rtmsg>(socket, found, RTM_GETROUTE, family, take_route, "list routes"));
    MS_CHECK(dump<ndmsg>(socket, found, RTM_GETNEIGH, family, take_neighbour, "list neighbours"));
  }
  std::map<IfName, kstate::Link> out;
  for (auto& [index, entry] : found) out.insert(std::move(entry));
  return out;
}

}  // namespace microseg::kernel
