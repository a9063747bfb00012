// What comes in with an admin request beside the path: query parameters, ports, policy texts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "microseg/base/result.h"

namespace microseg::api {

// "from=web&to=10.5.0.3" -> {from: web, to: 10.5.0.3}; %XX and '+' are decoded, of a repeated key the last counts.
// invalid: a broken %-escape.
Result<std::map<std::string, std::string>> parse_query(std::string_view query);

struct PortArgument {
  std::uint8_t protocol;
  std::uint16_t port;  // 0 for ICMP
};
// "8080" (TCP), "8080/tcp", "53/udp", "7/sctp" or "icmp".
Result<PortArgument> parse_port(std::string_view text);

// The policy text in a PUT's body: {"text": "..."}, or the text itself; no policy starts with '{'. An empty body is
// refused: taking it for an empty policy would turn a request that lost its body into a removal.
Result<std::string> parse_policy_body(const std::string& body);

}  // namespace microseg::api
