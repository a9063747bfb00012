// Links, addresses, routes and neighbours of one segment, over rtnetlink; among the links its VXLAN device.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "microseg/kstate/segment.h"
#include "netlink.h"

namespace microseg::kernel {

// Our mark on routes, rules and neighbours (rtm_protocol, NDA_PROTOCOL).
inline constexpr std::uint8_t kRouteProtocol = 0x4d;
// Our mark on links: the alias begins with it.
inline constexpr std::string_view kAliasMark = "microseg:";

struct Devices {
  std::map<IfName, kstate::Link> links;
  std::optional<kstate::Vxlan> vxlan;
};
// Every link of ours with what hangs on it. One that is down shows MTU 0, so that mending raises it. A device of ours
// that is no veth, or a VXLAN device by another name, is among the links: no segment should have it. A VXLAN device that
// has what mending cannot change, e.g. no group policy, shows VNI 0.
Result<Devices> observe_devices(NetlinkSocket& socket);

// Makes the veth with both ends, the segment's end up, then its addresses, neighbours and routes. On error the link is
// gone again. `host` is the namespace where the container's end is born when it has no sandbox.
Status add_link(NetlinkSocket& socket, const Fd& host, const IfName& name, const kstate::Link& link);
Status del_link(NetlinkSocket& socket, const IfName& name);
// Removes addresses, routes and neighbours that should not be there, sets the rest.
Status mend_link(NetlinkSocket& socket, const IfName& name, const kstate::Link& link);

// Makes the device from `host`, a socket in the host's namespace, where its tunnel's UDP socket is then; the device is in
// the segment, `netns`. Up once its addresses, proxies and peers are there. On error it is gone again.
// exists: the segment has one, or the VNI is another device's on this host.
Status add_vxlan(NetlinkSocket& socket, const Fd& netns, NetlinkSocket& host, const kstate::Vxlan& vxlan);
Status del_vxlan(NetlinkSocket& socket);
// Everything but the tunnel (Vxlan::same_tunnel).
Status mend_vxlan(NetlinkSocket& socket, const kstate::Vxlan& vxlan);

}  // namespace microseg::kernel
