// Which VXLAN network identifier a network that spans hosts gets.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "microseg/base/id.h"
#include "microseg/base/result.h"

namespace microseg::engine {

// Numbers below are left to people: `-o microseg.vni=7` never meets one of ours.
inline constexpr std::uint32_t kFirstVni = 4096;

// `wanted` if it is not in `used`, else (exists) an error that says so. Without a wish the first number that is not
// used, from one that the id alone gives: every manager that knows of the same networks chooses alike.
Result<std::uint32_t> choose_vni(const NetworkId& id, std::optional<std::uint32_t> wanted,
                                 const std::set<std::uint32_t>& used);

}  // namespace microseg::engine
