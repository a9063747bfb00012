#include "microseg/reconcile/host.h"

#include <algorithm>

#include "table_delta.h"

namespace microseg::reconcile {
namespace {

using namespace kstate;

// What only a new table puts right: nobody becomes the owner of one that has none, or gives up one that he has.
bool must_exchange(const Table& desired, const Table& observed) {
  const bool inherits = desired.owner == Owner::us && observed.owner == Owner::gone;
  return needs_rebuild(desired, observed) || (desired.owner != observed.owner && !inherits);
}

}  // namespace

Plan plan_host(const std::optional<Table>& desired, const std::optional<Table>& observed) {
  Nft transaction;
  auto append = [&](std::vector<NftOp> ops) {
    for (auto& op : ops) transaction.ops.push_back(std::move(op));
  };
  if (observed && (!desired || must_exchange(*desired, *observed))) transaction.ops.push_back(DelTable{});
  if (desired && (!observed || !transaction.ops.empty())) {
    append(build(*desired));
  } else if (desired) {
    if (desired->owner != observed->owner) transaction.ops.push_back(AddTable{true});
    append(delta(*desired, *observed).ops);
  }
  if (transaction.ops.empty()) return {};
  return {std::move(transaction)};
}

bool does(const std::optional<Table>& observed, const Table& least) {
  if (!observed || observed->dormant) return false;
  for (auto& [name, chain] : least.chains) {
    auto it = observed->chains.find(name);
    if (it == observed->chains.end() || it->second != chain) return false;
  }
  for (auto& [name, set] : least.sets) {
    auto it = observed->sets.find(name);
    if (it == observed->sets.end() || it->second.type != set.type) return false;
    if (!std::ranges::includes(*it->second.elements, *set.elements)) return false;
  }
  return true;
}

}  // namespace microseg::reconcile
