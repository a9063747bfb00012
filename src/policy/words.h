// Which words need quotes; shared by what reads and what prints them.
#pragma once

#include <string_view>

namespace microseg::policy {

// A NAME that can stand without quotes.
bool is_plain_name(std::string_view s);
// A label's key or value that can stand without quotes.
bool is_plain_label(std::string_view s);
// "any", "world", "host": in quotes they are names like others.
bool is_reserved(std::string_view s);

}  // namespace microseg::policy
