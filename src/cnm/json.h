// What Docker's plugin protocols have in common: a body is a JSON object, fields may be absent or null (Go prints empty maps
// and lists so), and errors (invalid) name the field: "Options.k: expected text, got number".
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "microseg/base/result.h"
#include "microseg/model/network.h"

namespace microseg::cnm::wire {

Error invalid(std::string text);
Error wrong_type(const std::string& name, const char* expected, const nlohmann::json* value);

Result<nlohmann::json> parse_object(const std::string& body);
// Absent and null are the same to Go, and here.
const nlohmann::json* find(const nlohmann::json& object, const std::string& key);
Result<std::string> text(const nlohmann::json& object, const std::string& key, const std::string& name);
// "" where the field is absent.
Result<std::string> optional_text(const nlohmann::json& object, const std::string& key, const std::string& name);
// An object, or nothing where it is absent.
Result<const nlohmann::json*> optional_object(const nlohmann::json& object, const std::string& key, const std::string& name);
// A Go map[string]string.
Result<model::Options> string_map(const nlohmann::json& object, const std::string& key, const std::string& name);

// Error texts quote what came in, cut at a byte count: what is no UTF-8 any more is replaced, not thrown over.
std::string print(const nlohmann::json& value);

}  // namespace microseg::cnm::wire
