// The plane of protocols (0-255) and ports (0-65535) that statements speak of.
#pragma once

#include <span>
#include <vector>

#include "microseg/policy/compile.h"

namespace microseg::policy {

struct Rectangle {
  Range protocol, port;
  auto operator<=>(const Rectangle&) const = default;
};

struct PortRule {
  Statement::Action action = Statement::Action::allow;
  const std::vector<PortItem>* items = nullptr;  // empty = everything
};

// Which protocols `icmp` stands for: ICMP with IPv4, ICMPv6 with IPv6.
enum class Icmp { both, v4, v6 };

// What is allowed and not denied, as disjoint rectangles: the same rectangles for the same set, however it is written.
std::vector<Rectangle> allowed_by(std::span<const PortRule> rules);

// The same for several lists of rules: what at least one of them allows, each by itself.
std::vector<Rectangle> allowed_by_any(std::span<const std::vector<PortRule>> lists, Icmp icmp);

// Groups of rules whose ports neither meet nor touch those of another group; each group lists indexes into `rules`.
// What is allowed by one group can be worked out without looking at the others.
std::vector<std::vector<std::size_t>> independent(std::span<const PortRule> rules);

}  // namespace microseg::policy
