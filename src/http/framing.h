// Where a request's body begins and ends, decided before any of it is read. Stricter than the HTTP library, which
// takes a garbled length for 0 and the body for the next request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace microseg::http {

struct FramingHeaders {
  std::vector<std::string> content_length, transfer_encoding, content_encoding;  // all values of each header
};

struct Refused {
  int status;
  std::string why;
};

// Only digits, and fits; no sign, no space.
std::optional<std::uint64_t> parse_length(std::string_view s);

// Nothing when the body can be read. Answered otherwise: 400 unclear length, 411/413/415 as HTTP names them.
std::optional<Refused> check_framing(std::string_view method, const FramingHeaders& headers, std::size_t max_body);

}  // namespace microseg::http
