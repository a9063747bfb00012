#include "microseg/reconcile/steps.h"

#include <set>
#include <utility>

#include "table_delta.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;
using render::Generation, render::kAllow, render::kAllowSets, render::kOwedChain;

// The observed table without what depends on the generation: as render::segment makes it, but for the allow set.
Table without_generation(const Table& table, Generation generation) {
  Table out = table;
  for (auto& [name, chain] : render::generation_chains(generation)) out.chains.erase(name);
  out.chains.erase(kOwedChain);
  for (auto* name : kAllowSets) out.sets.erase(name);
  return out;
}

Table without_allow(const Table& desired) {
  Table out = desired;
  out.sets.erase(kAllow);
  return out;
}

// What the kernel holds once `desired` is in force.
Table with_generation(const Table& desired, Generation generation, Elements unused = make_elements({})) {
  Table out = without_allow(desired);
  const Set& allow = desired.sets.at(kAllow);
  for (int i : {0, 1}) out.sets[kAllowSets[i]] = i == generation.allow ? allow : Set{allow.type, unused};
  out.chains.merge(render::generation_chains(generation));
  if (generation.owed) out.chains[kOwedChain];
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
  Generation next{next_generation(last_generation), 0, false, render::spans_hosts(desired)};
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

// Every connection that `inner` allows, `outer` allows.
bool covers(const SetType& type, const Element& outer, const Element& inner) {
  std::size_t at = 0;
  for (auto field : type.key) {
    const std::size_t length = length_of(field), padded = (length + 3) / 4 * 4;
    if (outer.key.compare(at, length, inner.key, at, length) > 0) return false;
    if (inner.key_end.compare(at, length, outer.key_end, at, length) > 0) return false;
    at += padded;
  }
  return true;
}

// Ranges were exchanged, but for larger ones.
bool only_grows(const SetType& type, const ElementDelta& change) {
  constexpr std::size_t kWorthTheLook = 1'000'000;
  if (change.add.size() * change.remove.size() > kWorthTheLook) return false;
  for (auto& gone : change.remove) {
    bool covered = false;
    for (auto& element : change.add) covered = covered || covers(type, element, gone);
    if (!covered) return false;
  }
  return true;
}

enum class AllowChange { in_place, grows, shrinks };

// The elements of the allow set. What is only added goes into the set in use; else the other set is filled, in a
// transaction of its own, and becomes the one in use.
AllowChange plan_allow(Plan& out, std::vector<NftOp>& next_ops, const Set& desired, const Table& observed,
                       Generation& generation) {
  auto change = compare(desired, observed.sets.at(kAllowSets[generation.allow]));
  if (change.remove.empty()) {
    if (!change.add.empty())
      next_ops.push_back(AddElements{kAllowSets[generation.allow], desired.type, std::move(change.add)});
    return AllowChange::in_place;
  }
  generation.allow = 1 - generation.allow;
  const std::string other = kAllowSets[generation.allow];
  Nft fill;
  if (!observed.sets.at(other).elements->empty()) fill.ops.push_back(FlushSet{other});
  if (!desired.elements->empty())
    fill.ops.push_back(AddElements{other, desired.type, {desired.elements->begin(), desired.elements->end()}});
  if (!fill.ops.empty()) out.push_back(std::move(fill));
  put_chains(next_ops, generation);
  return only_grows(desired.type, change) ? AllowChange::grows : AllowChange::shrinks;
}

struct Outcome {
  Generation generation;
  Elements unused = make_elements({});  // what the allow set that is not in use still holds
};

// `later` as for plan(); `links_come`: one of them may have the address of one that left.
Outcome plan_table(Plan& out, const Table& desired, const std::optional<Table>& observed, std::uint16_t last_generation,
                   bool later, bool links_come) {
  auto seen = observed ? render::generation_in(*observed) : std::nullopt;
  if (!seen) {
    // Rules of another version, or damaged ones: what they stamp with is still the highest number in use.
    if (observed && last_generation == 0) last_generation = render::stamp_in(*observed).value_or(0);
    return {rebuild(out, desired, observed.has_value(), last_generation)};
  }
  const Table want = without_allow(desired), have = without_generation(*observed, *seen);
  if (seen->spans != render::spans_hosts(desired) || !allow_sets_fit(desired, *observed) || needs_rebuild(want, have))
    return {rebuild(out, desired, true, seen->number)};

  Generation next = *seen;
  auto changes = delta(want, have);
  const auto allow = plan_allow(out, changes.ops, desired.sets.at(kAllow), *observed, next);
  const bool takes_away = changes.takes_away || allow == AllowChange::shrinks;
  if (takes_away && !seen->owed) changes.ops.push_back(AddChain{kOwedChain, std::nullopt});
  if (!changes.ops.empty()) out.push_back(Nft{std::move(changes.ops)});

  Outcome outcome{next};
  outcome.generation.owed = takes_away || seen->owed;
  outcome.unused = observed->sets.at(kAllowSets[1 - next.allow]).elements;
  const bool can_wait = allow != AllowChange::shrinks && (!changes.takes_away || changes.only_left) &&
                        !(outcome.generation.owed && links_come);
  if (later && can_wait) return outcome;
  if (outcome.generation.owed) {
    open_next(out, outcome.generation, !outcome.unused->empty());
  } else if (!outcome.unused->empty()) {
    out.push_back(Quiesce{});  // nobody looks into it any more
    out.push_back(Nft{{FlushSet{kAllowSets[1 - next.allow]}}});
  }
  outcome.unused = make_elements({});
  return outcome;
}

// The way to other hosts, once links and table are right, and the news to them of which addresses are here now.
void plan_vxlan(Plan& out, const Segment& desired, const Segment& observed, bool device_stays, std::set<Ip> arrived) {
  if (!desired.vxlan) return;
  if (!device_stays) {
    out.push_back(AddVxlan{*desired.vxlan});
    for (auto& [name, link] : desired.links)  // the others may know all of them at another device's MAC
      for (auto& route : link.routes) arrived.insert(route.ip());
  } else if (*desired.vxlan != *observed.vxlan) {
    out.push_back(MendVxlan{*desired.vxlan});
  }
  if (!arrived.empty()) out.push_back(Announce{{arrived.begin(), arrived.end()}});
}

}  // namespace

std::uint16_t next_generation(std::uint16_t number) {
  return number == 65535 ? std::uint16_t{1} : static_cast<std::uint16_t>(number + 1);
}

Step plan(const Segment& desired, const Segment& observed, std::uint16_t last_generation, bool later) {
  Step out;
  out.after = desired;
  for (auto& [path, value] : desired.sysctls) {
    auto it = observed.sysctls.find(path);
    if (it == observed.sysctls.end()) out.after.sysctls.erase(path);  // this kernel has none of that name
    else if (it->second != value) out.plan.push_back(SetSysctl{path, value});
  }
  for (auto& [name, link] : observed.links)
    if (!desired.links.contains(name)) out.plan.push_back(DelLink{name});
  const bool device_stays = desired.vxlan && observed.vxlan && desired.vxlan->same_tunnel(*observed.vxlan);
  if (observed.vxlan && !device_stays) out.plan.push_back(DelVxlan{});
  if (desired.table) {
    bool links_come = false;
    for (auto& [name, link] : desired.links) links_come = links_come || !observed.links.contains(name);
    auto [generation, unused] =
        plan_table(out.plan, *desired.table, observed.table, last_generation, later, links_come);
    out.generation = generation.number;
    out.unfinished = generation.owed || !unused->empty();
    out.after.table = with_generation(*desired.table, generation, std::move(unused));
  }
  std::set<Ip> arrived;
  for (auto& [name, link] : desired.links) {
    auto it = observed.links.find(name);
    const bool comes = it == observed.links.end();
    if (comes) out.plan.push_back(AddLink{name, link});
    else if (!link.same_as(it->second)) out.plan.push_back(MendLink{name, link});
    for (auto& route : link.routes)
      if (comes || !it->second.routes.contains(route)) arrived.insert(route.ip());
  }
  plan_vxlan(out.plan, desired, observed, device_stays, std::move(arrived));
  return out;
}

}  // namespace microseg::reconcile
