// Log lines on standard error, one per event: `info endpoint joined net=7c1e link=ms3f2a took_ms=4`.
// The first words say what happened; key=value pairs follow. Values with spaces, quotes or control characters are
// quoted, so a name that came from outside can not forge a line.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "microseg/base/result.h"

namespace microseg {

enum class LogLevel { error, warn, info, debug };

// "error", "warn", "info" or "debug".
Result<LogLevel> parse_log_level(std::string_view s);

// What is printed; the default is info. Thread-safe, like all of this header.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;

void log(LogLevel level, std::string_view event, LogFields fields = {});
inline void log_error(std::string_view event, LogFields fields = {}) { log(LogLevel::error, event, fields); }
inline void log_warn(std::string_view event, LogFields fields = {}) { log(LogLevel::warn, event, fields); }
inline void log_info(std::string_view event, LogFields fields = {}) { log(LogLevel::info, event, fields); }
inline void log_debug(std::string_view event, LogFields fields = {}) { log(LogLevel::debug, event, fields); }

}  // namespace microseg
