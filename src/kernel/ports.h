// Bridge ports of one namespace, over rtnetlink.
#pragma once

#include <map>
#include <string>

#include "microseg/kstate/ports.h"
#include "netlink.h"

namespace microseg::kernel {

Result<std::map<kstate::PortIndex, kstate::BridgePort>> observe_ports(NetlinkSocket& socket);

// See kstate::BindPort. not_found: no bridge has such a port.
Status bind_port(NetlinkSocket& socket, kstate::PortIndex port, const std::optional<Mac>& mac);

// The port of `bridge`, in the socket's namespace, whose other end is in the namespace at `sandbox`.
Result<kstate::PortIndex> port_of(NetlinkSocket& socket, const std::string& sandbox, const IfName& bridge,
                                   const std::optional<Mac>& mac);

}  // namespace microseg::kernel
