#include "words.h"

#include <algorithm>

#include "lexer.h"
#include "microseg/policy/policy.h"

namespace microseg::policy {

bool is_name(std::string_view s) {
  return !s.empty() && s.size() <= 255 && std::ranges::all_of(s, is_word_char) && s.find('/') == s.npos;
}

bool is_reserved(std::string_view s) { return s == "any" || s == "world" || s == "host"; }

bool is_plain_name(std::string_view s) {
  if (!is_name(s) || is_reserved(s)) return false;
  if (s[0] == '_' || s[0] == '.' || s[0] == '-') return false;
  return !Ip::parse(s);
}

bool is_plain_label(std::string_view s) { return !s.empty() && std::ranges::all_of(s, is_word_char); }

}  // namespace microseg::policy
