#include "blocks.h"

#include <algorithm>
#include <optional>

namespace microseg::engine {
namespace {

using model::Block;

// The lowest base at which `count` numbers are free of every block.
std::optional<std::uint32_t> free_base(std::vector<Block> blocks, std::uint64_t count) {
  std::sort(blocks.begin(), blocks.end(),
            [](const Block& a, const Block& b) { return a.numbering.base < b.numbering.base; });
  std::uint64_t base = 1;
  for (auto& block : blocks) {
    if (base + count <= block.numbering.base) break;
    base = std::max<std::uint64_t>(base, std::uint64_t{block.numbering.last()} + 1);
  }
  if (base + count - 1 > policy::kMaxClass) return std::nullopt;
  return static_cast<std::uint32_t>(base);
}

}  // namespace

Result<std::vector<Block>> deal(std::vector<Block> blocks, const policy::Alphabet& alphabet, std::int64_t now_ms) {
  MS_CHECK(policy::check_fits(alphabet));
  auto in_force = std::find_if(blocks.begin(), blocks.end(), [](const Block& b) { return !b.retired_ms; });
  if (in_force != blocks.end() && in_force->numbering.alphabet.covers(alphabet)) return blocks;

  // Of older blocks the smallest that will do: the names and selectors were here before, so they mean the same.
  auto best = blocks.end();
  for (auto it = blocks.begin(); it != blocks.end(); ++it)
    if (it->numbering.alphabet.covers(alphabet) &&
        (best == blocks.end() ||
         policy::class_count(it->numbering.alphabet) < policy::class_count(best->numbering.alphabet)))
      best = it;
  Block next;
  if (best != blocks.end()) {
    next = *best;
    next.retired_ms.reset();
    blocks.erase(best);
  } else {
    const auto count = policy::class_count(alphabet);
    auto base = free_base(blocks, count);
    if (!base) {
      std::erase_if(blocks, [&](const Block& b) { return b.retired_ms && now_ms - *b.retired_ms >= kRetiredForMs; });
      base = free_base(blocks, count);
    }
    if (!base)
      return Error{Errc::unavailable, 0,
                   "class numbers are used up by policies replaced within the last minute: apply again in a minute"};
    next.numbering = {*base, alphabet};
  }
  for (auto& block : blocks)
    if (!block.retired_ms) block.retired_ms = now_ms;
  blocks.push_back(std::move(next));
  return blocks;
}

}  // namespace microseg::engine
