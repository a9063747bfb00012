#include "json.h"

namespace microseg::cnm::wire {

using nlohmann::json;

namespace {

// Docker's own requests nest 5 deep. The limit keeps work that recurses over a body (printing, comparing) shallow.
constexpr int kMaxDepth = 32;

}  // namespace

Error invalid(std::string text) { return {Errc::invalid, 0, std::move(text)}; }

Result<json> parse_object(const std::string& body) {
  bool too_deep = false;
  auto watch = [&](int depth, json::parse_event_t event, json&) {
    const bool opens = event == json::parse_event_t::object_start || event == json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth) too_deep = true;
    return !too_deep;
  };
  json parsed;
  try {
    parsed = json::parse(body, watch);
  } catch (const json::parse_error& e) {
    return invalid("the body is not JSON: syntax error at byte " + std::to_string(e.byte));
  } catch (const json::exception&) {
    return invalid("the body is not JSON: a number is out of range");
  }
  if (too_deep) return invalid("the body nests more than " + std::to_string(kMaxDepth) + " levels deep");
  if (!parsed.is_object()) return invalid(std::string("the body: expected an object, got ") + parsed.type_name());
  return parsed;
}

const json* find(const json& object, const std::string& key) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Error wrong_type(const std::string& name, const char* expected, const json* value) {
  return invalid(name + ": expected " + expected + ", got " + (value ? value->type_name() : "nothing"));
}

Result<std::string> text(const json& object, const std::string& key, const std::string& name) {
  const json* value = find(object, key);
  if (!value || !value->is_string()) return wrong_type(name, "text", value);
  return value->get_ref<const std::string&>();
}

Result<std::string> optional_text(const json& object, const std::string& key, const std::string& name) {
  if (!find(object, key)) return std::string();
  return text(object, key, name);
}

Result<const json*> optional_object(const json& object, const std::string& key, const std::string& name) {
  const json* value = find(object, key);
  if (value && !value->is_object()) return wrong_type(name, "an object", value);
  return value;
}

Result<model::Options> string_map(const json& object, const std::string& key, const std::string& name) {
  MS_TRY(auto map, optional_object(object, key, name));
  model::Options options;
  if (!map) return options;
  for (auto& [k, v] : map->items()) {
    if (!v.is_string()) return wrong_type(name + "." + k, "text", &v);
    options.emplace(k, v.get<std::string>());
  }
  return options;
}

std::string print(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace microseg::cnm::wire
