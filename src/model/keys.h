// The keys `microseg.*` of driver options and labels.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace microseg::model {

inline constexpr std::string_view kOurs = "microseg.";
inline constexpr std::string_view kPolicyKey = "microseg.policy";
inline constexpr std::string_view kServiceKey = "microseg.service";

// ASCII letters in lower case: some ways through the docker CLI lower-case keys, so case never tells two apart.
std::string lower(std::string_view s);

// Whether `key`, in lower case, is microseg.policy or microseg.policy.ANYTHING.
bool is_policy_key(std::string_view key);

// The one of `known` that takes the fewest edits (insert, delete, replace, swap neighbours) to become; the first
// among equals.
std::string_view nearest(std::string_view key, std::span<const std::string_view> known);

// `s` in single quotes for an error, cut after 80 bytes, with control characters and what is not ASCII as \xNN.
std::string shown(std::string_view s);

}  // namespace microseg::model
