// The chains that depend on the generation, and the way back from them to its number.
#include <cstring>

#include "judging.h"
#include "spanning.h"

namespace microseg::render {
namespace {

using namespace kstate;

// Between local containers. The first rule is the whole way of a packet whose connection is stamped.
std::vector<Rule> local_rules(Generation generation) {
  const Fragment stamped{Ct{CtKey::mark, kScratch}, Cmp{kScratch, true, bytes_of_mark(generation.number)}};
  const char* allow = kAllowSets[generation.allow];
  return {rule({stamped, state_is_not(kRelated), accept()}),
          rule({stamped, go("errors")}),
          rule({state_is(kRelated), dropped("invalid")}),
          rule({state_is(kInvalid), dropped("invalid")}),
          rule({mark_is(0), go("quarantined")}),
          judge(kV4, kOriginal, allow, kStampChain),
          judge(kV4, kReply, allow, kStampChain),
          judge(kV6, kOriginal, allow, kStampChain),
          judge(kV6, kReply, allow, kStampChain),
          to_quarantined(kV4),
          to_quarantined(kV6),
          rule({go("refused")})};
}

}  // namespace

std::map<std::string, Chain> generation_chains(Generation generation) {
  Chain forward{Hook{Hook::Place::forward, 0, true}, local_rules(generation)};
  const Chain stamp{std::nullopt,
                    {rule({{Load{kScratch, bytes_of_mark(generation.number)}, SetCtMark{kScratch}, Count{"allowed"}},
                           accept()})}};
  std::map<std::string, Chain> out;
  if (generation.spans) {
    out = spanning_generation_chains(generation);
    const auto ways = ways_to_other_hosts();
    forward.rules.insert(forward.rules.begin(), ways.begin(), ways.end());
  }
  out.emplace(kForwardChain, std::move(forward));
  out.emplace(kStampChain, stamp);
  return out;
}

bool spans_hosts(const Table& table) { return table.sets.contains(kPairs); }

std::optional<std::uint16_t> stamp_in(const Table& table) {
  auto stamp = table.chains.find(kStampChain);
  if (stamp == table.chains.end() || stamp->second.rules.empty() || stamp->second.rules.front().empty()) return std::nullopt;
  auto* load = std::get_if<Load>(&stamp->second.rules.front().front());
  if (!load || load->value.size() != 4) return std::nullopt;
  std::uint32_t number = 0;
  std::memcpy(&number, load->value.data(), 4);
  if (number == 0 || number > 65535) return std::nullopt;
  const Generation generation{static_cast<std::uint16_t>(number), 0, false};
  if (generation_chains(generation).at(kStampChain) != stamp->second) return std::nullopt;
  return generation.number;
}

std::optional<Generation> generation_in(const Table& table) {
  auto number = stamp_in(table);
  if (!number) return std::nullopt;
  auto holds = [&](const Generation& generation) {
    for (auto& [name, chain] : generation_chains(generation))
      if (auto it = table.chains.find(name); it == table.chains.end() || it->second != chain) return false;
    return true;
  };
  for (int allow : {0, 1}) {
    const Generation generation{*number, allow, table.chains.contains(kOwedChain), spans_hosts(table)};
    if (holds(generation)) return generation;
  }
  return std::nullopt;
}

}  // namespace microseg::render
