// Ids handed out by Docker. Made only by parse(), so holding one is proof that it is well formed.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "microseg/base/result.h"

namespace microseg {

// 1..64 of [a-z0-9]: 64 hex digits for local networks, endpoints and containers, 25 base-36 digits for
// swarm-scoped networks. The tag keeps a network's id from being passed where an endpoint's is meant.
template <class Tag>
class Id {
 public:
  static Result<Id> parse(std::string_view s) {
    if (s.empty() || s.size() > 64 ||
        s.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") != std::string_view::npos)
      return Error{Errc::invalid, 0, "not a Docker id: '" + std::string(s.substr(0, 80)) + "'"};
    return Id(s);
  }
  const std::string& str() const { return s_; }
  // The first 12 characters, as Docker shows ids to people; also what our links and mounts are named by.
  std::string brief() const { return s_.substr(0, 12); }
  auto operator<=>(const Id&) const = default;

 private:
  explicit Id(std::string_view s) : s_(s) {}
  std::string s_;
};

using NetworkId = Id<struct NetworkTag>;
using EndpointId = Id<struct EndpointTag>;

}  // namespace microseg
