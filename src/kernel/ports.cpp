#include "ports.h"

#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>

#include "netns.h"
#include "rtnl_messages.h"

namespace microseg::kernel {
namespace {

using kstate::PortIndex;

// How a namespace calls another one (nsid): a number of its own, or none yet.
Result<std::optional<std::int32_t>> number_of(NetlinkSocket& socket, const Fd& netns) {
  alignas(nlmsghdr) char buffer[256];
  auto* nlh = mnl_nlmsg_put_header(buffer);
  nlh->nlmsg_type = RTM_GETNSID;
  mnl_nlmsg_put_extra_header(nlh, sizeof(rtgenmsg));
  mnl_attr_put_u32(nlh, NETNSA_FD, static_cast<std::uint32_t>(netns.get()));
  std::optional<std::int32_t> out;
  MS_CHECK(socket.ask(
      nlh,
      [&](const nlmsghdr* answer) {
        for_each_attr(answer, sizeof(rtgenmsg), [&](const nlattr* a) {
          if (mnl_attr_get_type(a) != NETNSA_NSID || mnl_attr_validate(a, MNL_TYPE_U32) < 0) return;
          if (auto id = static_cast<std::int32_t>(mnl_attr_get_u32(a)); id >= 0) out = id;
        });
      },
      "ask for the number of a namespace"));
  return out;
}

void put_port(Messages& out, PortIndex port, bool ours) {
  auto* nlh = out.add(RTM_SETLINK, 0, sizeof(ifinfomsg));
  auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
  ifi->ifi_family = AF_BRIDGE;
  ifi->ifi_index = static_cast<int>(port);
  auto* attributes = mnl_attr_nest_start(nlh, IFLA_PROTINFO);
  attributes->nla_type |= NLA_F_NESTED;
  mnl_attr_put_u8(nlh, IFLA_BRPORT_ISOLATED, ours);
  mnl_attr_put_u8(nlh, IFLA_BRPORT_LEARNING, !ours);
  mnl_attr_nest_end(nlh, attributes);
  out.says("set bridge port " + std::to_string(port));
}

void put_kept(Messages& out, PortIndex port, const Mac& mac, bool add) {
  auto* nlh = out.add(add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(ndmsg));
  auto* ndm = static_cast<ndmsg*>(mnl_nlmsg_get_payload(nlh));
  ndm->ndm_family = AF_BRIDGE;
  ndm->ndm_ifindex = static_cast<int>(port);
  ndm->ndm_state = NUD_NOARP;
  ndm->ndm_flags = add ? NTF_MASTER | NTF_STICKY : NTF_MASTER;
  put_mac(nlh, NDA_LLADDR, mac);
  out.says(std::string(add ? "keep " : "release ") + mac.str() + " at bridge port " + std::to_string(port));
}

constexpr int kListAttempts = 5;

}  // namespace

Result<Ports> Ports::open(const Fd& netns) {
  MS_TRY(auto socket, NetlinkSocket::open(netns, NETLINK_ROUTE));
  auto news = subscribe(netns, NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_NEIGH});
  if (!news.is_open()) return Error{Errc::unavailable, 0, "the kernel refuses to tell of links that change"};
  return Ports(std::move(socket), std::move(news));
}

Status Ports::list() {
  alignas(nlmsghdr) char buffer[256];
  auto* links = mnl_nlmsg_put_header(buffer);
  links->nlmsg_type = RTM_GETLINK;
  mnl_nlmsg_put_extra_header(links, sizeof(ifinfomsg));
  MS_CHECK(socket_.dump(
      links, [&] { found_ = {}; }, [&](const nlmsghdr* m) { take_port(found_, m); }, "list bridge ports"));
  auto* entries = mnl_nlmsg_put_header(buffer);
  entries->nlmsg_type = RTM_GETNEIGH;
  static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(entries, sizeof(ndmsg)))->ndm_family = AF_BRIDGE;
  return socket_.dump(
      entries,
      [&] {
        for (auto& [index, link] : found_) link.kept.clear();
      },
      [&](const nlmsghdr* m) { take_kept(found_, m); }, "list kept MACs");
}

bool Ports::read_news() {
  alignas(nlmsghdr) char buffer[32768];
  for (;;) {
    sockaddr_nl sender{};
    socklen_t size = sizeof sender;
    const ssize_t n = ::recvfrom(news_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&sender), &size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 && errno == EAGAIN;
    if (sender.nl_pid != 0) continue;  // not the kernel
    int len = static_cast<int>(n);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(buffer); mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
      take_port_news(found_, nlh);
  }
}

// What is told while we list is read after it: the last word about each link is the newest.
Status Ports::catch_up() {
  for (int attempt = 0; attempt < kListAttempts; ++attempt) {
    if (!read_news()) listed_ = false;
    if (listed_) return {};
    MS_CHECK(list());
    listed_ = true;
  }
  listed_ = false;
  return Error{Errc::unavailable, 0, "bridge ports change faster than they can be listed"};
}

Result<std::map<PortIndex, kstate::BridgePort>> Ports::observe() {
  MS_CHECK(catch_up());
  return ports_of(found_);
}

Status Ports::bind(PortIndex port, const std::optional<Mac>& mac) {
  MS_TRY(auto ports, observe());
  auto it = ports.find(port);
  if (it == ports.end()) return Error{Errc::not_found, 0, "no bridge port " + std::to_string(port)};
  Messages out;
  // First, so that there is no moment in which the bridge neither knows the MAC nor may learn it.
  if (mac) put_kept(out, port, *mac, true);
  put_port(out, port, mac.has_value());
  for (auto& kept : it->second.kept)
    if (kept != mac) put_kept(out, port, kept, false);
  return socket_.request(out);
}

Result<PortIndex> Ports::port_of(const std::string& sandbox, const IfName& bridge, const std::optional<Mac>& mac) {
  MS_CHECK(catch_up());
  auto on_bridge = [&](const FoundPort& port) {
    auto master = found_.find(port.master);
    return master != found_.end() && master->second.name == bridge.str();
  };
  for (auto& [index, port] : found_) {
    auto other = port.other_end_in ? found_.end() : found_.find(port.other_end);
    if (mac && other != found_.end() && other->second.mac == mac && on_bridge(port)) return static_cast<PortIndex>(index);
  }
  MS_TRY(auto netns, open_netns(sandbox));
  MS_TRY(auto id, number_of(socket_, netns));  // given, at the latest, as the listing or a message named it
  for (auto& [index, port] : found_)
    if (id && port.other_end_in == id && on_bridge(port)) return static_cast<PortIndex>(index);
  return Error{Errc::not_found, 0, "no port of " + bridge.str() + " leads to sandbox " + sandbox};
}

}  // namespace microseg::kernel
