#include "query.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "microseg/addr/addr.h"

namespace microseg::api {
namespace {

Error invalid(std::string text) { return {Errc::invalid, 0, std::move(text)}; }

Result<std::string> percent_decoded(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '%') {
      out += s[i] == '+' ? ' ' : s[i];
      continue;
    }
    unsigned byte = 0;
    const auto digits = s.substr(i + 1, 2);
    auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || bad != std::errc() || end != digits.data() + 2)
      return invalid("query: '%' is not followed by two hex digits");
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

}  // namespace

Result<std::map<std::string, std::string>> parse_query(std::string_view query) {
  std::map<std::string, std::string> out;
  while (!query.empty()) {
    const auto part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part.empty()) continue;
    const auto equals = part.find('=');
    MS_TRY(auto key, percent_decoded(part.substr(0, equals)));
    MS_TRY(auto value, percent_decoded(equals == part.npos ? "" : part.substr(equals + 1)));
    out[key] = value;
  }
  return out;
}

Result<PortArgument> parse_port(std::string_view text) {
  const auto wrong =
      invalid("port: expected N, N/tcp, N/udp, N/sctp (N from 1 to 65535) or icmp, got '" + std::string(text) + "'");
  if (text == "icmp") return PortArgument{kIcmp, 0};
  const auto slash = text.find('/');
  const auto digits = text.substr(0, slash);
  const auto protocol = slash == text.npos ? "tcp" : text.substr(slash + 1);
  std::uint16_t port = 0;
  auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (bad != std::errc() || end != digits.data() + digits.size() || port == 0) return wrong;
  if (protocol == "tcp") return PortArgument{kTcp, port};
  if (protocol == "udp") return PortArgument{kUdp, port};
  if (protocol == "sctp") return PortArgument{kSctp, port};
  return wrong;
}

Result<std::string> parse_policy_body(const std::string& body) {
  using nlohmann::json;
  const auto first = body.find_first_not_of(" \t\r\n");
  if (body.empty()) return invalid(R"(empty body: send a policy, or {"text": ""} to apply an empty one)");
  if (first == std::string::npos || body[first] != '{') return body;
  const auto parsed = json::parse(body, nullptr, false);
  if (parsed.is_discarded()) return invalid(R"(the body starts like {"text": "..."} but is not JSON)");
  const auto text = parsed.find("text");
  if (text == parsed.end() || !text->is_string()) return invalid(R"(the body: expected {"text": "..."})");
  return text->get<std::string>();
}

}  // namespace microseg::api
