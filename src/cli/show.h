// The API's answers as text for people. Throws nlohmann::json::exception where an answer lacks what docs/api.md says.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <cstdint>
#include <string>

namespace microseg::cli {

std::string show_status(const nlohmann::json& answer, std::int64_t now_ms);
std::string show_networks(const nlohmann::json& answer);
std::string show_endpoints(const nlohmann::json& answer, std::int64_t now_ms);
std::string show_policy(const nlohmann::json& answer, std::int64_t now_ms);
std::string show_history(const nlohmann::json& answer, std::int64_t now_ms);
std::string show_check(const nlohmann::json& answer);
// "web -> api 8080/tcp: allowed by `allow web -> api : 8080` (option microseg.policy, line 1)"
std::string show_explain(const nlohmann::json& answer);

}  // namespace microseg::cli
