// A vector as a set.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

namespace microseg::policy {

// Not std::ranges::unique: clang 14, which builds the fuzz targets on Debian 12, can not read its result type.
template <class T, class Less = std::less<>>
void sort_unique(std::vector<T>& all, Less less = {}) {
  std::sort(all.begin(), all.end(), less);
  all.erase(std::unique(all.begin(), all.end()), all.end());
}

}  // namespace microseg::policy
