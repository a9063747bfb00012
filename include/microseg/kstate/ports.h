// The ports of bridges in the host's namespace, and what is wanted of those by which Docker's gateway bridge reaches
// containers of ours. Ports go by their number (ifindex): a name can be given to another link while we look.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "microseg/addr/addr.h"

namespace microseg::kstate {

using PortIndex = std::uint32_t;

// A port as it is.
struct BridgePort {
  IfName link, bridge;
  bool isolated = false;   // nothing passes between two such ports of one bridge
  bool learning = true;    // who sends by it a frame from some MAC gets frames to that MAC from then on
  std::set<Mac> kept{};    // MACs that stay at this port, whoever sends from them (static, sticky)
  bool operator==(const BridgePort&) const = default;
};

// What the container behind a port sends from, and nobody else.
struct PortBinding {
  Mac mac;
  std::set<Ip> addresses{};  // on the gateway bridge
  auto operator<=>(const PortBinding&) const = default;
};

struct GatewayPorts {
  IfName bridge;
  std::map<PortIndex, PortBinding> bound{};
  std::set<Ip> unplaced{};  // of ours, at a port that is not known: nobody sends from these
  bool operator==(const GatewayPorts&) const = default;
};

}  // namespace microseg::kstate
