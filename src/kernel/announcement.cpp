#include "announcement.h"

#include <linux/if_ether.h>

#include <span>

namespace microseg::kernel {
namespace {

void put(Frame& out, std::span<const std::uint8_t> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
void put16(Frame& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

Frame ethernet(const MacBytes& to, const MacBytes& from, unsigned type) {
  Frame out;
  put(out, to);
  put(out, from);
  put16(out, type);
  return out;
}

std::uint16_t checksum(const Frame& data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += static_cast<std::uint32_t>(data[i] << 8 | data[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace

Frame gratuitous_arp(const MacBytes& mac, const Ip& ip) {
  constexpr MacBytes kEverybody{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  Frame out = ethernet(kEverybody, mac, ETH_P_ARP);
  put16(out, 1);  // Ethernet
  put16(out, ETH_P_IP);
  put(out, std::array<std::uint8_t, 2>{6, 4});
  put16(out, 2);  // reply
  for (int i = 0; i < 2; ++i) {  // sender and target are the same
    put(out, mac);
    put(out, ip.bytes());
  }
  return out;
}

Frame unsolicited_advertisement(const MacBytes& mac, const Ip& from, const Ip& ip) {
  static constexpr std::array<std::uint8_t, 16> kAllNodes{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  Frame message{136, 0, 0, 0, 0x20, 0, 0, 0};  // type, code, checksum, override
  put(message, ip.bytes());
  put(message, std::array<std::uint8_t, 2>{2, 1});  // target's link-layer address, 8 bytes
  put(message, mac);

  const auto length = static_cast<unsigned>(message.size());
  Frame summed;  // RFC 8200, section 8.1
  put(summed, from.bytes());
  put(summed, kAllNodes);
  put16(summed, 0);
  put16(summed, length);
  put16(summed, 0);
  put16(summed, kIcmpv6);
  put(summed, message);
  const auto sum = checksum(summed);
  message[2] = static_cast<std::uint8_t>(sum >> 8);
  message[3] = static_cast<std::uint8_t>(sum);

  Frame out = ethernet({0x33, 0x33, 0, 0, 0, 1}, mac, ETH_P_IPV6);
  put(out, std::array<std::uint8_t, 4>{0x60, 0, 0, 0});
  put16(out, length);
  put(out, std::array<std::uint8_t, 2>{kIcmpv6, 255});
  put(out, from.bytes());
  put(out, kAllNodes);
  put(out, message);
  return out;
}

}  // namespace microseg::kernel
