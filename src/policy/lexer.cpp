#include "lexer.h"

#include "microseg/addr/addr.h"

namespace microseg::policy {
namespace {

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

// The length of the UTF-8 character at the start of `s`, 0 if there is none (RFC 3629, section 4).
std::size_t character(std::string_view s) {
  auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  auto tail = [&](std::size_t i) { return byte(i) >= 0x80U && byte(i) <= 0xbfU; };
  const unsigned a = byte(0), b = byte(1);
  if (a < 0x80U) return 1;
  if (a >= 0xc2U && a <= 0xdfU) return tail(1) ? 2 : 0;
  if (a >= 0xe0U && a <= 0xefU) {
    const bool ok = b >= (a == 0xe0U ? 0xa0U : 0x80U) && b <= (a == 0xedU ? 0x9fU : 0xbfU);
    return ok && tail(2) ? 3 : 0;
  }
  if (a >= 0xf0U && a <= 0xf4U) {
    const bool ok = b >= (a == 0xf0U ? 0x90U : 0x80U) && b <= (a == 0xf4U ? 0x8fU : 0xbfU);
    return ok && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_word_char(char c) { return is_alnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; }

Position position_of(std::string_view text, std::size_t at) {
  Position where;
  for (char c : text.substr(0, at)) {
    if (c == '\n')
      where = {where.line + 1, 1};
    else if (!is_continuation(c))
      ++where.column;
  }
  return where;
}

std::size_t find_unprintable(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    const bool blank = c == '\n' || c == '\r' || c == '\t';
    const auto length = character(text.substr(at));
    if (length == 0 || (c < 0x20U && !blank) || c == 0x7fU) return at;
    at += length;
  }
  return text.npos;
}

std::string in_quotes(std::string_view s) {
  constexpr std::size_t kShown = 40;
  if (s.size() <= kShown) return "'" + std::string(s) + "'";
  auto cut = kShown;
  while (cut > 0 && is_continuation(s[cut])) --cut;
  return "'" + std::string(s.substr(0, cut)) + "...'";
}

std::string Token::shown() const {
  if (is(Kind::newline)) return "the end of the line";
  if (is(Kind::end)) return "the end of the text";
  return in_quotes(text);
}

const Token& Lexer::peek() {
  if (!peeked_) next_ = scan();
  peeked_ = true;
  return next_;
}

Token Lexer::take() {
  (void)peek();
  peeked_ = false;
  return std::move(next_);
}

std::string_view Lexer::take_cidr() {
  const auto start = peek().at;
  auto at = start;
  auto is_address = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
  };
  while (at < text_.size() && is_address(text_[at])) ++at;
  if (at == text_.size() || text_[at] != '/') return {};
  ++at;
  while (at < text_.size() && is_digit(text_[at])) ++at;
  const bool word_goes_on = at < text_.size() && is_word_char(text_[at]) && text_.substr(at, 2) != "->";
  const auto cidr = text_.substr(start, at - start);
  if (word_goes_on || !Prefix::parse(cidr)) return {};
  at_ = at;
  peeked_ = false;
  return cidr;
}

void Lexer::skip_blanks() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '#')
      at_ = std::min(text_.find('\n', at_), text_.size());
    else if (c == ' ' || c == '\t' || c == '\r')
      ++at_;
    else
      return;
  }
}

Token Lexer::scan() {
  using Kind = Token::Kind;
  skip_blanks();
  const auto start = at_;
  auto token = [&](Kind kind, std::size_t length) {
    at_ = start + length;
    return Token{kind, text_.substr(start, length), {}, start};
  };
  if (start == text_.size()) return token(Kind::end, 0);
  if (text_.substr(start, 2) == "->") return token(Kind::arrow, 2);
  if (text_.substr(start, 2) == "!=") return token(Kind::differs, 2);
  switch (text_[start]) {
    case '\n': return token(Kind::newline, 1);
    case ';': return token(Kind::semicolon, 1);
    case ':': return token(Kind::colon, 1);
    case ',': return token(Kind::comma, 1);
    case '=': return token(Kind::equals, 1);
    case '!': return token(Kind::bang, 1);
    case '{': return token(Kind::open, 1);
    case '}': return token(Kind::close, 1);
    case '"': return scan_quoted();
    default: break;
  }
  auto end = start;
  while (end < text_.size() && is_word_char(text_[end]) && text_.substr(end, 2) != "->") ++end;
  if (end == start) return token(Kind::bad, character(text_.substr(start)));
  auto word = token(Kind::word, end - start);
  word.value = word.text;
  return word;
}

Token Lexer::scan_quoted() {
  using Kind = Token::Kind;
  Token token{Kind::quoted, {}, {}, at_};
  for (auto at = at_ + 1; at < text_.size() && text_[at] != '\n'; ++at) {
    if (text_[at] == '"') {
      token.text = text_.substr(at_, at + 1 - at_);
      at_ = at + 1;
      return token;
    }
    if (text_[at] == '\\') {
      const char escaped = at + 1 < text_.size() ? text_[at + 1] : '\n';
      if (escaped != '"' && escaped != '\\')
        return {Kind::bad, text_.substr(at, 1), "expected \\\" or \\\\ after a backslash in quotes", at};
      ++at;
    }
    token.value += text_[at];
  }
  return {Kind::bad, text_.substr(at_, 1), "expected a closing '\"' before the end of the line", at_};
}

}  // namespace microseg::policy
