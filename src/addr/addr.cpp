#include "microseg/addr/addr.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace microseg {
namespace {

std::string shown(std::string_view s) { return "'" + std::string(s.substr(0, 80)) + "'"; }

// Clears the bits of `bytes` from bit `from` on.
void clear_tail(std::span<std::uint8_t> bytes, unsigned from) {
  for (unsigned i = 0; i < bytes.size(); ++i) {
    unsigned first = i * 8;
    if (first >= from) bytes[i] = 0;
    else if (first + 8 > from) bytes[i] = static_cast<std::uint8_t>(bytes[i] & (0xff00U >> (from - first)));
  }
}

}  // namespace

Result<IfName> IfName::parse(std::string_view s) {
  bool ok = !s.empty() && s.size() <= 15 && s != "." && s != ".." &&
            s.find_first_of("/: \t\n\v\f\r") == s.npos && s.find('\0') == s.npos;
  if (!ok) return Error{Errc::invalid, 0, "not an interface name: '" + std::string(s.substr(0, 40)) + "'"};
  return IfName(s);
}

Ip Ip::v4(std::array<std::uint8_t, 4> bytes) {
  std::array<std::uint8_t, 16> all{};
  std::copy(bytes.begin(), bytes.end(), all.begin());
  return Ip(true, all);
}

Ip Ip::v6(std::array<std::uint8_t, 16> bytes) { return Ip(false, bytes); }

Result<Ip> Ip::parse(std::string_view s) {
  const std::string text(s);
  std::array<std::uint8_t, 4> four{};
  if (text.size() == s.size() && text.find('\0') == text.npos) {
    if (inet_pton(AF_INET, text.c_str(), four.data()) == 1) return v4(four);
    std::array<std::uint8_t, 16> sixteen{};
    if (inet_pton(AF_INET6, text.c_str(), sixteen.data()) == 1) return v6(sixteen);
  }
  return Error{Errc::invalid, 0, "not an IP address: " + shown(s)};
}

std::string Ip::str() const {
  char text[INET6_ADDRSTRLEN];
  inet_ntop(v4_ ? AF_INET : AF_INET6, bytes_.data(), text, sizeof text);
  return text;
}

std::strong_ordering Ip::operator<=>(const Ip& other) const {
  if (v4_ != other.v4_) return v4_ ? std::strong_ordering::less : std::strong_ordering::greater;
  return bytes_ <=> other.bytes_;
}

Result<Prefix> Prefix::parse(std::string_view s) {
  auto slash = s.find('/');
  if (slash == s.npos) return Error{Errc::invalid, 0, "not an address with a prefix length: " + shown(s)};
  auto ip = Ip::parse(s.substr(0, slash));
  auto digits = s.substr(slash + 1);
  unsigned length = 0;
  auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (!ip || digits.empty() || bad != std::errc() || end != digits.data() + digits.size() || length > ip->bits())
    return Error{Errc::invalid, 0, "not an address with a prefix length: " + shown(s)};
  return Prefix(ip.value(), length);
}

Prefix Prefix::network() const {
  if (ip_.is_v4()) {
    std::array<std::uint8_t, 4> bytes{};
    std::copy(ip_.bytes().begin(), ip_.bytes().end(), bytes.begin());
    clear_tail(bytes, length_);
    return Prefix(Ip::v4(bytes), length_);
  }
  std::array<std::uint8_t, 16> bytes{};
  std::copy(ip_.bytes().begin(), ip_.bytes().end(), bytes.begin());
  clear_tail(bytes, length_);
  return Prefix(Ip::v6(bytes), length_);
}

bool Prefix::contains(const Ip& ip) const {
  return ip.is_v4() == ip_.is_v4() && Prefix(ip, length_).network().ip() == network().ip();
}

std::array<Prefix, 2> Prefix::halves() const {
  const Prefix low(network().ip(), length_ + 1);
  std::array<std::uint8_t, 16> bytes{};
  std::copy(low.ip_.bytes().begin(), low.ip_.bytes().end(), bytes.begin());
  bytes[length_ / 8] = static_cast<std::uint8_t>(bytes[length_ / 8] | (0x80U >> (length_ % 8)));
  const Ip high = ip_.is_v4() ? Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]}) : Ip::v6(bytes);
  return {low, Prefix(high, length_ + 1)};
}

std::string Prefix::str() const { return ip_.str() + "/" + std::to_string(length_); }

Result<Mac> Mac::parse(std::string_view s) {
  std::array<std::uint8_t, 6> bytes{};
  bool ok = s.size() == 17;
  for (unsigned i = 0; ok && i < 6; ++i) {
    auto* at = s.data() + i * 3;
    auto [end, bad] = std::from_chars(at, at + 2, bytes[i], 16);
    ok = bad == std::errc() && end == at + 2 && (i == 5 || at[2] == ':');
  }
  if (!ok) return Error{Errc::invalid, 0, "not a MAC address: " + shown(s)};
  if ((bytes[0] & 1) || bytes == std::array<std::uint8_t, 6>{})
    return Error{Errc::invalid, 0, "not a unicast MAC address: " + shown(s)};
  return Mac(bytes);
}

Mac Mac::local(std::uint32_t bits) {
  return Mac({0x02, 0x6d, static_cast<std::uint8_t>(bits >> 24), static_cast<std::uint8_t>(bits >> 16),
              static_cast<std::uint8_t>(bits >> 8), static_cast<std::uint8_t>(bits)});
}

std::string Mac::str() const {
  char text[18];
  (void)std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes_[0], bytes_[1], bytes_[2], bytes_[3],
                      bytes_[4], bytes_[5]);
  return text;
}

}  // namespace microseg
