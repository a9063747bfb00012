// What the engine shows, as JSON text. docs/api.md documents every field.
#pragma once

#include <cstdint>
#include <string>

#include "microseg/engine/commands.h"

namespace microseg::api {

// Milliseconds since the Unix epoch, as "2026-11-21T22:00:27.123Z" (RFC 3339).
std::string rfc3339(std::int64_t unix_ms);

std::string to_json(const engine::StatusView& view);
std::string to_json(const std::vector<engine::NetworkView>& views);
std::string to_json(const std::vector<engine::EndpointView>& views);
std::string to_json(const engine::PolicyView& view);
std::string to_json(const engine::HistoryView& view);
// `port` as it was asked for.
std::string to_json(const engine::ExplainView& view, const std::string& port);
std::string to_json(const engine::CheckView& view);
std::string applied_json(const std::string& network, std::uint64_t version);
std::string removed_json(const std::string& network);
std::string error_json(const std::string& code, const std::string& message);

}  // namespace microseg::api
