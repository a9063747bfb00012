// Values of the policy language -> canonical source text.
#include <fmt/format.h>

#include "microseg/policy/policy.h"
#include "words.h"

namespace microseg::policy {
namespace {

std::string quoted(std::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string label_text(std::string_view s) { return is_plain_label(s) ? std::string(s) : quoted(s); }

std::string term_text(const Term& term) {
  const auto key = label_text(term.key);
  switch (term.op) {
    case Term::Op::equals: return key + "=" + label_text(term.value);
    case Term::Op::differs: return key + "!=" + label_text(term.value);
    case Term::Op::absent: return "!" + key;
    case Term::Op::present: break;
  }
  return key;
}

std::string_view suffix(std::uint8_t protocol) {
  switch (protocol) {
    case kUdp: return "/udp";
    case kSctp: return "/sctp";
    default: return "";
  }
}

}  // namespace

std::string Selector::str() const {
  std::string out;
  for (auto& term : terms) out += (out.empty() ? "" : ", ") + term_text(term);
  return "{" + out + "}";
}

std::string Peer::str() const {
  switch (kind) {
    case Kind::any: return "any";
    case Kind::name: return is_plain_name(name) ? name : quoted(name);
    case Kind::selector: return selector.str();
    case Kind::world: return "world";
    case Kind::host: return "host";
    case Kind::cidr: break;
  }
  auto out = cidr->str();
  const char* before = " except ";
  for (auto& part : except) {
    out += before + part.str();
    before = ", ";
  }
  return out;
}

std::string PortItem::str() const {
  if (protocol == kIcmp) return "icmp";
  if (first == last) return fmt::format("{}{}", first, suffix(protocol));
  return fmt::format("{}-{}{}", first, last, suffix(protocol));
}

std::string Statement::str() const {
  auto out = fmt::format("{} {} -> {}", action == Action::allow ? "allow" : "deny", from.str(), to.str());
  const char* before = " : ";
  for (auto& item : ports) {
    out += before + item.str();
    before = ", ";
  }
  return out;
}

std::string print(const Policy& policy) {
  std::string out;
  for (auto& statement : policy.statements) out += statement.str() + "\n";
  return out;
}

}  // namespace microseg::policy
