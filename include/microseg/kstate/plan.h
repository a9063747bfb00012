// Ops: one kernel change each, naming its object in full, so that a plan can be printed, replayed and tested alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "microseg/kstate/segment.h"

namespace microseg::kstate {

// ---- parts of an nft transaction, done all or none ----
// `owned`: others cannot change it, not by `nft flush ruleset` either, and it outlives us (flags owner, persist), on
// kernels that know how (6.9). A table that is there becomes ours where its owner has died (Owner::gone) and is refused
// (unsupported) where it never had one: that one is deleted and added in the same transaction.
struct AddTable { bool owned = false; };
struct DelTable {};
struct AddCounter { std::string name; };
struct AddSet { std::string name; SetType type; };
struct AddElements { std::string set; SetType type; std::vector<Element> elements; };
struct DelElements { std::string set; SetType type; std::vector<Element> elements; };
struct FlushSet { std::string name; };
struct AddChain { std::string name; std::optional<Hook> hook; };
struct FlushChain { std::string name; };
struct DelChain { std::string name; };
struct AddRule { std::string chain; Rule rule; };
using NftOp = std::variant<AddTable, DelTable, AddCounter, AddSet, AddElements, DelElements, FlushSet, AddChain, FlushChain,
                           DelChain, AddRule>;

struct SetSysctl { std::string path, value; };
struct AddLink { IfName name; Link link; };  // with addresses, routes, neighbours
struct DelLink { IfName name; };
// Makes a present link what it should be: MAC, MTU, up, alias, addresses, routes, neighbours.
struct MendLink { IfName name; Link link; };
struct AddVxlan { Vxlan vxlan; };
struct DelVxlan {};
// As MendLink; a device whose tunnel is another one must be deleted and added.
struct MendVxlan { Vxlan vxlan; };
// Tells the other hosts, over the VXLAN device, that these addresses are here now (gratuitous ARP, unsolicited
// neighbour advertisement): who sent to them elsewhere sends here from now on. Nothing that can be observed.
struct Announce { std::vector<Ip> addresses; };
struct Nft { std::vector<NftOp> ops; };
// Makes a bridge's port one of ours: isolated, learning nothing, `mac` kept at it and no other. Without `mac`: as Docker
// made it. Only at kernel::kHostPorts.
struct BindPort { PortIndex port = 0; std::optional<Mac> mac{}; };
// Waits until every packet that began its way through the rules before now has ended it.
struct Quiesce {};
// Deletes the segment's tracked connections with (mark & mask) == value; mask 0 deletes all.
struct PurgeConnections { std::uint32_t value = 0, mask = 0; };

using Op = std::variant<SetSysctl, AddLink, DelLink, MendLink, AddVxlan, DelVxlan, MendVxlan, Announce, Nft, BindPort,
                        Quiesce, PurgeConnections>;
using Plan = std::vector<Op>;

// One line per op, in the words of ip(8) and nft(8). For logs, the CLI and tests.
std::string to_text(const Plan& plan);

}  // namespace microseg::kstate
