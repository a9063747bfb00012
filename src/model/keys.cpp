#include "keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace microseg::model {
namespace {

// The optimal string alignment distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i)
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      const auto replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_policy_key(std::string_view key) {
  if (!key.starts_with(kPolicyKey)) return false;
  const auto rest = key.substr(kPolicyKey.size());
  return rest.empty() || (rest.size() > 1 && rest[0] == '.');
}

std::string_view nearest(std::string_view key, std::span<const std::string_view> known) {
  const auto start = key.substr(0, 80);  // no known key is near that length
  return *std::ranges::min_element(known, {}, [&](std::string_view k) { return distance(start, k); });
}

std::string shown(std::string_view s) {
  std::string out = "'";
  for (char c : s.substr(0, 80)) {
    if (c >= ' ' && c <= '~')
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out + (s.size() > 80 ? "...'" : "'");
}

}  // namespace microseg::model
