// What containers may do beyond the microseg network: the statements with a peer that is no endpoint (world, host,
// CIDR). Pure.
//
// The world is everything beyond this host that is not a microseg container; a CIDR is a part of it. Within one network
// deny beats allow; a container of several networks may do what any of them allows.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "microseg/policy/compile.h"

namespace microseg::policy {

struct AddressRange {  // inclusive, one family
  Ip first, last;
  auto operator<=>(const AddressRange&) const = default;
};

AddressRange addresses_of(const Prefix& prefix);

// A remote, and the protocols and ports of the side that is connected to. `protocol` and `port` as in Fact, but that
// ICMP rules appear for the family's own: 1 with IPv4, 58 with IPv6.
struct Beyond {
  AddressRange remote;
  Range protocol, port;
  auto operator<=>(const Beyond&) const = default;
};

struct ToHost {
  Range protocol, port;  // as in Fact
  auto operator<=>(const ToHost&) const = default;
};

// Every list is sorted, and no two of its items overlap (pipapo sets refuse overlapping elements). The same for the same
// permissions of each network, in whatever order they are written.
struct North {
  std::vector<Beyond> out, in;  // opened by the container, opened by the remote
  std::vector<ToHost> to_host, from_host;
  // Remotes whose DNS service (port 53) a container that goes beyond may ask without a statement of its own: all that no
  // network's `deny` takes away. Empty unless goes_beyond().
  std::vector<Beyond> resolve;
  bool goes_beyond() const { return !out.empty(); }
  auto operator<=>(const North&) const = default;
};

// One network of the container: its policy, and who the container is there.
struct Member {
  const Policy* policy = nullptr;
  const Identity* identity = nullptr;
};

// Errors: invalid when more than kMaxNorth boxes are needed, or far too much work, with the number and a remedy.
inline constexpr std::size_t kMaxNorth = 20000;
Result<North> north(std::span<const Member> networks);

// The host that a container is on, at any of its addresses.
struct Host {
  auto operator<=>(const Host&) const = default;
};
// The world, wherever no CIDR of a statement says more.
struct World {
  auto operator<=>(const World&) const = default;
};
// One end of a connection: an endpoint of the network, an address of the world, the host, or the world as a whole.
using Party = std::variant<Identity, Ip, Host, World>;

bool matches(const Peer& peer, const Party& party);

// Judges one connection by one network's statements: the oracle for north(). Between two ends of which neither is an
// endpoint nothing is allowed: no statement speaks of them.
Explanation explain(const Policy& policy, const Party& from, const Party& to, std::uint8_t protocol,
                    std::uint16_t port);

}  // namespace microseg::policy
