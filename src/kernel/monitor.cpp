#include "monitor.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "announce.h"
#include "microseg/base/log.h"
#include "netlink.h"
#include "netns.h"
#include "nft.h"
#include "rtnl.h"
#include "rtnl_attributes.h"

namespace microseg::kernel {
namespace {

// Attribute 1 of every nf_tables event is its table's name, but of the one that ends a transaction.
bool names_our_table(const nlmsghdr* nlh, Family family) {
  if (mnl_nlmsg_get_payload_len(nlh) < sizeof(nfgenmsg)) return false;
  auto* header = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(nlh));
  if (header->nfgen_family != static_cast<std::uint8_t>(family)) return false;
  if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)) return false;
  bool ours = false;
  for_each_attr(nlh, sizeof(nfgenmsg), [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NFTA_TABLE_NAME && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
      ours = ours || std::string_view(mnl_attr_get_str(a)) == kTable;
  });
  return ours;
}

// A port's own events name its bridge; the one about a port that goes is the bridge's (family AF_BRIDGE), and does too. A
// link that leaves for another namespace may be a port's other end, on its way to a container.
bool tells_of_a_port(const nlmsghdr* nlh) {
  if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) return false;
  bool out = false;
  for_each_attr(nlh, sizeof(ifinfomsg), [&](const nlattr* a) {
    out = out || mnl_attr_get_type(a) == IFLA_MASTER || mnl_attr_get_type(a) == IFLA_NEW_NETNSID;
  });
  return out;
}

// Neighbours and forwarding entries are learnt and forgotten all the time, on a VXLAN device above all. Ours are
// permanent; one that somebody made less than that, or deletes, still has our protocol.
bool is_learnt(const nlmsghdr* nlh) {
  if (nlh->nlmsg_type != RTM_NEWNEIGH && nlh->nlmsg_type != RTM_DELNEIGH) return false;
  auto* ndm = header_of<ndmsg>(nlh);
  if (!ndm || (ndm->ndm_state & NUD_PERMANENT) || (ndm->ndm_flags & NTF_PROXY)) return false;
  bool ours = false;
  for_each_attr(nlh, sizeof *ndm, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == NDA_PROTOCOL && mnl_attr_get_payload_len(a) == 1)
      ours = ours || mnl_attr_get_u8(a) == kRouteProtocol;
  });
  return !ours;
}

// The table `local` is the kernel's own: it follows addresses, and a link's carrier.
bool is_of_table_local(const nlmsghdr* nlh) {
  if (nlh->nlmsg_type != RTM_NEWROUTE && nlh->nlmsg_type != RTM_DELROUTE) return false;
  auto* rtm = header_of<rtmsg>(nlh);
  return rtm && rtm->rtm_table == RT_TABLE_LOCAL;
}

// A link's carrier comes and goes with its container, and nothing else of it has changed: looking at the whole segment for
// that would take the kernel's lock while containers start.
bool repeats(Found& last, const nlmsghdr* nlh) {
  if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) return false;
  auto* ifi = header_of<ifinfomsg>(nlh);
  if (!ifi) return false;
  const auto before = last.links.extract(ifi->ifi_index);
  if (nlh->nlmsg_type == RTM_DELLINK) return false;
  take_link(last, nlh);
  auto now = last.links.find(ifi->ifi_index);
  return now != last.links.end() && !before.empty() && before.mapped().first == now->second.first &&
         before.mapped().second.same_as(now->second.second);
}

}  // namespace

Monitor::Monitor(std::function<void(const std::string&)> changed)
    : changed_(std::move(changed)), poll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  (void)epoll_ctl(poll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::thread([this] { run(); });
}

Monitor::~Monitor() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake();
  thread_.join();
}

void Monitor::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] auto written = ::write(wake_.get(), &one, sizeof one);
}

void Monitor::add(const std::string& segment, const Fd& netns, std::vector<std::uint32_t> own_ports) {
  Watched watched;
  watched.route = subscribe(netns, NETLINK_ROUTE,
                                  {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
                                   RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE,
                                   RTNLGRP_IPV6_NETCONF});
  watched.filter = subscribe(netns, NETLINK_NETFILTER, {NFNLGRP_NFTABLES});
  watched.own_ports = std::move(own_ports);
  watched.netns = std::make_shared<const Fd>(::fcntl(netns.get(), F_DUPFD_CLOEXEC, 0));
  if (!watched.route.is_open() || !watched.filter.is_open()) {
    log_warn("segment not watched; drift is found by the periodic check", {{"segment", segment}});
    return;
  }
  follow(segment, std::move(watched));
}

void Monitor::add_table(const std::string& name, const Fd& netns, std::uint32_t own_port) {
  Watched watched;
  watched.filter = subscribe(netns, NETLINK_NETFILTER, {NFNLGRP_NFTABLES});
  watched.own_ports = {own_port};
  watched.only_table = Family::inet;
  if (!watched.filter.is_open()) {
    log_warn("table not watched; drift is found by the periodic check", {{"segment", name}});
    return;
  }
  follow(name, std::move(watched));
}

void Monitor::add_ports(const std::string& name, const Fd& netns, std::uint32_t own_port) {
  Watched watched;
  watched.route = subscribe(netns, NETLINK_ROUTE, {RTNLGRP_LINK});
  watched.filter = subscribe(netns, NETLINK_NETFILTER, {NFNLGRP_NFTABLES});
  watched.own_ports = {own_port};
  watched.only_table = Family::bridge;
  watched.only_ports = true;
  if (!watched.route.is_open() || !watched.filter.is_open()) {
    log_warn("ports not watched; drift is found by the periodic check", {{"segment", name}});
    return;
  }
  follow(name, std::move(watched));
}

bool Monitor::concerns(const Watched& watched, const Fd& socket, const nlmsghdr* nlh) {
  if (&socket == &watched.route) return !watched.only_ports || tells_of_a_port(nlh);
  return !watched.only_table || names_our_table(nlh, *watched.only_table);
}

void Monitor::follow(const std::string& name, Watched watched) {
  std::lock_guard lock(mutex_);
  auto& slot = watched_[name] = std::move(watched);
  for (auto* socket : {&slot.route, &slot.filter}) {
    if (!socket->is_open()) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket->get();
    (void)epoll_ctl(poll_.get(), EPOLL_CTL_ADD, socket->get(), &event);
  }
}

void Monitor::forget(const std::string& segment) {
  std::lock_guard lock(mutex_);
  watched_.erase(segment);  // closing takes a descriptor out of the epoll set
}

// IFF_RUNNING is told once the link passes packets on (net/core/link_watch.c, linkwatch_do_dev).
void Monitor::follow_carrier(Watched& watched, const nlmsghdr* nlh, std::vector<Risen>& risen) {
  if (!watched.netns || (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK)) return;
  auto* ifi = header_of<ifinfomsg>(nlh);
  if (!ifi) return;
  if (nlh->nlmsg_type == RTM_DELLINK || !(ifi->ifi_flags & IFF_RUNNING)) {
    watched.running.erase(ifi->ifi_index);
    return;
  }
  if (!watched.running.insert(ifi->ifi_index).second) return;
  for_each_attr(nlh, sizeof *ifi, [&](const nlattr* a) {
    if (mnl_attr_get_type(a) == IFLA_IFNAME && text_of(a) != kstate::kVxlan) risen.push_back({watched.netns, text_of(a)});
  });
}

// Reads all that waits; true when any of it was not caused by us, or was lost.
bool Monitor::drain(Watched& watched, const Fd& socket, std::vector<Risen>& risen) {
  bool foreign = false;
  alignas(nlmsghdr) char buffer[32768];
  for (;;) {
    ssize_t n = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ENOBUFS) {
      foreign = true;
      continue;
    }
    if (n <= 0) return foreign;
    int len = static_cast<int>(n);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(buffer); mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
      if (!concerns(watched, socket, nlh)) continue;
      if (&socket == &watched.route) follow_carrier(watched, nlh, risen);
      if (&socket == &watched.route && (is_learnt(nlh) || is_of_table_local(nlh))) continue;
      if (&socket == &watched.route && !watched.only_ports && repeats(watched.last, nlh)) continue;
      auto& own = watched.own_ports;
      if (std::find(own.begin(), own.end(), nlh->nlmsg_pid) == own.end()) foreign = true;
    }
  }
}

void Monitor::run() {
  epoll_event events[64];
  for (;;) {
    int n = epoll_wait(poll_.get(), events, 64, -1);
    if (n < 0 && errno != EINTR) return;
    std::set<std::string> touched;
    std::vector<Risen> risen;
    {
      std::lock_guard lock(mutex_);
      if (stop_) return;
      for (int i = 0; i < n; ++i)
        for (auto& [name, watched] : watched_)
          for (auto* socket : {&watched.route, &watched.filter})
            if (socket->is_open() && socket->get() == events[i].data.fd && drain(watched, *socket, risen)) touched.insert(name);
    }
    for (auto& [netns, link] : risen) {
      auto done = announce_own(*netns, link);
      if (done) continue;
      const bool gone_again = done.error().code == Errc::not_found || done.error().sys == ENETDOWN;
      log(gone_again ? LogLevel::debug : LogLevel::warn, "gateways not announced: its container may wait a second for its first answer",
          {{"link", link}, {"error", done.error().text}});
    }
    for (auto& name : touched) changed_(name);
  }
}

}  // namespace microseg::kernel
