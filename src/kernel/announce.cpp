#include "announce.h"

#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "announcement.h"
#include "microseg/kstate/segment.h"
#include "netns.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

struct Address {
  Ip ip;
  bool of_link = false;    // link-local
  bool by_itself = false;  // given by the kernel: ours have full length
};

Result<std::vector<Address>> addresses_of(NetlinkSocket& socket, int index) {
  alignas(nlmsghdr) char buffer[256];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = RTM_GETADDR;
  static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifaddrmsg)))->ifa_family = AF_UNSPEC;
  std::vector<Address> out;
  MS_CHECK(socket.dump(
      nlh, [&] { out.clear(); },
      [&](const nlmsghdr* m) {
        auto* ifa = header_of<ifaddrmsg>(m);
        if (!ifa || ifa->ifa_index != static_cast<unsigned>(index)) return;
        for_each_attr(m, sizeof *ifa, [&](const nlattr* a) {
          if (mnl_attr_get_type(a) != IFA_ADDRESS) return;
          if (auto ip = ip_of(ifa->ifa_family, a))
            out.push_back({*ip, ifa->ifa_scope == RT_SCOPE_LINK, ifa->ifa_prefixlen != (ip->is_v4() ? 32 : 128)});
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

int open_device(Device& out, const std::string& name) {
  out.socket = Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // protocol 0: receives nothing
  if (!out.socket.is_open()) return errno;
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  if (::ioctl(out.socket.get(), SIOCGIFINDEX, &request) < 0) return errno;
  out.index = request.ifr_ifindex;
  if (::ioctl(out.socket.get(), SIOCGIFHWADDR, &request) < 0) return errno;
  std::memcpy(out.mac.data(), request.ifr_hwaddr.sa_data, out.mac.size());
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = out.index;
  return ::bind(out.socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ? errno : 0;
}

Result<Device> open_device(const Fd& netns, const std::string& name) {
  Device out;
  int err = 0;
  MS_CHECK(in_netns(netns, [&] { err = open_device(out, name); }));
  if (err) return error_from_errno(err, "announce at " + name);
  return out;
}

// `from`: what an advertisement is sent from; an ARP packet is from `ip` itself.
Status send(const Device& device, const Ip& ip, const Ip& from) {
  const Frame frame = ip.is_v4() ? gratuitous_arp(device.mac, ip) : unsolicited_advertisement(device.mac, from, ip);
  if (::send(device.socket.get(), frame.data(), frame.size(), 0) < 0) return error_from_errno(errno, "announce " + ip.str());
  return {};
}

}  // namespace

Status announce(NetlinkSocket& socket, const Fd& netns, const std::vector<Ip>& addresses) {
  if (addresses.empty()) return {};
  MS_TRY(const Device device, open_device(netns, kstate::kVxlan));
  MS_TRY(const auto own, addresses_of(socket, device.index));
  const auto from = std::ranges::find_if(own, [](auto& address) { return address.of_link && !address.ip.is_v4(); });
  for (auto& ip : addresses) {
    if (!ip.is_v4() && from == own.end())
      return Error{Errc::not_found, 0, "announce " + ip.str() + ": the VXLAN device has no link-local address to send from"};
    MS_CHECK(send(device, ip, ip.is_v4() ? ip : from->ip));
  }
  return {};
}

Status announce_own(const Fd& netns, const std::string& link) {
  MS_TRY(auto socket, NetlinkSocket::open(netns, NETLINK_ROUTE));
  MS_TRY(const Device device, open_device(netns, link));
  MS_TRY(const auto own, addresses_of(socket, device.index));
  for (auto& [ip, of_link, by_itself] : own)
    if (!by_itself) MS_CHECK(send(device, ip, ip));
  return {};
}

}  // namespace microseg::kernel
