// Our table of one segment, over nfnetlink (libnftnl builds and reads every message).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "microseg/kstate/plan.h"
#include "netlink.h"

namespace microseg::kernel {

inline constexpr const char* kTable = "microseg";

// Ours are of one name in two families.
enum class Family : std::uint8_t { inet = 1 /* NFPROTO_INET */, bridge = 7 /* NFPROTO_BRIDGE */ };

// The table as the kernel holds it; absent when there is none. Rules with instructions that we never write show as
// kstate::Foreign, so they always differ from what is wanted.
// Its owner is `us` where it is this very socket.
Result<std::optional<kstate::Table>> observe_table(NetlinkSocket& socket, Family family = Family::inet);

// One transaction: all of it or nothing. An owned table belongs to this socket, until it is closed.
Status apply_nft(NetlinkSocket& socket, const std::vector<kstate::NftOp>& ops, Family family = Family::inet);

// Packets by named counter.
Result<std::map<std::string, std::uint64_t>> read_counters(NetlinkSocket& socket, Family family = Family::inet);

// Deletes tracked connections of the segment by mark (linux/netfilter/nfnetlink_conntrack.h, IPCTNL_MSG_CT_DELETE).
Status purge_connections(NetlinkSocket& socket, const kstate::PurgeConnections& which);

}  // namespace microseg::kernel
