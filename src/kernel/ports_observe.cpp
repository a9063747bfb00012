// Links and forwarding entries, as far as they tell of bridge ports.
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "netlink.h"
#include "observers.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

// What a bridge says of its port.
void take_settings(FoundPort& port, const nlattr* info) {
  std::string kind;
  const nlattr* settings = nullptr;
  for_each_attr(info, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_KIND) kind = text_of(a);
    if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_DATA) settings = a;
  });
  if (kind != "bridge" || !settings) {
    port.master = 0;  // another kind of master: a bond, a VRF
    return;
  }
  for_each_attr(settings, [&](const nlattr* a) {
    if (mnl_attr_get_payload_len(a) != 1) return;
    if (mnl_attr_get_type(a) == IFLA_BRPORT_ISOLATED) port.isolated = mnl_attr_get_u8(a);
    if (mnl_attr_get_type(a) == IFLA_BRPORT_LEARNING) port.learning = mnl_attr_get_u8(a);
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
  if (it == found.end()) return;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) != NDA_LLADDR || mnl_attr_get_payload_len(a) != 6) return;
    auto* b = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
    char text[18];
    (void)std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    if (auto mac = Mac::parse(text)) it->second.kept.insert(mac.value());
  });
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
