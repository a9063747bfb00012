#include "http/framing.h"

#include <charconv>

namespace microseg::http {
namespace {

bool same_word(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

}  // namespace

std::optional<std::uint64_t> parse_length(std::string_view s) {
  std::uint64_t n = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return n;
}

std::optional<Refused> check_framing(std::string_view method, const FramingHeaders& headers, std::size_t max_body) {
  const auto& length = headers.content_length;
  const auto& transfer = headers.transfer_encoding;
  if (length.size() > 1) return Refused{400, "more than one Content-Length header"};
  if (!transfer.empty() && !length.empty()) return Refused{400, "both Content-Length and Transfer-Encoding"};
  std::uint64_t size = 0;
  if (!length.empty()) {
    auto n = parse_length(length[0]);
    if (!n) return Refused{400, "Content-Length is not a number"};
    size = *n;
  }
  if (!transfer.empty() && (transfer.size() > 1 || !same_word(transfer[0], "chunked")))
    return Refused{400, "a Transfer-Encoding other than chunked"};
  for (const auto& encoding : headers.content_encoding)
    if (!same_word(encoding, "identity")) return Refused{415, "a Content-Encoding; send the body as it is"};
  const bool no_body = method == "GET" || method == "HEAD" || method == "OPTIONS";
  if (no_body && (size > 0 || !transfer.empty())) return Refused{400, std::string(method) + " with a body"};
  if (size > max_body)
    return Refused{413,
                   "a body of " + std::to_string(size) + " bytes; at most " + std::to_string(max_body) + " are taken"};
  return std::nullopt;
}

}  // namespace microseg::http
