// What a policy can ask about an endpoint, and the number that stands for the answers.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "microseg/policy/compile.h"

namespace microseg::policy {

Alphabet alphabet_of(const Policy& policy) {
  std::set<std::string> names;
  std::set<Selector> selectors;
  for (auto& statement : policy.statements)
    for (auto* peer : {&statement.from, &statement.to}) {
      if (peer->kind == Peer::Kind::name) names.insert(peer->name);
      if (peer->kind == Peer::Kind::selector) selectors.insert(peer->selector);
    }
  return {{names.begin(), names.end()}, {selectors.begin(), selectors.end()}};
}

bool Alphabet::covers(const Alphabet& other) const {
  return std::ranges::includes(names, other.names) && std::ranges::includes(selectors, other.selectors);
}

std::uint64_t class_count(const Alphabet& alphabet) {
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t names = alphabet.names.size() + 1;
  const auto bits = alphabet.selectors.size();
  if (bits >= 64 || names > (kMost >> bits)) return kMost;
  return names << bits;
}

Status check_fits(const Alphabet& alphabet) {
  const auto count = class_count(alphabet);
  if (count <= kMaxClass) return {};
  const auto names = alphabet.names.size(), selectors = alphabet.selectors.size();
  const bool saturated = count == std::numeric_limits<std::uint64_t>::max();
  return Error{
      Errc::invalid, 0,
      fmt::format("policy needs ({} name{} + 1) * 2^{} selector{} = {}{} classes, at most {} fit: use fewer {}", names,
                  names == 1 ? "" : "s", selectors, selectors == 1 ? "" : "s", saturated ? "more than " : "", count,
                  kMaxClass, selectors == 0 ? "names" : "label selectors")};
}

std::uint32_t Numbering::last() const {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::min(kMost, base + std::min(kMost, class_count(alphabet)) - 1));
}

std::uint16_t class_of(const Numbering& numbering, const Identity& identity) {
  if (numbering.last() > kMaxClass) return 0;  // no such numbers: nothing is allowed
  const auto& [names, selectors] = numbering.alphabet;
  const auto name = std::ranges::lower_bound(names, identity.service);
  std::uint32_t number = 0;
  if (name != names.end() && *name == identity.service) number = static_cast<std::uint32_t>(name - names.begin()) + 1;
  number <<= selectors.size();
  for (std::size_t i = 0; i < selectors.size(); ++i)
    if (selectors[i].matches(identity.labels)) number |= 1U << i;
  return static_cast<std::uint16_t>(numbering.base + number);
}

}  // namespace microseg::policy
