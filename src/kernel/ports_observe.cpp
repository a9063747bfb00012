// Links and forwarding entries, as far as they tell of bridge ports.
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <string>

#include "netlink.h"
#include "observers.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

void take_flags(FoundPort& port, const nlattr* settings) {
  for_each_attr(settings, [&](const nlattr* a) {
    if (mnl_attr_get_payload_len(a) != 1) return;
    if (mnl_attr_get_type(a) == IFLA_BRPORT_ISOLATED) port.isolated = mnl_attr_get_u8(a);
    if (mnl_attr_get_type(a) == IFLA_BRPORT_LEARNING) port.learning = mnl_attr_get_u8(a);
  });
}

// What a bridge says of its port.
void take_settings(FoundPort& port, const nlattr* info) {
  std::string kind;
  const nlattr* settings = nullptr;
  for_each_attr(info, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_KIND) kind = text_of(a);
    if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_DATA) settings = a;
  });
  if (kind == "bridge" && settings) take_flags(port, settings);
  else port.master = 0;  // another kind of master: a bond, a VRF
}

std::optional<Mac> mac_in(const nlmsghdr* nlh) {
  std::optional<Mac> out;
  for_each_attr(nlh, sizeof(ndmsg), [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NDA_LLADDR) out = mac_of(a);
  });
  return out;
}

// A link that leaves for another namespace says which; the other end of its pair, which stays, need not say anything.
void take_departure(FoundPorts& found, const nlmsghdr* nlh, const FoundPorts::node_type& gone) {
  if (gone.empty() || gone.mapped().other_end_in) return;
  auto other = found.find(gone.mapped().other_end);
  if (other == found.end() || other->second.other_end != gone.key()) return;
  for_each_attr(nlh, sizeof(ifinfomsg), [&](const nlattr* a) {
    if (mnl_attr_get_payload_len(a) != 4) return;
    if (mnl_attr_get_type(a) == IFLA_NEW_NETNSID) other->second.other_end_in = static_cast<std::int32_t>(number_of(a));
    if (mnl_attr_get_type(a) == IFLA_NEW_IFINDEX) other->second.other_end = static_cast<int>(number_of(a));
  });
}

// The bridge's own messages (family AF_BRIDGE) tell of a port's settings, and that it is no port any more.
void take_bridge_news(FoundPorts& found, const nlmsghdr* nlh, const ifinfomsg& ifi) {
  auto it = found.find(ifi.ifi_index);
  if (it == found.end()) return;
  if (nlh->nlmsg_type == RTM_DELLINK) {
    it->second.master = 0;
    it->second.kept.clear();
    return;
  }
  for_each_attr(nlh, sizeof ifi, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == IFLA_PROTINFO) take_flags(it->second, a);
  });
}

}  // namespace

void take_port(FoundPorts& found, const nlmsghdr* nlh) {
  auto* ifi = header_of<ifinfomsg>(nlh);
  if (!ifi) return;
  FoundPort port;
  const nlattr* info = nullptr;
  for_each_attr(nlh, sizeof *ifi, [&](const nlattr* a) {
    switch (mnl_attr_get_type(a)) {
      case IFLA_IFNAME: port.name = text_of(a); break;
      case IFLA_MASTER: port.master = static_cast<std::int32_t>(number_of(a)); break;
      case IFLA_LINK_NETNSID:
        if (mnl_attr_get_payload_len(a) == 4) port.other_end_in = static_cast<std::int32_t>(number_of(a));
        break;
      case IFLA_LINK: port.other_end = number_of(a); break;
      case IFLA_ADDRESS: port.mac = mac_of(a); break;
      case IFLA_LINKINFO: info = a; break;
      default: break;
    }
  });
  if (port.master && info) take_settings(port, info);
  else port.master = 0;
  found.insert_or_assign(ifi->ifi_index, std::move(port));
}

void take_kept(FoundPorts& found, const nlmsghdr* nlh) {
  auto* ndm = header_of<ndmsg>(nlh);
  if (!ndm || !(ndm->ndm_flags & NTF_STICKY) || !(ndm->ndm_state & NUD_NOARP)) return;
  auto it = found.find(ndm->ndm_ifindex);
  if (auto mac = mac_in(nlh); mac && it != found.end()) it->second.kept.insert(*mac);
}

void take_port_news(FoundPorts& found, const nlmsghdr* nlh) {
  if (nlh->nlmsg_type == RTM_NEWLINK || nlh->nlmsg_type == RTM_DELLINK) {
    auto* ifi = header_of<ifinfomsg>(nlh);
    if (!ifi) return;
    if (ifi->ifi_family == AF_BRIDGE) return take_bridge_news(found, nlh, *ifi);
    auto before = found.extract(ifi->ifi_index);
    if (nlh->nlmsg_type == RTM_DELLINK) return take_departure(found, nlh, before);
    take_port(found, nlh);
    auto& now = found.at(ifi->ifi_index);
    if (!before.empty()) now.kept = std::move(before.mapped().kept);
    if (auto other = found.find(now.other_end); !now.other_end_in && other != found.end())
      other->second.other_end_in.reset(), other->second.other_end = ifi->ifi_index;
  } else if (nlh->nlmsg_type == RTM_NEWNEIGH || nlh->nlmsg_type == RTM_DELNEIGH) {
    auto* ndm = header_of<ndmsg>(nlh);
    if (!ndm || ndm->ndm_family != AF_BRIDGE) return;
    auto it = found.find(ndm->ndm_ifindex);
    const auto mac = mac_in(nlh);
    if (!mac || it == found.end()) return;
    it->second.kept.erase(*mac);
    if (nlh->nlmsg_type == RTM_DELNEIGH) return;
    // A bridge knows a MAC at one port: an entry that has moved is told of from where it is now, and not from where it was.
    for (auto& [index, port] : found)
      if (port.master == it->second.master) port.kept.erase(*mac);
    take_kept(found, nlh);
  }
}

std::map<kstate::PortIndex, kstate::BridgePort> ports_of(const FoundPorts& found) {
  std::map<kstate::PortIndex, kstate::BridgePort> out;
  for (auto& [index, port] : found) {
    auto bridge = found.find(port.master);
    if (bridge == found.end() || index <= 0) continue;
    auto link_name = IfName::parse(port.name), bridge_name = IfName::parse(bridge->second.name);
    if (!link_name || !bridge_name) continue;
    out.emplace(static_cast<kstate::PortIndex>(index),
                kstate::BridgePort{link_name.value(), bridge_name.value(), port.isolated, port.learning, port.kept});
  }
  return out;
}

}  // namespace microseg::kernel
