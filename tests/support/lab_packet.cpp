#include "support/lab_packet.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace microseg::lab {
namespace {

using std::chrono::milliseconds, std::chrono::steady_clock;

std::uint16_t checksum(const Bytes& data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < data.size(); i += 2)
    sum += static_cast<std::uint32_t>(data[i]) << 8 | (i + 1 < data.size() ? data[i + 1] : 0U);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

Bytes raw(const Ip& ip) { return Bytes(ip.bytes().begin(), ip.bytes().end()); }

Bytes pseudo(const Ip& from, const Ip& to, std::uint8_t protocol, std::size_t length) {
  return raw(from) + raw(to) + be32(static_cast<std::uint32_t>(length)) + be32(protocol);
}

void put16(Bytes& out, std::size_t at, std::uint16_t value) {
  out[at] = static_cast<std::uint8_t>(value >> 8);
  out[at + 1] = static_cast<std::uint8_t>(value);
}

// CRC32c, bit by bit: SCTP's checksum (RFC 9260, appendix A).
std::uint32_t crc32c(const Bytes& data) {
  std::uint32_t crc = ~0U;
  for (auto b : data) {
    crc ^= b;
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

}  // namespace

Bytes bytes(std::string_view text) { return Bytes(text.begin(), text.end()); }
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
bool contains(const Bytes& all, std::string_view text) {
  return std::search(all.begin(), all.end(), text.begin(), text.end(),
                     [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); }) != all.end();
}

std::string fresh_mark() {
  static std::uint64_t count = 0;
  return fmt::format("<mark {:08}>", ++count);
}

Bytes be16(std::uint32_t value) { return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)}; }
Bytes be32(std::uint32_t value) { return be16(value >> 16) + be16(value & 0xffff); }

Bytes mac(std::string_view text) {
  Bytes out(6);
  unsigned b[6];
  if (std::sscanf(std::string(text).c_str(), "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6)
    fail("not a MAC: " + std::string(text));
  for (std::size_t i = 0; i < 6; ++i) out[i] = static_cast<std::uint8_t>(b[i]);
  return out;
}

Bytes ethernet(const Bytes& to, const Bytes& from, std::uint16_t type, const Bytes& payload) {
  return to + from + be16(type) + payload;
}

Bytes ip(const Ip& from, const Ip& to, std::uint8_t protocol, const Bytes& payload, IpOptions options) {
  const auto length = static_cast<std::uint32_t>(payload.size());
  if (!from.is_v4())
    return be32(0x60000000) + be16(length) + Bytes{protocol, options.ttl} + raw(from) + raw(to) + payload;
  Bytes header = Bytes{0x45, 0} + be16(length + 20) + be16(options.id) + be16(options.fragment) +
                 Bytes{options.ttl, protocol, 0, 0} + raw(from) + raw(to);
  put16(header, 10, checksum(header));
  return header + payload;
}

Bytes udp(const Ip& from, const Ip& to, std::uint16_t source, std::uint16_t target, const Bytes& payload) {
  Bytes out = be16(source) + be16(target) + be16(static_cast<std::uint32_t>(payload.size() + 8)) + be16(0) + payload;
  const auto sum = checksum(pseudo(from, to, kUdp, out.size()) + out);
  put16(out, 6, sum ? sum : std::uint16_t{0xffff});
  return out;
}

Bytes tcp(const Ip& from, const Ip& to, std::uint16_t source, std::uint16_t target, std::uint32_t sequence,
          std::uint32_t acknowledged, std::uint8_t flags, const Bytes& payload) {
  Bytes out = be16(source) + be16(target) + be32(sequence) + be32(acknowledged) + Bytes{0x50, flags} + be16(65535) +
              be32(0) + payload;
  put16(out, 16, checksum(pseudo(from, to, kTcp, out.size()) + out));
  return out;
}

Bytes sctp_init(std::uint16_t source, std::uint16_t target, std::uint32_t tag) {
  Bytes out = be16(source) + be16(target) + be32(0) + be32(0) +  // verification tag 0, checksum
              Bytes{1, 0} + be16(20) + be32(tag) + be32(65536) + be16(1) + be16(1) + be32(tag);
  const auto crc = crc32c(out);
  for (unsigned i = 0; i < 4; ++i) out[8 + i] = static_cast<std::uint8_t>(crc >> 8 * i);
  return out;
}

Bytes icmp(const Ip& from, const Ip& to, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
           const Bytes& payload) {
  Bytes out = Bytes{type, code, 0, 0} + be32(rest) + payload;
  put16(out, 2, checksum(from.is_v4() ? out : pseudo(from, to, kIcmpv6, out.size()) + out));
  return out;
}

Bytes arp(std::uint16_t operation, const Bytes& sender_mac, const Ip& sender, const Bytes& target_mac,
          const Ip& target) {
  return be16(1) + be16(kEtherIp4) + Bytes{6, 4} + be16(operation) + sender_mac + raw(sender) + target_mac +
         raw(target);
}

Tap::Tap(const Netns& netns, const std::string& link) : fd_(netns.socket(AF_PACKET, SOCK_RAW, 0)) {
  const int big = 64 << 20, on = 1;
  must(setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big) == 0, "receive buffer");
  must(setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big) == 0, "send buffer");
  must(setsockopt(fd_.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0, "timestamps");
  must(setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0, "incoming only");
  ifreq request{};
  link.copy(request.ifr_name, IFNAMSIZ - 1);
  must(ioctl(fd_.get(), SIOCGIFINDEX, &request) == 0, "index of " + link);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(0x0003);  // ETH_P_ALL
  address.sll_ifindex = request.ifr_ifindex;
  must(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind to " + link);
}

void Tap::send(const Bytes& frame) {
  must(::send(fd_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()), "send a frame");
}

std::optional<Captured> Tap::next(milliseconds patience) {
  pollfd waiting{fd_.get(), POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(patience.count())) <= 0) return std::nullopt;
  static thread_local std::array<std::uint8_t, 70000> buffer;
  alignas(cmsghdr) char control[256];
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
  if (n < 0) return std::nullopt;
  Captured out{Bytes(buffer.data(), buffer.data() + n), {}};
  for (auto* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
      timespec at{};
      std::memcpy(&at, CMSG_DATA(c), sizeof at);
      out.at = std::chrono::seconds(at.tv_sec) + std::chrono::nanoseconds(at.tv_nsec);
    }
  return out;
}

std::optional<Captured> Tap::find(std::string_view text, milliseconds patience) {
  const auto until = steady_clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    auto got = next(std::max(left, milliseconds(0)));
    if (got && contains(got->frame, text)) return got;
    if (!got && steady_clock::now() >= until) return std::nullopt;
  }
}

std::vector<Captured> Tap::drain() {
  std::vector<Captured> out;
  while (auto got = next()) out.push_back(std::move(*got));
  return out;
}

std::uint32_t number_at(const Bytes& frame, std::size_t at, unsigned length) {
  std::uint32_t out = 0;
  for (unsigned i = 0; i < length; ++i) out = out << 8 | frame.at(at + i);
  return out;
}

std::optional<View> view(const Bytes& frame) {
  if (frame.size() < 14) return std::nullopt;
  View out;
  out.type = static_cast<std::uint16_t>(number_at(frame, 12, 2));
  if (out.type == kEtherIp4 && frame.size() >= 34) {
    std::array<std::uint8_t, 4> a{}, b{};
    std::copy_n(frame.begin() + 26, 4, a.begin());
    std::copy_n(frame.begin() + 30, 4, b.begin());
    out.from = Ip::v4(a);
    out.to = Ip::v4(b);
    out.protocol = frame[23];
    out.transport = 14 + (frame[14] & 15U) * 4U;
    out.end = std::min<std::size_t>(frame.size(), 14 + number_at(frame, 16, 2));
  } else if (out.type == kEtherIp6 && frame.size() >= 54) {
    std::array<std::uint8_t, 16> a{}, b{};
    std::copy_n(frame.begin() + 22, 16, a.begin());
    std::copy_n(frame.begin() + 38, 16, b.begin());
    out.from = Ip::v6(a);
    out.to = Ip::v6(b);
    out.protocol = frame[20];
    out.transport = 54;
    out.end = std::min<std::size_t>(frame.size(), 54 + number_at(frame, 18, 2));
  }
  return out;
}

}  // namespace microseg::lab
