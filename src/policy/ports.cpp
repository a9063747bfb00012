#include "ports.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>

namespace microseg::policy {
namespace {

using Ranges = std::vector<Range>;  // sorted, neither meeting nor touching

constexpr Range kAllPorts{0, 65535};
// The protocols that statements can name. All others are only ever spoken of together, by a statement without ports.
constexpr std::array kNamed{kIcmp, kTcp, kUdp, kIcmpv6, kSctp};

bool speaks_of(const PortItem& item, std::uint8_t protocol, Icmp icmp) {
  if (item.protocol != kIcmp) return item.protocol == protocol;
  return (protocol == kIcmp && icmp != Icmp::v6) || (protocol == kIcmpv6 && icmp != Icmp::v4);
}

Ranges joined(Ranges all) {
  std::ranges::sort(all);
  Ranges out;
  for (auto& range : all) {
    if (!out.empty() && range.first <= out.back().last + 1)
      out.back().last = std::max(out.back().last, range.last);
    else
      out.push_back(range);
  }
  return out;
}

// The ports of `protocol` that rules of `action` name; `protocol` 0 stands for all that no statement can name.
Ranges spoken_of(std::span<const PortRule> rules, Statement::Action action, std::uint8_t protocol, Icmp icmp) {
  Ranges all;
  for (auto& rule : rules) {
    if (rule.action != action) continue;
    if (rule.items->empty()) return {kAllPorts};
    for (auto& item : *rule.items)
      if (speaks_of(item, protocol, icmp)) all.push_back({item.first, item.last});
  }
  return joined(std::move(all));
}

Ranges minus(const Ranges& from, const Ranges& taken) {
  Ranges out;
  for (auto& range : from) {
    unsigned next = range.first;  // may pass 65535
    for (auto& gap : taken) {
      if (gap.last < next) continue;
      if (gap.first > range.last) break;
      if (gap.first > next)
        out.push_back({static_cast<std::uint16_t>(next), static_cast<std::uint16_t>(gap.first - 1)});
      next = gap.last + 1U;
    }
    if (next <= range.last) out.push_back({static_cast<std::uint16_t>(next), range.last});
  }
  return out;
}

Ranges allowed(std::span<const PortRule> rules, std::uint8_t protocol, Icmp icmp) {
  using Action = Statement::Action;
  return minus(spoken_of(rules, Action::allow, protocol, icmp), spoken_of(rules, Action::deny, protocol, icmp));
}

// `ports_of(protocol)` are the ports of a protocol, and of 0 those of all that no statement can name.
template <class PortsOf>
std::vector<Rectangle> rectangles(PortsOf ports_of) {
  std::vector<Rectangle> out;
  auto put = [&](unsigned first, unsigned last, const Ranges& ports) {
    const Range protocols{static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
    for (auto& range : ports) out.push_back({protocols, range});
  };
  const Ranges others = ports_of(std::uint8_t{0});
  unsigned first = 0;  // of the protocols not put yet, all of which allow `ports`
  Ranges ports = others;
  auto go_to = [&](unsigned protocol, const Ranges& next) {
    if (next == ports) return;
    put(first, protocol - 1, ports);
    first = protocol;
    ports = next;
  };
  for (auto protocol : kNamed) {
    go_to(protocol, ports_of(protocol));
    if (!std::ranges::count(kNamed, protocol + 1)) go_to(protocol + 1U, others);
  }
  put(first, 255, ports);
  std::ranges::sort(out);
  return out;
}

}  // namespace

std::vector<Rectangle> allowed_by(std::span<const PortRule> rules) {
  return rectangles([&](std::uint8_t protocol) { return allowed(rules, protocol, Icmp::both); });
}

std::vector<Rectangle> allowed_by_any(std::span<const std::vector<PortRule>> lists, Icmp icmp) {
  return rectangles([&](std::uint8_t protocol) {
    Ranges all;
    for (auto& rules : lists) {
      const auto some = allowed(rules, protocol, icmp);
      all.insert(all.end(), some.begin(), some.end());
    }
    return joined(std::move(all));
  });
}

std::vector<std::vector<std::size_t>> independent(std::span<const PortRule> rules) {
  std::vector<std::size_t> group(rules.size());
  std::iota(group.begin(), group.end(), 0U);
  const bool everything = std::ranges::any_of(rules, [](auto& rule) { return rule.items->empty(); });
  auto root = [&](std::size_t i) {
    while (group[i] != i) i = group[i] = group[group[i]];
    return i;
  };
  struct Use {
    PortItem item;
    std::size_t rule;
    bool operator<(const Use& other) const { return item < other.item; }
  };
  std::vector<Use> uses;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (everything)
      group[i] = 0;  // meets all others
    else
      std::ranges::transform(*rules[i].items, std::back_inserter(uses), [i](auto& item) { return Use{item, i}; });
  }
  std::sort(uses.begin(), uses.end());
  unsigned reach = 0;
  for (std::size_t i = 1; i < uses.size(); ++i) {
    const auto &before = uses[i - 1], &use = uses[i];
    reach = before.item.protocol == use.item.protocol ? std::max<unsigned>(reach, before.item.last) : 0;
    if (before.item.protocol == use.item.protocol && use.item.first <= reach + 1)
      group[root(use.rule)] = root(before.rule);
    else
      reach = 0;
  }
  // A statement's own items belong together even where they do not meet: they have one root by now, being one rule.
  std::vector<std::vector<std::size_t>> out;
  std::vector<std::size_t> place(rules.size(), rules.size());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto r = root(i);
    if (place[r] == rules.size()) {
      place[r] = out.size();
      out.emplace_back();
    }
    out[place[r]].push_back(i);
  }
  return out;
}

}  // namespace microseg::policy
