#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "observers.h"
#include "rtnl_attributes.h"
#include "rtnl_vxlan.h"

namespace microseg::kernel {
namespace {

std::uint8_t byte_of(const nlattr* a) { return mnl_attr_get_payload_len(a) == 1 ? mnl_attr_get_u8(a) : 0; }

bool is_all_zero(const nlattr* mac) {
  auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(mac));
  return std::all_of(bytes, bytes + mnl_attr_get_payload_len(mac), [](std::uint8_t b) { return b == 0; });
}

kstate::Vxlan tunnel_in(const nlattr* data) {
  kstate::Vxlan out;
  bool group_policy = false, learns = false, plain = true;
  for_each_attr(data, [&](const nlattr* a) {
    switch (mnl_attr_get_type(a)) {
      case IFLA_VXLAN_ID: out.vni = number_of(a); break;
      case IFLA_VXLAN_PORT: out.port = mnl_attr_get_payload_len(a) == 2 ? ntohs(mnl_attr_get_u16(a)) : 0; break;
      case IFLA_VXLAN_LOCAL:
      case IFLA_VXLAN_LOCAL6:
        if (auto ip = ip_of(a)) out.local = *ip;
        break;
      case IFLA_VXLAN_GBP: group_policy = true; break;
      case IFLA_VXLAN_LEARNING: learns = byte_of(a) != 0; break;
      case IFLA_VXLAN_TTL: plain = plain && byte_of(a) == kVxlanTtl; break;
      case IFLA_VXLAN_COLLECT_METADATA: plain = plain && byte_of(a) == 0; break;
      default: break;
    }
  });
  if (!group_policy || !learns || !plain) out.vni = 0;
  return out;
}

}  // namespace

std::optional<kstate::Vxlan> tunnel_of(const nlmsghdr* nlh) {
  std::optional<kstate::Vxlan> out;
  bool elsewhere = false;
  for_each_attr(nlh, sizeof(ifinfomsg), [&](const nlattr* a) {
    // Told only where the tunnel is in another namespace than the device.
    if (mnl_attr_get_type(a) == IFLA_LINK_NETNSID) elsewhere = true;
    if (mnl_attr_get_type(a) != IFLA_LINKINFO) return;
    bool is_vxlan = false;
    const nlattr* data = nullptr;
    for_each_attr(a, [&](const nlattr* info) {
      if (mnl_attr_get_type(info) == IFLA_INFO_KIND) is_vxlan = text_of(info) == "vxlan";
      if (mnl_attr_get_type(info) == IFLA_INFO_DATA) data = info;
    });
    if (is_vxlan) out = data ? tunnel_in(data) : kstate::Vxlan{};
  });
  if (out && !elsewhere) out->vni = 0;
  return out;
}

void take_forwarding(Found& found, const nlmsghdr* nlh) {
  auto* ndm = header_of<ndmsg>(nlh);
  if (!ndm || !found.vxlan || found.vxlan->first != ndm->ndm_ifindex) return;
  auto& vxlan = found.vxlan->second;
  bool everybody = false, plain = true;
  std::optional<Ip> peer;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    switch (mnl_attr_get_type(a)) {
      case NDA_LLADDR: everybody = is_all_zero(a); break;
      case NDA_DST: peer = ip_of(a); break;
      // Where they are told they are not the device's own.
      case NDA_PORT:
      case NDA_VNI:
      case NDA_SRC_VNI:
      case NDA_IFINDEX: plain = false; break;
      default: break;
    }
  });
  if (everybody && peer && plain) vxlan.peers.insert(*peer);
  // Learnt entries come and go. One that stays, or leads elsewhere, somebody put there; it goes with the device.
  else if (everybody || (ndm->ndm_state & NUD_PERMANENT)) vxlan.vni = 0;
}

void take_proxy(Found& found, const nlmsghdr* nlh) {
  auto* ndm = header_of<ndmsg>(nlh);
  // A kernel that does not know the dump answers with the neighbours.
  if (!ndm || !found.vxlan || found.vxlan->first != ndm->ndm_ifindex || !(ndm->ndm_flags & NTF_PROXY)) return;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) != NDA_DST) return;
    if (auto ip = ip_of(ndm->ndm_family, a)) found.vxlan->second.proxies.insert(*ip);
  });
}

}  // namespace microseg::kernel
