#include "microseg/reconcile/steps.h"

#include "table_delta.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;
using render::Generation, render::kAllow, render::kAllowSets, render::kForwardChain, render::kOwedChain, render::kStampChain;

// The observed table without what depends on the generation: as render::segment makes it, but for the allow set.
Table without_generation(const Table& table) {
  Table out = table;
  for (auto* name : {kForwardChain, kStampChain, kOwedChain}) out.chains.erase(name);
  for (auto* name : kAllowSets) out.sets.erase(name);
  return out;
}

Table without_allow(const Table& desired) {
  Table out = desired;
  out.sets.erase(kAllow);
  return out;
}

// What the kernel holds once `desired` is in force.
Table with_generation(const Table& desired, Generation generation) {
  Table out = without_allow(desired);
  const Set& allow = desired.sets.at(kAllow);
  for (int i : {0, 1}) out.sets[kAllowSets[i]] = i == generation.allow ? allow : Set{allow.type};
  out.chains.merge(render::generation_chains(generation));
  return out;
}

// Sixteen bits of numbers are used up one day. No number may be used again while a connection still carries it, so
// before one half of the numbers comes into use, connections that carry one of that half are forgotten; those in use
// carry a number of the other half. (Idle for 32,768 generations, they are judged anew when they speak again.)
void purge_before(std::vector<Op>& out, std::uint16_t number) {
  constexpr std::uint32_t kHalf = 0x8000;
  if (number == 1 || number == kHalf) out.push_back(PurgeConnections{number & kHalf, kHalf});
}

void put_chains(std::vector<NftOp>& out, Generation generation) {
  for (auto& [name, chain] : render::generation_chains(generation)) {
    out.push_back(FlushChain{name});
    for (auto& rule : chain.rules) out.push_back(AddRule{name, rule});
  }
}

// Waits for every packet under way, then opens the next number and takes the note away.
void open_next(Plan& out, Generation& generation, bool flush_unused) {
  out.push_back(Quiesce{});
  generation.number = next_generation(generation.number);
  generation.owed = false;
  purge_before(out, generation.number);
  Nft open;
  put_chains(open.ops, generation);
  open.ops.push_back(DelChain{kOwedChain});
  if (flush_unused) open.ops.push_back(FlushSet{kAllowSets[1 - generation.allow]});
  out.push_back(std::move(open));
}

// From nothing or, in one transaction, from something that cannot be mended.
Generation rebuild(Plan& out, const Table& desired, bool present, std::uint16_t last_generation) {
  Generation next{next_generation(last_generation), 0, false};
  // What was stamped, and with which numbers, is not known: no connection may keep its stamp.
  if (last_generation == 0) out.push_back(PurgeConnections{});
  else purge_before(out, next.number);
  Table table = with_generation(desired, next);
  Nft transaction;
  if (present) {
    transaction.ops.push_back(DelTable{});
    table.chains[kOwedChain];
  }
  for (auto& op : build(table)) transaction.ops.push_back(std::move(op));
  out.push_back(std::move(transaction));
  // A packet that the old table tagged may be judged and stamped by the new one: such a stamp does not last.
  if (present) open_next(out, next, false);
  return next;
}

// Both allow sets are there, and are what they should be but for their elements.
bool allow_sets_fit(const Table& desired, const Table& observed) {
  for (auto* name : kAllowSets)
    if (auto it = observed.sets.find(name); it == observed.sets.end() || it->second.type != desired.sets.at(kAllow).type)
      return false;
  return true;
}

// The elements of the allow set. What is only added goes into the set in use; else the other set is filled, in a
// transaction of its own, and becomes the one in use. Returns true when something was taken away.
bool plan_allow(Plan& out, std::vector<NftOp>& next_ops, const Set& desired, const Table& observed, Generation& generation) {
  auto [add, remove] = compare(desired, observed.sets.at(kAllowSets[generation.allow]));
  if (remove.empty()) {
    if (!add.empty()) next_ops.push_back(AddElements{kAllowSets[generation.allow], desired.type, std::move(add)});
    return false;
  }
  generation.allow = 1 - generation.allow;
  const std::string other = kAllowSets[generation.allow];
  Nft fill;
  if (!observed.sets.at(other).elements->empty()) fill.ops.push_back(FlushSet{other});
  if (!desired.elements->empty())
    fill.ops.push_back(AddElements{other, desired.type, {desired.elements->begin(), desired.elements->end()}});
  if (!fill.ops.empty()) out.push_back(std::move(fill));
  put_chains(next_ops, generation);
  return true;
}

// Returns the generation that is in force afterwards.
Generation plan_table(Plan& out, const Table& desired, const std::optional<Table>& observed, std::uint16_t last_generation) {
  auto seen = observed ? render::generation_in(*observed) : std::nullopt;
  if (!seen) {
    // Rules of another version, or damaged ones: what they stamp with is still the highest number in use.
    if (observed && last_generation == 0) last_generation = render::stamp_in(*observed).value_or(0);
    return rebuild(out, desired, observed.has_value(), last_generation);
  }
  const Table want = without_allow(desired), have = without_generation(*observed);
  if (!allow_sets_fit(desired, *observed) || needs_rebuild(want, have)) return rebuild(out, desired, true, seen->number);

  Generation next = *seen;
  auto changes = delta(want, have);
  const bool policy_shrinks = plan_allow(out, changes.ops, desired.sets.at(kAllow), *observed, next);
  const bool takes_away = changes.takes_away || policy_shrinks;
  if (takes_away && !seen->owed) changes.ops.push_back(AddChain{kOwedChain, std::nullopt});
  if (!changes.ops.empty()) out.push_back(Nft{std::move(changes.ops)});
  const std::string unused = kAllowSets[1 - next.allow];
  const bool leftover = policy_shrinks || !observed->sets.at(unused).elements->empty();
  if (!takes_away && !seen->owed) {
    if (leftover) out.push_back(Nft{{FlushSet{unused}}});
    return next;
  }
  open_next(out, next, leftover);
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
    const auto generation = plan_table(out.plan, *desired.table, observed.table, last_generation);
    out.generation = generation.number;
    out.after.table = with_generation(*desired.table, generation);
  }
  for (auto& [name, link] : desired.links) {
    auto it = observed.links.find(name);
    if (it == observed.links.end()) out.plan.push_back(AddLink{name, link});
    else if (!link.same_as(it->second)) out.plan.push_back(MendLink{name, link});
  }
  return out;
}

}  // namespace microseg::reconcile
