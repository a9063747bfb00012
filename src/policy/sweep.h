// Walking along one axis of numbers: which runs are under way, and which items last how long.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace microseg::policy {

struct Run {  // inclusive
  std::uint32_t first = 0, last = 0;
};

// Calls visit(Run, ids) for every maximal stretch in which the same, not empty, set of `tracks` is under way, in
// order. A track is a list of runs that do not touch each other; its id is its index. `ids` is sorted.
template <class Visit>
void sweep(const std::vector<std::vector<Run>>& tracks, Visit visit) {
  struct Edge {
    std::uint32_t at, id;
    bool starts;
  };
  std::vector<Edge> edges;
  for (std::uint32_t id = 0; id < tracks.size(); ++id)
    for (auto& run : tracks[id]) {
      edges.push_back({run.first, id, true});
      edges.push_back({run.last + 1, id, false});
    }
  std::ranges::sort(edges, {}, &Edge::at);
  std::vector<std::uint32_t> under_way;
  std::uint32_t since = 0;
  for (std::size_t i = 0; i < edges.size();) {
    const auto at = edges[i].at;
    if (!under_way.empty()) visit(Run{since, at - 1}, std::as_const(under_way));
    for (; i < edges.size() && edges[i].at == at; ++i) {
      const auto place = std::ranges::lower_bound(under_way, edges[i].id);
      if (edges[i].starts)
        under_way.insert(place, edges[i].id);
      else
        under_way.erase(place);
    }
    since = at;
  }
}

// Joins equal items of adjacent stretches: given stretches in order, each with its sorted items, calls emit(Run, item)
// once for every stay of an item.
template <class Item>
class Stays {
 public:
  // The number of stays begun so far, all of which will be emitted.
  std::size_t begun() const { return begun_; }

  template <class Emit>
  void next(Run stretch, const std::vector<Item>& items, Emit emit) {
    if (stretch.first != last_ + 1) finish(emit);
    next_.clear();
    auto old = staying_.begin();
    for (auto& item : items) {
      for (; old != staying_.end() && old->item < item; ++old) emit(Run{old->since, last_}, old->item);
      if (old != staying_.end() && old->item == item) {
        next_.push_back(*old++);
      } else {
        next_.push_back({item, stretch.first});
        ++begun_;
      }
    }
    for (; old != staying_.end(); ++old) emit(Run{old->since, last_}, old->item);
    std::swap(staying_, next_);
    last_ = stretch.last;
  }
  // Nothing changes in `stretch`, which follows the last one.
  void go_on(Run stretch) { last_ = stretch.last; }
  bool reaches(std::uint32_t first) const { return last_ + 1 == first; }

  template <class Emit>
  void finish(Emit emit) {
    for (auto& stay : staying_) emit(Run{stay.since, last_}, stay.item);
    staying_.clear();
  }

 private:
  struct Stay {
    Item item;
    std::uint32_t since;
  };
  std::vector<Stay> staying_, next_;
  std::uint32_t last_ = 0;
  std::size_t begun_ = 0;
};

}  // namespace microseg::policy
