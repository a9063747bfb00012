// Tells the other hosts of a network where addresses are now.
#pragma once

#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/base/fd.h"
#include "netlink.h"

namespace microseg::kernel {

// Sends, once and to everybody behind the segment's VXLAN device, a gratuitous ARP reply (RFC 5227, section 3: either
// operation serves; a request would have the host of a stale proxy answer) for each IPv4 address, and an unsolicited
// neighbour advertisement with the override flag (RFC 4861, section 7.2.6) for each IPv6 address. They may be lost.
// not_found: no such device.
Status announce(NetlinkSocket& socket, const Fd& netns, const std::vector<Ip>& addresses);

}  // namespace microseg::kernel
