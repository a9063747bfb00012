// Links, addresses, routes and neighbours of one segment, over rtnetlink.
#pragma once

#include <cstdint>
#include <map>

#include "microseg/kstate/segment.h"
#include "netlink.h"

namespace microseg::kernel {

// Our mark on routes, rules and neighbours (rtm_protocol, NDA_PROTOCOL).
inline constexpr std::uint8_t kRouteProtocol = 0x4d;
// Our mark on links: the alias begins with it.
inline constexpr std::string_view kAliasMark = "microseg:";

// Every link of ours with what hangs on it. A link that is down shows no addresses, so that mending raises it.
Result<std::map<IfName, kstate::Link>> observe_links(NetlinkSocket& socket);

// Makes the veth with both ends, the segment's end up, then its addresses, neighbours and routes. On error the link is
// gone again. `host` is the namespace where the container's end is born when it has no sandbox.
Status add_link(NetlinkSocket& socket, const Fd& host, const IfName& name, const kstate::Link& link);
Status del_link(NetlinkSocket& socket, const IfName& name);
// Removes addresses, routes and neighbours that should not be there, sets the rest.
Status mend_link(NetlinkSocket& socket, const IfName& name, const kstate::Link& link);

}  // namespace microseg::kernel
