// Tokens -> Policy, by recursive descent: one function for each rule of the grammar in policy.h.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "lexer.h"
#include "microseg/policy/policy.h"
#include "sorted.h"
#include "words.h"

namespace microseg::policy {
namespace {

using Kind = Token::Kind;

constexpr std::string_view kPeer = "a peer: a service's name, 'any', '{label, ...}', 'world', 'host' or a CIDR";
constexpr std::string_view kCidr = "a CIDR such as 192.0.2.0/24 or 2001:db8::/32";
constexpr std::string_view kItem = "a port, a range of ports or 'icmp'";

class Parser {
 public:
  Parser(std::string_view text, std::string_view origin) : text_(text), origin_(origin), lexer_(text) {}

  Result<Policy> policy() {
    Policy out;
    for (; !lexer_.peek().is(Kind::end);) {
      if (lexer_.peek().ends_statement()) {
        (void)lexer_.take();
        continue;
      }
      if (out.statements.size() == kMaxStatements)
        return error(lexer_.peek().at, fmt::format("one source holds at most {} statements", kMaxStatements));
      MS_TRY(auto statement, this->statement());
      out.statements.push_back(std::move(statement));
    }
    return out;
  }

 private:
  Error error(std::size_t at, std::string_view what) const {
    const auto where = position_of(text_, at);
    return {Errc::invalid, 0, fmt::format("{}, line {}, column {}: {}", origin_, where.line, where.column, what)};
  }

  Error expected(std::string_view what) {
    const auto& found = lexer_.peek();
    if (found.is(Kind::bad) && !found.value.empty()) return error(found.at, found.value);
    return error(found.at, fmt::format("expected {}, found {}", what, found.shown()));
  }

  // As position_of, for offsets that only grow.
  std::size_t line_of(std::size_t at) {
    for (; counted_ < at; ++counted_) line_ += text_[counted_] == '\n';
    return line_;
  }

  Result<Statement> statement() {
    Statement out;
    out.origin = fmt::format("{}, line {}", origin_, line_of(lexer_.peek().at));
    if (lexer_.peek().is_word("deny"))
      out.action = Statement::Action::deny;
    else if (!lexer_.peek().is_word("allow"))
      return expected("'allow' or 'deny'");
    const auto verb = lexer_.take();
    MS_TRY(out.from, peer(fmt::format("'{}'", verb.text)));
    if (!lexer_.peek().is(Kind::arrow)) return expected("'->' after the first peer");
    (void)lexer_.take();
    const auto second = lexer_.peek().at;
    MS_TRY(out.to, peer("'->'"));
    if (!out.from.is_endpoint() && !out.to.is_endpoint())
      return error(second, fmt::format("{} -> {} has no endpoint of the network: one of the two must be a service's "
                                       "name, 'any' or '{{label, ...}}'",
                                       in_quotes(out.from.str()), in_quotes(out.to.str())));
    if (lexer_.peek().is(Kind::colon)) {
      MS_TRY(out.ports, items());
      if (!lexer_.peek().ends_statement()) return expected("',' or the end of the statement");
    } else if (!lexer_.peek().ends_statement()) {
      return expected("':' or the end of the statement after the second peer");
    }
    return out;
  }

  Result<Peer> peer(std::string_view after) {
    if (auto cidr = lexer_.take_cidr(); !cidr.empty()) return cidr_peer(Prefix::parse(cidr).value().network());
    if (lexer_.peek().is(Kind::open)) {
      MS_TRY(auto selector, this->selector());
      return Peer{Peer::Kind::selector, {}, std::move(selector), {}};
    }
    const auto& token = lexer_.peek();
    if (token.is(Kind::quoted)) {
      if (!is_name(token.value))
        return expected("a service's name of 1 to 255 letters, digits, '_', '.' and '-' in quotes");
      return Peer{Peer::Kind::name, lexer_.take().value, {}, {}};
    }
    if (!token.is(Kind::word)) return expected(fmt::format("{} after {}", kPeer, after));
    if (is_reserved(token.text)) return reserved_peer();
    if (!is_plain_name(token.text)) return not_a_name(after);
    return Peer{Peer::Kind::name, lexer_.take().value, {}, {}};
  }

  Peer reserved_peer() {
    const auto token = lexer_.take();
    if (token.text == "any") return {};
    return {token.text == "world" ? Peer::Kind::world : Peer::Kind::host, {}, {}, {}};
  }

  Error not_a_name(std::string_view after) {
    const auto& token = lexer_.peek();
    if (Ip::parse(token.text))
      return error(token.at, fmt::format("expected {} after {}, found the address {}: one address is written {}/{}; "
                                         "a service that is called so is written in double quotes",
                                         kPeer, after, token.shown(), token.text, Ip::parse(token.text)->bits()));
    if (is_name(token.text))
      return error(token.at, fmt::format("expected {} after {}, found {}: a name that does not begin with a letter or "
                                         "digit is written in double quotes",
                                         kPeer, after, token.shown()));
    return expected(fmt::format("{} after {}", kPeer, after));
  }

  Result<Peer> cidr_peer(Prefix whole) {
    Peer out{Peer::Kind::cidr, {}, {}, whole};
    if (!lexer_.peek().is_word("except")) return out;
    do {
      const auto before = lexer_.take();  // 'except' or ','
      const auto at = lexer_.peek().at;
      if (out.except.size() == kMaxExcept)
        return error(at, fmt::format("one CIDR holds at most {} exceptions", kMaxExcept));
      const auto text = lexer_.take_cidr();
      if (text.empty()) return expected(fmt::format("{} after '{}'", kCidr, before.text));
      const auto part = Prefix::parse(text).value().network();
      if (part.length() < whole.length() || !whole.contains(part.ip()))
        return error(at, fmt::format("exception {} is not inside {}", part.str(), whole.str()));
      out.except.push_back(part);
    } while (lexer_.peek().is(Kind::comma));
    sort_unique(out.except);
    return out;
  }

  Result<Selector> selector() {
    (void)lexer_.take();  // '{'
    Selector out;
    for (;;) {
      if (out.terms.size() == kMaxTerms)
        return error(lexer_.peek().at, fmt::format("one selector holds at most {} labels", kMaxTerms));
      MS_TRY(auto term, this->term());
      out.terms.push_back(std::move(term));
      if (!lexer_.peek().is(Kind::comma)) break;
      (void)lexer_.take();
    }
    if (!lexer_.peek().is(Kind::close)) {
      const auto& last = out.terms.back();
      if (last.op == Term::Op::present)
        return expected(fmt::format("'=', '!=', ',' or '}}' after label {}", in_quotes(last.key)));
      return expected("',' or '}'");
    }
    (void)lexer_.take();
    sort_unique(out.terms, [](const Term& a, const Term& b) {
      return std::tie(a.key, a.op, a.value) < std::tie(b.key, b.op, b.value);
    });
    return out;
  }

  Result<Term> term() {
    Term out;
    if (lexer_.peek().is(Kind::bang)) {
      (void)lexer_.take();
      out.op = Term::Op::absent;
      MS_TRY(out.key, key("a label's key after '!'"));
      return out;
    }
    MS_TRY(out.key, key("a label's key"));
    if (lexer_.peek().is(Kind::equals))
      out.op = Term::Op::equals;
    else if (lexer_.peek().is(Kind::differs))
      out.op = Term::Op::differs;
    else
      return out;
    const auto op = lexer_.take();
    MS_TRY(out.value, label(fmt::format("a label's value after '{}'", op.text)));
    return out;
  }

  Result<std::string> key(std::string_view what) {
    if (lexer_.peek().text == "\"\"") return error(lexer_.peek().at, "a label's key can not be empty");
    return label(what);
  }

  Result<std::string> label(std::string_view what) {
    if (!lexer_.peek().is(Kind::word) && !lexer_.peek().is(Kind::quoted)) return expected(what);
    return lexer_.take().value;
  }

  Result<std::vector<PortItem>> items() {
    std::vector<PortItem> out;
    do {
      (void)lexer_.take();  // ':' or ','
      if (out.size() == kMaxItems)
        return error(lexer_.peek().at, fmt::format("one statement holds at most {} ports and ranges", kMaxItems));
      MS_TRY(auto item, this->item());
      out.push_back(item);
    } while (lexer_.peek().is(Kind::comma));
    sort_unique(out);
    return out;
  }

  Result<PortItem> item() {
    if (!lexer_.peek().is(Kind::word)) return expected(kItem);
    const auto token = lexer_.peek();
    PortItem out;
    if (token.text == "icmp") {
      out = {kIcmp, 0, 65535};
    } else {
      const auto slash = token.text.find('/');
      const auto ports = token.text.substr(0, slash);
      if (slash != token.text.npos) {
        MS_TRY(out.protocol, protocol(token, token.text.substr(slash)));
      }
      const auto dash = ports.find('-');
      MS_TRY(out.first, port(token, ports.substr(0, dash)));
      out.last = out.first;
      if (dash != ports.npos) {
        MS_TRY(out.last, port(token, ports.substr(dash + 1)));
      }
      if (out.first > out.last)
        return error(token.at, fmt::format("range {} is reversed: write {}-{}", ports, out.last, out.first));
    }
    (void)lexer_.take();
    return out;
  }

  Result<std::uint8_t> protocol(const Token& token, std::string_view suffix) const {
    if (suffix == "/tcp") return kTcp;
    if (suffix == "/udp") return kUdp;
    if (suffix == "/sctp") return kSctp;
    if (suffix == "/icmp" || token.text.starts_with("icmp"))
      return error(token.at, fmt::format("icmp has no ports: write 'icmp' instead of {}", token.shown()));
    return error(token.at, fmt::format("expected '/tcp', '/udp' or '/sctp' after a port, found {}", in_quotes(suffix)));
  }

  Result<std::uint16_t> port(const Token& token, std::string_view digits) const {
    const bool number = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
    if (!number && token.text.starts_with("icmp"))
      return error(token.at, fmt::format("icmp has no ports: write 'icmp' instead of {}", token.shown()));
    if (!number) return error(token.at, fmt::format("expected {}, found {}", kItem, token.shown()));
    unsigned value = 0;
    const auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (bad != std::errc() || value < 1 || value > 65535)
      return error(token.at, fmt::format("expected a port from 1 to 65535, found {}", in_quotes(digits)));
    return static_cast<std::uint16_t>(value);
  }

  std::string_view text_, origin_;
  Lexer lexer_;
  std::size_t counted_ = 0, line_ = 1;
};

}  // namespace

Result<Policy> parse(std::string_view text, std::string_view origin) {
  if (text.size() > kMaxText)
    return Error{Errc::invalid, 0,
                 fmt::format("{}: {} bytes of policy, at most {} fit", origin, text.size(), kMaxText)};
  if (const auto at = find_unprintable(text); at != text.npos) {
    const auto where = position_of(text, at);
    return Error{
        Errc::invalid, 0,
        fmt::format("{}, line {}, column {}: expected UTF-8 text without control characters, found byte 0x{:02x}",
                    origin, where.line, where.column, static_cast<unsigned char>(text[at]))};
  }
  return Parser(text, origin).policy();
}

Policy merge(std::vector<Policy> parts) {
  Policy out;
  for (auto& part : parts)
    out.statements.insert(out.statements.end(), std::make_move_iterator(part.statements.begin()),
                          std::make_move_iterator(part.statements.end()));
  return out;
}

}  // namespace microseg::policy
