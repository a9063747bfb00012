// Addresses as values: parsed once where they enter, compared and ordered ever after. Byte order is the network's
// wherever bytes are exposed.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "microseg/base/result.h"

namespace microseg {

// A Linux interface name: 1..15 bytes (IFNAMSIZ - 1), no '/', ':' or space, not "." or "..".
// Source: dev_valid_name(), net/core/dev.c.
class IfName {
 public:
  static Result<IfName> parse(std::string_view s);
  const std::string& str() const { return s_; }
  auto operator<=>(const IfName&) const = default;

 private:
  explicit IfName(std::string_view s) : s_(s) {}
  std::string s_;
};

// One IPv4 or IPv6 address. IPv4 orders before IPv6. An IPv4-mapped IPv6 address stays IPv6.
class Ip {
 public:
  static Result<Ip> parse(std::string_view s);
  static Ip v4(std::array<std::uint8_t, 4> bytes);
  static Ip v6(std::array<std::uint8_t, 16> bytes);

  bool is_v4() const { return v4_; }
  // 4 or 16 bytes, network order.
  std::span<const std::uint8_t> bytes() const { return {bytes_.data(), v4_ ? 4U : 16U}; }
  unsigned bits() const { return v4_ ? 32 : 128; }
  std::string str() const;
  std::strong_ordering operator<=>(const Ip& other) const;
  bool operator==(const Ip& other) const = default;

 private:
  Ip(bool v4, std::array<std::uint8_t, 16> bytes) : v4_(v4), bytes_(bytes) {}
  bool v4_;
  std::array<std::uint8_t, 16> bytes_;  // IPv4 in the first 4, the rest 0
};

// An address with a prefix length, "10.5.0.2/24". Host bits are kept, as in an interface's address.
class Prefix {
 public:
  static Result<Prefix> parse(std::string_view s);
  // `length` at most ip.bits().
  static Prefix of(Ip ip, unsigned length) { return Prefix(ip, length); }
  static Prefix host(Ip ip) { return Prefix(ip, ip.bits()); }

  const Ip& ip() const { return ip_; }
  unsigned length() const { return length_; }
  Prefix network() const;  // host bits cleared
  bool contains(const Ip& ip) const;
  // The two halves of network(), lower first. length() must be less than ip().bits().
  std::array<Prefix, 2> halves() const;
  std::string str() const;
  auto operator<=>(const Prefix&) const = default;

 private:
  Prefix(Ip ip, unsigned length) : ip_(ip), length_(length) {}
  Ip ip_;
  unsigned length_;
};

// A 48-bit MAC address.
class Mac {
 public:
  // "02:42:0a:05:00:02"; six hex pairs. Multicast and all-zero addresses are refused: no link can have one.
  static Result<Mac> parse(std::string_view s);
  // A locally administered unicast address made from 32 bits that are unique where it is used (02:6d + bits).
  static Mac local(std::uint32_t bits);
  const std::array<std::uint8_t, 6>& bytes() const { return bytes_; }
  std::string str() const;
  auto operator<=>(const Mac&) const = default;

 private:
  explicit Mac(std::array<std::uint8_t, 6> bytes) : bytes_(bytes) {}
  std::array<std::uint8_t, 6> bytes_;
};

// IANA protocol numbers that the product names.
inline constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpv6 = 58, kSctp = 132;

}  // namespace microseg
