#include "table.h"

#include <algorithm>

namespace microseg::cli {
namespace {

// Characters, not bytes: everything but the continuation bytes of UTF-8.
std::size_t width(const std::string& cell) {
  return static_cast<std::size_t>(
      std::count_if(cell.begin(), cell.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::string table(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += row[i] + std::string(widths[i] - width(row[i]) + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string since(std::int64_t then_ms, std::int64_t now_ms) {
  if (then_ms == 0) return "";
  const auto seconds = std::max<std::int64_t>(0, (now_ms - then_ms) / 1000);
  const struct {
    std::int64_t below, unit;
    const char* name;
  } steps[] = {{120, 1, "second"}, {120 * 60, 60, "minute"}, {48 * 3600, 3600, "hour"}, {INT64_MAX, 86400, "day"}};
  const auto& step = *std::ranges::find_if(steps, [&](auto& s) { return seconds < s.below; });
  const auto count = seconds / step.unit;
  return std::to_string(count) + " " + step.name + (count == 1 ? "" : "s");
}

std::string printable(std::string_view text, bool multiline) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, in UTF-8 as c2 80 to c2 9f: terminals obey these like their two-byte forms with ESC.
    const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const bool keep = multiline && (c == '\n' || c == '\t');
    out += c1 || ((c < 0x20 || c == 0x7f) && !keep) ? '?' : text[i];
    if (c1) ++i;
  }
  return out;
}

std::string indented(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    out += (line.empty() ? "" : "  ") + std::string(line) + "\n";
  }
  return out;
}

}  // namespace microseg::cli
