// What the running kernel must have, tried in a throw-away namespace: a veth pair, a table with everything that
// the datapath uses, and a VXLAN device.
#include <functional>

#include "microseg/kernel/kernel.h"
#include "netns.h"
#include "nft.h"
#include "probe.h"
#include "rtnl.h"

namespace microseg::kernel {
namespace {

using namespace kstate;

Status try_veth(const Fd& netns) {
  MS_TRY(auto socket, NetlinkSocket::open(netns, NETLINK_ROUTE));
  Link link;
  link.alias = std::string(kAliasMark) + "probe";
  link.mac = Mac::local(1);
  link.peer.mac = Mac::local(2);
  MS_TRY(auto peer, new_netns());
  return add_link(socket, peer, IfName::parse("msprobe").value(), link);
}

// With its tunnel in another namespace, up; a kernel without group policy makes one that lacks it.
Status try_vxlan(const Fd& netns) {
  MS_TRY(auto host, new_netns());
  MS_TRY(auto host_route, NetlinkSocket::open(host, NETLINK_ROUTE));
  MS_TRY(auto route, NetlinkSocket::open(netns, NETLINK_ROUTE));
  Vxlan vxlan;
  vxlan.alias = std::string(kAliasMark) + "probe";
  vxlan.vni = 4096;
  vxlan.port = 4799;
  vxlan.local = Ip::v4({192, 0, 2, 1});
  vxlan.mac = Mac::local(3);
  vxlan.proxies = {Ip::v4({192, 0, 2, 2})};
  vxlan.peers = {Ip::v4({192, 0, 2, 3})};
  MS_CHECK(add_vxlan(route, netns, host_route, vxlan));
  auto seen = observe_devices(route);
  (void)del_vxlan(route);
  if (!seen) return std::move(seen).error();
  if (seen->vxlan != vxlan) return Error{Errc::unsupported, 0, "the device is not as it was made"};
  return {};
}

// One transaction with `extra`; refused as a whole when the kernel lacks any of it.
Status try_nft(const Fd& netns, std::vector<NftOp> extra) {
  MS_TRY(auto socket, NetlinkSocket::open(netns, NETLINK_NETFILTER));
  std::vector<NftOp> ops{AddTable{}, AddChain{"probe", Hook{Hook::Place::forward, 0, true}}};
  ops.insert(ops.end(), extra.begin(), extra.end());
  MS_CHECK(apply_nft(socket, ops));
  return apply_nft(socket, {DelTable{}});
}

Status try_rule(const Fd& netns, Rule rule) { return try_nft(netns, {AddRule{"probe", std::move(rule)}}); }

}  // namespace

Status try_owned_table(const Fd& netns) {
  MS_TRY(auto socket, NetlinkSocket::open(netns, NETLINK_NETFILTER));
  MS_CHECK(apply_nft(socket, {AddTable{true}}));
  return apply_nft(socket, {DelTable{}});
}

std::vector<Capability> probe() {
  std::vector<Capability> out;
  auto netns = new_netns();
  if (!netns) return {{"network namespaces", true, netns.error().text}};
  const Fd& ns = netns.value();
  auto test = [&](const char* name, const Status& outcome, bool required = true) {
    out.push_back({name, required, outcome ? "" : outcome.error().text});
  };
  out.push_back({"network namespaces", true, ""});
  test("veth", try_veth(ns));
  test("nf_tables", try_nft(ns, {}));
  test("nf_tables named counters", try_nft(ns, {AddCounter{"probe"}, AddRule{"probe", {Count{"probe"}}}}));
  test("nf_tables interval sets of concatenations",
       try_nft(ns, {AddSet{"probe", {{Field::number, Field::number, Field::protocol, Field::port}, std::nullopt, true}}}));
  auto bridge = [&]() -> Status {
    MS_TRY(auto socket, NetlinkSocket::open(ns, NETLINK_NETFILTER));
    const Rule rule{Meta{MetaKey::iif, 8}, Payload{Base::link, 6, 6, 0}, Count{"probe"}};
    MS_CHECK(apply_nft(socket, {AddTable{}, AddCounter{"probe"}, AddChain{"probe", Hook{Hook::Place::forward, 0, false}},
                                AddRule{"probe", rule}},
                       Family::bridge));
    return apply_nft(socket, {DelTable{}}, Family::bridge);
  };
  test("nf_tables family bridge", bridge());
  test("nf_tables tables that outlive their owner", try_owned_table(ns), false);
  test("nf_tables fib, to guard VXLAN between hosts",
       try_nft(ns, {AddRule{"probe", {ReturnRoute{8}, Cmp{8, true, bytes_of_mark(0)}}}}), false);
  test("nf_tables reject", try_rule(ns, {Reject{Reject::Kind::admin_prohibited}}));
  test("connection tracking with marks", try_rule(ns, {Ct{CtKey::mark, 8}, Cmp{8, true, bytes_of_mark(1)}}));
  auto purge = [&]() -> Status {
    MS_TRY(auto socket, NetlinkSocket::open(ns, NETLINK_NETFILTER));
    return purge_connections(socket, PurgeConnections{1, 0xffff});
  };
  test("connection tracking over netlink", purge());
  const auto vxlan = try_vxlan(ns);
  out.push_back({kGroupPolicy, false, vxlan ? "" : vxlan.error().text});
  return out;
}

}  // namespace microseg::kernel
