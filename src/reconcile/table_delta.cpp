#include "table_delta.h"

#include <tuple>

namespace microseg::reconcile {
namespace {

using namespace kstate;

// The key alone: in a map, another value at the same key is a change.
struct KeyOrder {
  bool operator()(const Element& a, const Element& b) const {
    return std::tie(a.key, a.key_end) < std::tie(b.key, b.key_end);
  }
};

void put_rules(std::vector<NftOp>& out, const std::string& name, const Chain& chain) {
  for (auto& rule : chain.rules) out.push_back(AddRule{name, rule});
}

}  // namespace

ElementDelta compare(const Set& desired, const Set& observed) {
  ElementDelta out;
  if (desired.elements == observed.elements) return out;
  auto& [add, remove, changes_values] = out;
  const auto& want = *desired.elements;
  const auto& have = *observed.elements;
  const KeyOrder before;
  auto w = want.begin();
  auto h = have.begin();
  while (w != want.end() || h != have.end()) {
    if (h == have.end() || (w != want.end() && before(*w, *h))) {
      add.push_back(*w++);
    } else if (w == want.end() || before(*h, *w)) {
      remove.push_back(*h++);
    } else {
      if (w->data != h->data) {
        remove.push_back(*h);
        add.push_back(*w);
        changes_values = true;
      }
      ++w, ++h;
    }
  }
  return out;
}

bool needs_rebuild(const Table& desired, const Table& observed) {
  if (observed.dormant) return true;
  for (auto& [name, set] : desired.sets)
    if (auto it = observed.sets.find(name); it != observed.sets.end() && it->second.type != set.type) return true;
  for (auto& [name, chain] : desired.chains)
    if (auto it = observed.chains.find(name); it != observed.chains.end() && it->second.hook != chain.hook) return true;
  // Sets and counters that are not ours may be in use by anything: only a new table is sure.
  for (auto& [name, set] : observed.sets)
    if (!desired.sets.contains(name)) return true;
  for (auto& name : observed.counters)
    if (!desired.counters.contains(name)) return true;
  for (auto& [name, chain] : observed.chains)
    if (!desired.chains.contains(name)) return true;
  return false;
}

TableDelta delta(const Table& desired, const Table& observed) {
  TableDelta out;
  for (auto& name : desired.counters)
    if (!observed.counters.contains(name)) out.ops.push_back(AddCounter{name});
  for (auto& [name, set] : desired.sets) {
    auto it = observed.sets.find(name);
    if (it != observed.sets.end()) continue;
    out.ops.push_back(AddSet{name, set.type});
    if (!set.elements->empty()) out.ops.push_back(AddElements{name, set.type, {set.elements->begin(), set.elements->end()}});
  }
  for (auto& [name, set] : desired.sets) {
    auto it = observed.sets.find(name);
    if (it == observed.sets.end()) continue;
    auto [add, remove, changes_values] = compare(set, it->second);
    // Removals before additions: a key's new value finds its place free.
    out.takes_away = out.takes_away || !remove.empty();
    out.only_left = out.only_left && !changes_values;
    if (!remove.empty()) out.ops.push_back(DelElements{name, set.type, std::move(remove)});
    if (!add.empty()) out.ops.push_back(AddElements{name, set.type, std::move(add)});
  }
  // Chains first, then their rules: a rule may jump to a chain that is new as well.
  for (auto& [name, chain] : desired.chains)
    if (!observed.chains.contains(name)) out.ops.push_back(AddChain{name, chain.hook});
  for (auto& [name, chain] : desired.chains) {
    auto it = observed.chains.find(name);
    if (it != observed.chains.end() && it->second.rules == chain.rules) continue;
    if (it != observed.chains.end()) out.ops.push_back(FlushChain{name});
    put_rules(out.ops, name, chain);
    out.takes_away = true;
    out.only_left = false;
  }
  return out;
}

std::vector<NftOp> build(const Table& table) {
  std::vector<NftOp> out{AddTable{table.owner == Owner::us}};
  for (auto& name : table.counters) out.push_back(AddCounter{name});
  for (auto& [name, set] : table.sets) {
    out.push_back(AddSet{name, set.type});
    if (!set.elements->empty()) out.push_back(AddElements{name, set.type, {set.elements->begin(), set.elements->end()}});
  }
  for (auto& [name, chain] : table.chains) out.push_back(AddChain{name, chain.hook});
  for (auto& [name, chain] : table.chains) put_rules(out, name, chain);
  return out;
}

}  // namespace microseg::reconcile
