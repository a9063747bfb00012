// Says where addresses are now, to those who may not know it. What is sent may be lost.
#pragma once

#include <string>
#include <vector>

#include "microseg/addr/addr.h"
#include "microseg/base/fd.h"
#include "netlink.h"

namespace microseg::kernel {

// To the other hosts of the network, by the segment's VXLAN device, once. not_found: no such device.
Status announce(NetlinkSocket& socket, const Fd& netns, const std::vector<Ip>& addresses);

// To the container behind a link that has come up: where its gateways are. The link passes nothing on to it until the kernel
// has noticed the carrier, which is after the container may have asked; its next question would come a second later.
// not_found: no such link.
Status announce_own(const Fd& netns, const std::string& link);

}  // namespace microseg::kernel
