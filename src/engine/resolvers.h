// Where this host's containers ask for names: the servers that Docker hands on to them.
#pragma once

#include <string_view>
#include <vector>

#include "microseg/addr/addr.h"

namespace microseg::engine {

// The `nameserver` lines of a resolv.conf (resolv.conf(5)) that are no loopback addresses; what is no address is passed
// over. Loopback ones are asked by dockerd, in the host's namespace.
std::vector<Ip> resolvers_in(std::string_view resolv_conf);

// Those of this host, as Docker finds them: /etc/resolv.conf, or systemd-resolved's own where that names loopback ones
// alone (libnetwork/resolvconf).
std::vector<Ip> host_resolvers();

}  // namespace microseg::engine
