// Policy source text -> tokens.
#pragma once

#include <string>
#include <string_view>

namespace microseg::policy {

struct Token {
  enum class Kind {
    word,    // [A-Za-z0-9_./-]+ up to "->"
    quoted,  // "..."; value holds what the quotes mean
    arrow,
    colon,
    comma,
    equals,
    differs,
    bang,
    open,
    close,
    semicolon,
    newline,
    end,  // what ends a statement
    bad,  // nothing the language knows; value says what is wrong, or is empty for a stray character
  } kind = Kind::end;
  std::string_view text;  // as written
  std::string value;      // of word and quoted; of bad, the complaint
  std::size_t at = 0;     // byte offset in the source

  bool is(Kind k) const { return kind == k; }
  bool is_word(std::string_view w) const { return kind == Kind::word && text == w; }
  bool ends_statement() const { return is(Kind::semicolon) || is(Kind::newline) || is(Kind::end); }
  // For "found ...": what was written, or "the end of the line".
  std::string shown() const;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  // The next token, not yet taken.
  const Token& peek();
  Token take();
  // Takes "ADDRESS/LENGTH" if that is what stands here: an IPv6 address is not one token to anybody else.
  std::string_view take_cidr();

 private:
  void skip_blanks();
  Token scan();
  Token scan_quoted();

  std::string_view text_;
  std::size_t at_ = 0;
  Token next_;
  bool peeked_ = false;
};

bool is_word_char(char c);

// Where byte `at` is, for people: both from 1, the column in characters.
struct Position {
  std::size_t line = 1, column = 1;
};
Position position_of(std::string_view text, std::size_t at);

// The offset of the first byte that policy text can not hold (a control character, or no UTF-8), or npos.
std::size_t find_unprintable(std::string_view text);

// `s` in single quotes, cut after 40 characters.
std::string in_quotes(std::string_view s);

}  // namespace microseg::policy
