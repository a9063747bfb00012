// What differs between two tables, as the parts of one transaction.
#pragma once

#include <vector>

#include "microseg/kstate/plan.h"

namespace microseg::reconcile {

struct ElementDelta {
  std::vector<kstate::Element> add, remove;  // a changed value is in both
  bool changes_values = false;
};
ElementDelta compare(const kstate::Set& desired, const kstate::Set& observed);

struct TableDelta {
  std::vector<kstate::NftOp> ops;
  bool takes_away = false;  // an address is gone or has another class, or a rule has another form
  bool only_left = true;    // and if so, nothing but addresses that are gone
};

// Both without the generation's chains and the allow sets, whoever owns them. A set of another type or a foreign object
// cannot be turned into what is wanted in place, and a dormant table is not worth it: `needs_rebuild` says so.
TableDelta delta(const kstate::Table& desired, const kstate::Table& observed);
bool needs_rebuild(const kstate::Table& desired, const kstate::Table& observed);

// Everything of a table, from nothing.
std::vector<kstate::NftOp> build(const kstate::Table& table);

}  // namespace microseg::reconcile
