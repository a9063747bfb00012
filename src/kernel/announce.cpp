#include "announce.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "microseg/kstate/segment.h"
#include "netns.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

using Frame = std::vector<std::uint8_t>;
using MacBytes = std::array<std::uint8_t, 6>;

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

std::uint16_t checksum(const Frame& data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += static_cast<std::uint32_t>(data[i] << 8 | data[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
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

Result<std::optional<Ip>> link_local_of(NetlinkSocket& socket, int index) {
  alignas(nlmsghdr) char buffer[256];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = RTM_GETADDR;
  static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifaddrmsg)))->ifa_family = AF_INET6;
  std::optional<Ip> out;
  MS_CHECK(socket.dump(
      nlh, [&] { out.reset(); },
      [&](const nlmsghdr* m) {
        auto* ifa = header_of<ifaddrmsg>(m);
        if (!ifa || ifa->ifa_index != static_cast<unsigned>(index) || ifa->ifa_scope != RT_SCOPE_LINK) return;
        for_each_attr(m, sizeof *ifa, [&](const nlattr* a) {
          if (mnl_attr_get_type(a) == IFA_ADDRESS) out = ip_of(AF_INET6, a);
        });
      },
      "list addresses"));
  return out;
}

struct Device {
  Fd socket;  // sends to it
  int index = 0;
  MacBytes mac{};
};

int open_device(Device& out) {
  out.socket = Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // protocol 0: receives nothing
  if (!out.socket.is_open()) return errno;
  ifreq request{};
  std::strncpy(request.ifr_name, kstate::kVxlan, IFNAMSIZ - 1);
  if (::ioctl(out.socket.get(), SIOCGIFINDEX, &request) < 0) return errno;
  out.index = request.ifr_ifindex;
  if (::ioctl(out.socket.get(), SIOCGIFHWADDR, &request) < 0) return errno;
  std::memcpy(out.mac.data(), request.ifr_hwaddr.sa_data, out.mac.size());
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = out.index;
  return ::bind(out.socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ? errno : 0;
}

}  // namespace

Status announce(NetlinkSocket& socket, const Fd& netns, const std::vector<Ip>& addresses) {
  if (addresses.empty()) return {};
  Device device;
  int err = 0;
  MS_CHECK(in_netns(netns, [&] { err = open_device(device); }));
  if (err) return error_from_errno(err, "announce at " + std::string(kstate::kVxlan));
  std::optional<Ip> from;
  if (std::any_of(addresses.begin(), addresses.end(), [](auto& ip) { return !ip.is_v4(); })) {
    MS_TRY(from, link_local_of(socket, device.index));
  }
  for (auto& ip : addresses) {
    if (!ip.is_v4() && !from)
      return Error{Errc::not_found, 0, "announce " + ip.str() + ": the VXLAN device has no link-local address to send from"};
    const Frame frame = ip.is_v4() ? gratuitous_arp(device.mac, ip) : unsolicited_advertisement(device.mac, *from, ip);
    if (::send(device.socket.get(), frame.data(), frame.size(), 0) < 0)
      return error_from_errno(errno, "announce " + ip.str());
  }
  return {};
}

}  // namespace microseg::kernel
