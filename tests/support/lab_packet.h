// Frames made and read byte by byte, for what no socket would send.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microseg/addr/addr.h"
#include "support/lab_netns.h"

namespace microseg::lab {

using Bytes = std::vector<std::uint8_t>;
Bytes bytes(std::string_view text);
Bytes operator+(Bytes a, const Bytes& b);
bool contains(const Bytes& all, std::string_view text);
// A text that no other packet has in it.
std::string fresh_mark();

inline constexpr std::uint16_t kEtherIp4 = 0x0800, kEtherArp = 0x0806, kEtherVlan = 0x8100, kEtherIp6 = 0x86dd;
inline constexpr std::uint8_t kSyn = 0x02, kRst = 0x04, kAck = 0x10;

Bytes be16(std::uint32_t value);
Bytes be32(std::uint32_t value);

// A MAC as bytes; also "ff:ff:ff:ff:ff:ff", which no link can have.
Bytes mac(std::string_view text);
Bytes ethernet(const Bytes& to, const Bytes& from, std::uint16_t type, const Bytes& payload);

// What differs from an ordinary packet.
struct IpOptions {
  std::uint8_t ttl = 64;
  std::uint16_t id = 0;
  std::uint16_t fragment = 0;  // IPv4: flags and offset as in the header
};
// The header of `from`'s family before `payload`; checksums of the transport header must be right already.
Bytes ip(const Ip& from, const Ip& to, std::uint8_t protocol, const Bytes& payload, IpOptions options = {});

// Transport headers with checksums over the pseudo header of from and to.
Bytes udp(const Ip& from, const Ip& to, std::uint16_t source, std::uint16_t target, const Bytes& payload);
Bytes tcp(const Ip& from, const Ip& to, std::uint16_t source, std::uint16_t target, std::uint32_t sequence,
          std::uint32_t acknowledged, std::uint8_t flags, const Bytes& payload = {});
Bytes sctp_init(std::uint16_t source, std::uint16_t target, std::uint32_t tag);
// Type, code, rest of the header, then what follows; ICMPv6 where the addresses are.
Bytes icmp(const Ip& from, const Ip& to, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
           const Bytes& payload);
Bytes arp(std::uint16_t operation, const Bytes& sender_mac, const Ip& sender, const Bytes& target_mac,
          const Ip& target);

struct Captured {
  Bytes frame;
  std::chrono::nanoseconds at{};  // Unix time at which the kernel received it
};

// Sends and receives whole frames at a link. Only frames that came from outside are seen.
class Tap {
 public:
  explicit Tap(const Netns& netns, const std::string& link = "eth0");
  void send(const Bytes& frame);
  // The next frame; nothing when there is none for so long.
  std::optional<Captured> next(std::chrono::milliseconds patience = std::chrono::milliseconds(0));
  // The next one with this text in it, forgetting those before.
  std::optional<Captured> find(std::string_view text, std::chrono::milliseconds patience);
  std::vector<Captured> drain();
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};

// A received frame's parts; offsets count from the frame's first byte. IPv6 without extension headers.
struct View {
  std::uint16_t type = 0;
  std::optional<Ip> from, to;
  std::uint8_t protocol = 0;
  std::size_t transport = 0, end = 0;
};
std::optional<View> view(const Bytes& frame);
std::uint32_t number_at(const Bytes& frame, std::size_t at, unsigned length);

}  // namespace microseg::lab
