#include "microseg/kstate/nft.h"

#include <arpa/inet.h>

#include <cstdio>
#include <cstring>

#include "microseg/addr/addr.h"
#include "microseg/base/overload.h"

namespace microseg::kstate {
namespace {

unsigned padded(unsigned length) { return (length + 3) / 4 * 4; }

std::uint32_t host32(const Bytes& b) {
  std::uint32_t v = 0;
  std::memcpy(&v, b.data(), sizeof v);
  return v;
}

std::string hex(const Bytes& b) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out = "0x";
  for (unsigned char c : b) {
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

std::string field_text(Field field, const Bytes& b) {
  auto byte = [&](unsigned i) { return static_cast<unsigned char>(b[i]); };
  switch (field) {
    case Field::ifname: return b.c_str();
    case Field::ipv4: return Ip::v4({byte(0), byte(1), byte(2), byte(3)}).str();
    case Field::ipv6: {
      std::array<std::uint8_t, 16> raw{};
      std::memcpy(raw.data(), b.data(), raw.size());
      return Ip::v6(raw).str();
    }
    case Field::mark: return std::to_string(host32(b));
    case Field::number: return std::to_string(ntohl(host32(b)));
    case Field::protocol: return std::to_string(byte(0));
    case Field::port: return std::to_string(byte(0) * 256 + byte(1));
    case Field::index: return std::to_string(host32(b));
    case Field::mac: {
      char out[18];
      (void)std::snprintf(out, sizeof out, "%02x:%02x:%02x:%02x:%02x:%02x", byte(0), byte(1), byte(2), byte(3), byte(4),
                          byte(5));
      return out;
    }
  }
  return {};
}

std::string reg(unsigned n) { return "r" + std::to_string(n); }

constexpr const char* kMetaNames[] = {"mark", "iifname", "oifname", "l4proto", "nfproto", "priority", "iif",
                                      "oif",  "protocol"};
constexpr const char* kBaseNames[] = {"nh", "th", "ll"};
constexpr const char* kCtNames[] = {"state",           "direction",       "mark",           "original ip saddr",
                                    "original ip daddr", "original ip6 saddr", "original ip6 daddr", "status",
                                    "reply ip saddr", "reply ip6 saddr", "protocol", "original proto-dst"};

std::string text(const Expr& expr) {
  return std::visit(
      Overload{
          [](const Meta& e) { return reg(e.to) + " = meta " + kMetaNames[static_cast<int>(e.key)]; },
          [](const SetMeta& e) {
            return std::string("meta ") + kMetaNames[static_cast<int>(e.key)] + " = " + reg(e.from);
          },
          [](const Ct& e) { return reg(e.to) + " = ct " + kCtNames[static_cast<int>(e.key)]; },
          [](const SetCtMark& e) { return "ct mark = " + reg(e.from); },
          [](const Payload& e) {
            return reg(e.to) + " = " + kBaseNames[static_cast<int>(e.base)] + "[" + std::to_string(e.offset) + "," +
                   std::to_string(e.length) + "]";
          },
          [](const ReturnRoute& e) { return reg(e.to) + " = fib saddr . iif oif"; },
          [](const Cmp& e) { return reg(e.reg) + (e.equal ? " == " : " != ") + hex(e.value); },
          [](const Mask& e) { return reg(e.to) + " = " + reg(e.from) + " & " + hex(e.mask) + " ^ " + hex(e.flip); },
          [](const Shift& e) {
            return reg(e.to) + " = " + reg(e.from) + (e.by < 0 ? " >> " : " << ") + std::to_string(e.by < 0 ? -e.by : e.by);
          },
          [](const ToNetworkOrder& e) { return reg(e.to) + " = hton " + reg(e.from); },
          [](const Load& e) { return reg(e.to) + " = " + hex(e.value); },
          [](const Lookup& e) {
            return (e.to ? reg(*e.to) + " = " : std::string()) + reg(e.from) + (e.inverted ? " not in @" : " in @") + e.set;
          },
          [](const Count& e) { return "counter " + e.counter; },
          [](const Verdict& e) -> std::string {
            switch (e.kind) {
              case Verdict::Kind::accept: return "accept";
              case Verdict::Kind::drop: return "drop";
              case Verdict::Kind::jump: return "jump " + e.chain;
              case Verdict::Kind::go: return "goto " + e.chain;
            }
            return {};
          },
          [](const Reject& e) -> std::string {
            return e.kind == Reject::Kind::tcp_reset ? "reject with tcp reset" : "reject with icmpx admin-prohibited";
          },
          [](const Foreign& e) { return "?" + e.name; },
      },
      expr);
}

}  // namespace

unsigned length_of(Field field) {
  switch (field) {
    case Field::ifname: case Field::ipv6: return 16;
    case Field::ipv4: case Field::mark: case Field::number: case Field::index: return 4;
    case Field::protocol: return 1;
    case Field::port: return 2;
    case Field::mac: return 6;
  }
  return 0;
}

Elements make_elements(std::set<Element> elements) {
  return std::make_shared<const std::set<Element>>(std::move(elements));
}

bool Set::operator==(const Set& other) const {
  return type == other.type && (elements == other.elements || *elements == *other.elements);
}

std::string to_text(const SetType& type, const Element& element) {
  std::string out;
  unsigned at = 0;
  for (auto field : type.key) {
    if (!out.empty()) out += " . ";
    auto first = element.key.substr(at, length_of(field));
    out += field_text(field, first);
    if (!element.key_end.empty()) {
      auto last = element.key_end.substr(at, length_of(field));
      if (last != first) out += "-" + field_text(field, last);
    }
    at += padded(length_of(field));
  }
  if (type.data) out += " : " + field_text(*type.data, element.data);
  return out;
}

std::string to_text(const Rule& rule) {
  std::string out;
  for (auto& expr : rule) out += (out.empty() ? "" : "; ") + text(expr);
  return out;
}

Bytes bytes_of_ifname(const std::string& name) {
  Bytes b(16, '\0');
  name.copy(b.data(), 15);
  return b;
}

Bytes bytes_of_mark(std::uint32_t value) {
  Bytes b(4, '\0');
  std::memcpy(b.data(), &value, 4);
  return b;
}

Bytes bytes_of_index(std::uint32_t value) { return bytes_of_mark(value); }

Bytes bytes_of_number(std::uint32_t value) { return bytes_of_mark(htonl(value)); }

Bytes bytes_of_protocol(std::uint8_t value) { return {static_cast<char>(value), 0, 0, 0}; }

Bytes bytes_of_port(std::uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff), 0, 0};
}

}  // namespace microseg::kstate
