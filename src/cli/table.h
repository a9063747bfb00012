// Text for people: columns, durations, and names that came from outside made harmless.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace microseg::cli {

using Row = std::vector<std::string>;

// Left-aligned columns, two spaces or more apart, no spaces at the ends of lines. The first row is the heading.
std::string table(const std::vector<Row>& rows);

// "4 seconds", "3 minutes", "26 hours", "12 days"; "" for 0, which means never. A clock that runs ahead: "0 seconds".
std::string since(std::int64_t then_ms, std::int64_t now_ms);

// Container names, labels and policy texts may hold terminal escapes: control characters become '?'. Newlines and tabs
// stay where `multiline`.
std::string printable(std::string_view text, bool multiline = false);

// Every line of `text` behind two spaces, each ended; "" stays "".
std::string indented(std::string_view text);

}  // namespace microseg::cli
