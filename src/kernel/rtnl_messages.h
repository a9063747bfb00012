// One rtnetlink request per function; shared by adding and mending.
#pragma once

#include <cstdint>

#include "microseg/kstate/segment.h"
#include "netlink.h"

namespace microseg::kernel {

void put_ip(nlmsghdr* nlh, std::uint16_t type, const Ip& ip);
void put_mac(nlmsghdr* nlh, std::uint16_t type, const Mac& mac);

void message_address(Messages& out, bool add, int index, const Prefix& address);
// On-link when `via` is absent. `protocol` is rtm_protocol.
void message_route(Messages& out, bool add, int index, const Prefix& destination, const std::optional<Ip>& via,
                   std::uint8_t protocol);
void message_neighbour(Messages& out, bool add, int index, const Ip& ip, const Mac& mac);
// Answers for `ip` on the link `index`.
void message_proxy(Messages& out, bool add, int index, const Ip& ip);
// A place of the VXLAN device `index` where frames for everybody go: an FDB entry of the all-zero MAC.
void message_peer(Messages& out, bool add, int index, const Ip& peer);

// not_found when there is no link of this name.
Result<int> index_of(NetlinkSocket& socket, const IfName& name);

}  // namespace microseg::kernel
