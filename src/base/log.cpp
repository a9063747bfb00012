#include "microseg/base/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace microseg {
namespace {

std::atomic<LogLevel> threshold{LogLevel::info};

constexpr std::string_view kNames[] = {"error", "warn", "info", "debug"};

std::string quoted(std::string_view value) {
  bool plain = !value.empty();
  for (unsigned char c : value) plain = plain && c > ' ' && c != '"' && c != '\\' && c != 0x7f;
  if (plain) return std::string(value);
  std::string out = "\"";
  for (unsigned char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < ' ' || c == 0x7f) {
      char hex[5];
      (void)std::snprintf(hex, sizeof hex, "\\x%02x", c);
      out += hex;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + '"';
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view s) {
  for (int i = 0; i < 4; ++i)
    if (s == kNames[i]) return static_cast<LogLevel>(i);
  return Error{Errc::invalid, 0, "not a log level: '" + std::string(s) + "'; one of error, warn, info, debug"};
}

void set_log_level(LogLevel level) { threshold = level; }
bool log_enabled(LogLevel level) { return level <= threshold; }

void log(LogLevel level, std::string_view event, LogFields fields) {
  if (!log_enabled(level)) return;
  std::string line(kNames[static_cast<int>(level)]);
  line += ' ';
  line += event;
  for (auto& [key, value] : fields) {
    line += ' ';
    line += key;
    line += '=';
    line += quoted(value);
  }
  line += '\n';
  // One write per line: lines of several threads never mix. A full or closed log must not stop the datapath.
  [[maybe_unused]] auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace microseg
