// Structs <-> JSON with one list of fields for both directions, so that what is written is what is read:
//
//   void fields(auto& io, Of<model::Block> auto& block) { io("numbering", block.numbering); io("retired_ms", ...); }
//
// Reading is strict where a mistake would change a meaning and lenient where versions differ: a field that an older
// microseg did not write keeps its default; a field that this one does not know is refused, as it may restrict what
// the known ones allow. An absent optional is an absent field; null is never written and never accepted.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "microseg/base/result.h"

namespace microseg::store {

using Json = nlohmann::json;

// T or const T: lets one list of fields serve the reader and the writer.
template <class S, class T>
concept Of = std::same_as<std::remove_const_t<S>, T>;

// Types that are text with a parser: ids, addresses.
template <class T>
concept Parsed = requires(const T& value) {
  { T::parse(std::string_view{}) } -> std::same_as<Result<T>>;
  { value.str() } -> std::convertible_to<std::string>;
};

// The durable names of an enum's values, in order: specialise with `static constexpr const char* names[]`.
template <class E>
struct EnumNames;

// A value to read into, for types without a default constructor: specialise where T{} does not exist.
template <class T>
struct Blank {
  static T make() { return T{}; }
};

// ---- reading ----

class Reader {
 public:
  // `where` is the path of `object` in the row, "" at its top.
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) fail(where_, "expected an object");
  }

  template <class T>
  void operator()(const char* name, T& out) {
    known_.emplace_back(name);
    if (error_) return;
    auto it = object_.find(name);
    if (it != object_.end()) take(*it, path(name), out);
  }

  // For what has no sensible default.
  template <class T>
  void required(const char* name, T& out) {
    if (!error_ && !object_.contains(name)) fail(path(name), "is missing");
    (*this)(name, out);
  }

  // For lists that came later: an absent one is empty, and an empty one is not written.
  template <class T>
  void later(const char* name, std::vector<T>& out) {
    (*this)(name, out);
  }

  // The first error; else refuses fields that nobody asked for.
  Status done() {
    if (error_) return *error_;
    for (const auto& [name, value] : object_.items())
      if (std::find(known_.begin(), known_.end(), name) == known_.end())
        return Error{Errc::invalid, 0, "unknown field '" + path(name) + "': a newer microseg wrote it"};
    return {};
  }

 private:
  std::string path(const std::string& name) const { return where_.empty() ? name : where_ + "." + name; }

  void fail(const std::string& at, const std::string& what) {
    if (!error_) error_ = Error{Errc::invalid, 0, (at.empty() ? "row" : at) + ": " + what};
  }

  void take(const Json& json, const std::string& at, bool& out) {
    if (!json.is_boolean()) return fail(at, "expected true or false");
    out = json.get<bool>();
  }

  void take(const Json& json, const std::string& at, std::string& out) {
    if (!json.is_string()) return fail(at, "expected text");
    out = json.get_ref<const std::string&>();
  }

  template <std::integral T>
  void take(const Json& json, const std::string& at, T& out) {
    if (json.is_number_unsigned() && std::in_range<T>(json.get<std::uint64_t>())) {
      out = static_cast<T>(json.get<std::uint64_t>());
    } else if (json.is_number_integer() && !json.is_number_unsigned() && std::in_range<T>(json.get<std::int64_t>())) {
      out = static_cast<T>(json.get<std::int64_t>());
    } else {
      fail(at, "expected a whole number from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                   std::to_string(std::numeric_limits<T>::max()));
    }
  }

  template <class E>
  requires std::is_enum_v<E>
  void take(const Json& json, const std::string& at, E& out) {
    int value = 0;
    for (const char* name : EnumNames<E>::names) {
      if (json == name) {
        out = static_cast<E>(value);
        return;
      }
      ++value;
    }
    std::string all;
    for (const char* name : EnumNames<E>::names) all += (all.empty() ? "" : ", ") + std::string(name);
    fail(at, "expected one of " + all);
  }

  template <Parsed T>
  void take(const Json& json, const std::string& at, T& out) {
    if (!json.is_string()) return fail(at, "expected text");
    auto value = T::parse(json.get_ref<const std::string&>());
    if (!value) return fail(at, value.error().text);
    out = std::move(value).value();
  }

  template <class T>
  void take(const Json& json, const std::string& at, std::optional<T>& out) {
    T value = Blank<T>::make();
    take(json, at, value);
    out = std::move(value);
  }

  template <class T>
  void take(const Json& json, const std::string& at, std::vector<T>& out) {
    if (!json.is_array()) return fail(at, "expected a list");
    for (std::size_t i = 0; i < json.size(); ++i) {
      T value = Blank<T>::make();
      take(json[i], at + "[" + std::to_string(i) + "]", value);
      out.push_back(std::move(value));
    }
  }

  void take(const Json& json, const std::string& at, std::map<std::string, std::string>& out) {
    if (!json.is_object()) return fail(at, "expected an object");
    for (const auto& [key, value] : json.items()) take(value, at + "." + key, out[key]);
  }

  template <class T>
  requires requires(Reader& reader, T& value) { fields(reader, value); }
  void take(const Json& json, const std::string& at, T& out) {
    Reader nested(json, at);
    fields(nested, out);
    if (auto status = nested.done(); !status && !error_) error_ = status.error();
  }

  const Json& object_;
  std::string where_;
  std::vector<std::string> known_;
  std::optional<Error> error_;
};

// ---- writing ----

class Writer {
 public:
  template <class T>
  void operator()(const char* name, const T& value) {
    object_[name] = put(value);
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>& value) {
    if (value) object_[name] = put(*value);
  }
  template <class T>
  void required(const char* name, const T& value) {
    (*this)(name, value);
  }

  template <class T>
  void later(const char* name, const std::vector<T>& values) {
    if (!values.empty()) (*this)(name, values);
  }

  Json take() { return std::move(object_); }

 private:
  template <class T>
  requires std::integral<T> || std::same_as<T, std::string> || std::same_as<T, std::map<std::string, std::string>>
  static Json put(const T& value) { return value; }

  template <class E>
  requires std::is_enum_v<E>
  static Json put(const E& value) { return EnumNames<E>::names[static_cast<std::size_t>(value)]; }

  template <Parsed T>
  static Json put(const T& value) {
    return std::string(value.str());
  }

  template <class T>
  static Json put(const std::vector<T>& values) {
    Json list = Json::array();
    for (const auto& value : values) list.push_back(put(value));
    return list;
  }

  template <class T>
  requires requires(Writer& writer, const T& value) { fields(writer, value); }
  static Json put(const T& value) {
    Writer nested;
    fields(nested, value);
    return nested.take();
  }

  Json object_ = Json::object();
};

}  // namespace microseg::store
