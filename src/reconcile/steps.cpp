#include "microseg/reconcile/steps.h"

#include "table_delta.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;
using render::kGenerationChain, render::kOwedChain, render::kStampChain;

// The observed table as render::segment knows it: without the generation's own chains.
Table without_generation(const Table& table) {
  Table out = table;
  for (auto* name : {kGenerationChain, kStampChain, kOwedChain}) out.chains.erase(name);
  return out;
}

Table with_generation(const Table& table, std::uint16_t number) {
  Table out = table;
  out.chains.merge(render::generation_chains(number));
  return out;
}

// Sixteen bits of numbers are used up one day. No number may be used again while a connection still carries it, so
// before one half of the numbers comes into use, connections that carry one of that half are forgotten; those in use
// carry a number of the other half. (Idle for 32,768 generations, they are judged anew when they speak again.)
void purge_before(std::vector<Op>& out, std::uint16_t number) {
  constexpr std::uint32_t kHalf = 0x8000;
  if (number == 1 || number == kHalf) out.push_back(PurgeConnections{number & kHalf, kHalf});
}

void replace_chain(std::vector<NftOp>& out, const std::string& name, const Chain& chain) {
  out.push_back(FlushChain{name});
  for (auto& rule : chain.rules) out.push_back(AddRule{name, rule});
}

void open_generation(Plan& out, std::uint16_t number) {
  purge_before(out, number);
  Nft transaction;
  for (auto& [name, chain] : render::generation_chains(number)) replace_chain(transaction.ops, name, chain);
  transaction.ops.push_back(DelChain{kOwedChain});
  out.push_back(std::move(transaction));
}

// From nothing or from something that cannot be mended, in one transaction.
std::uint16_t rebuild(Plan& out, const Table& desired, bool present, std::uint16_t last_generation) {
  const auto number = next_generation(last_generation);
  // What was stamped, and with which numbers, is not known: no connection may keep its stamp.
  if (last_generation == 0) out.push_back(PurgeConnections{});
  else purge_before(out, number);
  Nft transaction;
  if (present) transaction.ops.push_back(DelTable{});
  for (auto& op : build(with_generation(desired, number))) transaction.ops.push_back(std::move(op));
  out.push_back(std::move(transaction));
  return number;
}

// Returns the number of the generation that is open afterwards.
std::uint16_t plan_table(Plan& out, const Table& desired, const std::optional<Table>& observed,
                         std::uint16_t last_generation) {
  auto generation = observed ? render::generation_in(*observed) : std::nullopt;
  if (!generation) return rebuild(out, desired, observed.has_value(), last_generation);
  const Table current = without_generation(*observed);
  if (needs_rebuild(desired, current)) return rebuild(out, desired, true, generation->number);
  auto changes = delta(desired, current);
  if (changes.takes_away && !generation->owed) changes.ops.push_back(AddChain{kOwedChain, std::nullopt});
  if (!changes.ops.empty()) out.push_back(Nft{std::move(changes.ops)});
  if (!changes.takes_away && !generation->owed) return generation->number;
  out.push_back(Quiesce{});
  const auto next = next_generation(generation->number);
  open_generation(out, next);
  return next;
}

}  // namespace

std::uint16_t next_generation(std::uint16_t number) {
  return number == 65535 ? std::uint16_t{1} : static_cast<std::uint16_t>(number + 1);
}

Step plan(const Segment& desired, const Segment& observed, std::uint16_t last_generation) {
  Step out;
  out.after = desired;
  for (auto& [path, value] : desired.sysctls) {
    auto it = observed.sysctls.find(path);
    if (it == observed.sysctls.end()) out.after.sysctls.erase(path);  // this kernel has none of that name
    else if (it->second != value) out.plan.push_back(SetSysctl{path, value});
  }
  for (auto& [name, link] : observed.links)
    if (!desired.links.contains(name)) out.plan.push_back(DelLink{name});
  if (desired.table) {
    out.generation = plan_table(out.plan, *desired.table, observed.table, last_generation);
    out.after.table = with_generation(*desired.table, out.generation);
  }
  for (auto& [name, link] : desired.links) {
    auto it = observed.links.find(name);
    if (it == observed.links.end()) out.plan.push_back(AddLink{name, link});
    else if (!link.same_as(it->second)) out.plan.push_back(MendLink{name, link});
  }
  return out;
}

}  // namespace microseg::reconcile
