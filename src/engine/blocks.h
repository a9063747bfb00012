// Which numbers stand for a policy's classes. A number never changes its meaning while a segment lives: a packet may
// be tagged before a change of policy and judged after it.
#pragma once

#include <cstdint>
#include <vector>

#include "microseg/model/network.h"

namespace microseg::engine {

// How long a block must have been out of use before its numbers are dealt anew, and only when all others are used up.
// A packet is between tagging and judging for microseconds.
inline constexpr std::int64_t kRetiredForMs = 60'000;

// `blocks` with exactly one block in force (the last, not retired) whose alphabet covers `alphabet`: the one in force
// if it does, else an older one that does, else a new one. Errors: invalid when the alphabet does not fit at all;
// unavailable when all numbers are in use or were until a moment ago.
Result<std::vector<model::Block>> deal(std::vector<model::Block> blocks, const policy::Alphabet& alphabet,
                                       std::int64_t now_ms);

}  // namespace microseg::engine
