// One suite for both kernels: segments and links.
#include <doctest/doctest.h>

#include <linux/if.h>
#include <linux/rtnetlink.h>

#include "contract/kernel_testing.h"
#include "kernel/netlink.h"
#include "kernel/rtnl.h"
#include "kernel/rtnl_messages.h"

using namespace microseg;
using namespace microseg::test;
using kstate::AddLink, kstate::DelLink, kstate::MendLink;

TEST_CASE_TEMPLATE("a segment is there once it was made, and gone once it was deleted", K, Fake, Real) {
  K k;
  CHECK(k.kernel.segments().value().empty());
  must(k.kernel.delete_segment(kName));  // deleting what is not there is success
  auto absent = k.kernel.observe(kName, {});
  REQUIRE(!absent);
  CHECK(absent.error().code == Errc::not_found);
  CHECK(code_of(k.kernel.apply(kName, DelLink{link_name(2)})) == Errc::not_found);

  must(k.kernel.create_segment(kName));
  must(k.kernel.create_segment(kName));
  must(k.kernel.create_segment("b00000000000"));
  CHECK(k.kernel.segments().value().size() == 2);
  auto empty = seen(k.kernel);
  CHECK(empty.links.empty());
  CHECK(!empty.table);

  must(k.kernel.delete_segment(kName));
  CHECK(k.kernel.segments().value() == std::vector<std::string>{"b00000000000"});
  CHECK(!k.kernel.observe(kName, {}));
}

TEST_CASE_TEMPLATE("a link is observed as it was added", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  auto want = link(2);
  SUBCASE("both families") {}
  SUBCASE("IPv4 only") {
    std::erase_if(want.addresses, [](auto& a) { return !a.ip().is_v4(); });
    std::erase_if(want.routes, [](auto& a) { return !a.ip().is_v4(); });
    std::erase_if(want.neighbours, [](auto& a) { return !a.first.is_v4(); });
  }
  SUBCASE("IPv6 only") {
    std::erase_if(want.addresses, [](auto& a) { return a.ip().is_v4(); });
    std::erase_if(want.routes, [](auto& a) { return a.ip().is_v4(); });
    std::erase_if(want.neighbours, [](auto& a) { return a.first.is_v4(); });
  }
  SUBCASE("the smallest MTU") { want.mtu = 1280; }
  SUBCASE("the largest MTU") { want.mtu = 65535; }
  SUBCASE("no gateway, so a link-local one") {
    want.addresses = {prefix("169.254.109.115/32"), prefix("fe80::6d73/128")};
  }
  SUBCASE("nothing on it") {
    want.addresses.clear();
    want.routes.clear();
    want.neighbours.clear();
  }
  must(k.kernel.apply(kName, AddLink{link_name(2), want}));
  auto have = seen(k.kernel);
  REQUIRE(have.links.contains(link_name(2)));
  CAPTURE(kstate::to_text(kstate::Plan{AddLink{link_name(2), have.links.at(link_name(2))}}));
  CHECK(want.same_as(have.links.at(link_name(2))));
  CHECK(have.links.size() == 1);
}

TEST_CASE_TEMPLATE("links beside each other hold the same gateway", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  for (unsigned n = 2; n < 12; ++n) must(k.kernel.apply(kName, AddLink{link_name(n), link(n)}));
  auto have = seen(k.kernel);
  REQUIRE(have.links.size() == 10);
  for (unsigned n = 2; n < 12; ++n) CHECK(link(n).same_as(have.links.at(link_name(n))));
  must(k.kernel.apply(kName, DelLink{link_name(5)}));
  have = seen(k.kernel);
  CHECK(have.links.size() == 9);
  for (unsigned n = 2; n < 12; ++n)
    if (n != 5) CHECK(link(n).same_as(have.links.at(link_name(n))));
}

TEST_CASE_TEMPLATE("errors of links", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  CHECK(code_of(k.kernel.apply(kName, DelLink{link_name(2)})) == Errc::not_found);
  CHECK(code_of(k.kernel.apply(kName, MendLink{link_name(2), link(2)})) == Errc::not_found);
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  CHECK(code_of(k.kernel.apply(kName, AddLink{link_name(2), link(2)})) == Errc::exists);
  CHECK(link(2).same_as(seen(k.kernel).links.at(link_name(2))));  // the refused one took nothing away
  auto lost = link(3);
  lost.peer.sandbox = "/nowhere";
  CHECK(code_of(k.kernel.apply(kName, AddLink{link_name(3), lost})) == Errc::not_found);
  CHECK(seen(k.kernel).links.size() == 1);
}

TEST_CASE_TEMPLATE("a link is mended to what it should be", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  auto want = link(2);
  SUBCASE("nothing to do") {}
  SUBCASE("another MTU") { want.mtu = 1400; }
  SUBCASE("another MAC") { want.mac = Mac::local(77); }
  SUBCASE("another alias") { want.alias = "microseg:" + long_id("zz"); }
  SUBCASE("everything of another endpoint") {
    want = link(9);
    want.mac = link(2).mac;
  }
  SUBCASE("a neighbour that has another MAC now") {
    for (auto& [address, mac] : want.neighbours) mac = Mac::local(5);
  }
  SUBCASE("nothing left") {
    want.addresses.clear();
    want.routes.clear();
    want.neighbours.clear();
  }
  must(k.kernel.apply(kName, MendLink{link_name(2), want}));
  CHECK(want.same_as(seen(k.kernel).links.at(link_name(2))));
}

TEST_CASE_TEMPLATE("a segment that lost its mount gets it back, with all that is in it", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  k.lose_mount(kName);
  CHECK(k.kernel.segments().value().empty());
  auto gone = k.kernel.observe(kName, {});
  REQUIRE(!gone);
  CHECK(gone.error().code == Errc::not_found);
  must(k.kernel.create_segment(kName));
  CHECK(k.kernel.segments().value() == std::vector<std::string>{kName});
  CHECK(link(2).same_as(seen(k.kernel).links.at(link_name(2))));
}

TEST_CASE_TEMPLATE("deleting a segment deletes its links; the name starts empty again", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  must(k.kernel.delete_segment(kName));
  must(k.kernel.create_segment(kName));
  CHECK(seen(k.kernel).links.empty());
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));  // the container's end is gone as well
}

TEST_CASE_TEMPLATE("sysctls: what this kernel has is shown, and can be set", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  const std::vector<std::string> paths = {"net/ipv4/ip_forward", "net/ipv4/no/such/thing"};
  CHECK(seen(k.kernel, paths).sysctls == std::map<std::string, std::string>{{"net/ipv4/ip_forward", "0"}});
  must(k.kernel.apply(kName, kstate::SetSysctl{"net/ipv4/ip_forward", "1"}));
  CHECK(seen(k.kernel, paths).sysctls == std::map<std::string, std::string>{{"net/ipv4/ip_forward", "1"}});
  CHECK(code_of(k.kernel.apply(kName, kstate::SetSysctl{"net/ipv4/no/such/thing", "1"})) == Errc::not_found);
  must(k.kernel.create_segment("b00000000000"));  // another segment's are its own
  CHECK(k.kernel.observe("b00000000000", paths)->sysctls.at("net/ipv4/ip_forward") == "0");
}

TEST_CASE_TEMPLATE("a link born in a sandbox", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  auto want = link(2);
  want.peer.sandbox = k.sandbox();
  must(k.kernel.apply(kName, AddLink{link_name(2), want}));
  CHECK(want.same_as(seen(k.kernel).links.at(link_name(2))));
}

// ---- what only the real kernel can show ----

namespace {

kernel::NetlinkSocket inside(const std::string& path) {
  return kernel::NetlinkSocket::open(kernel::open_netns(path).value(), NETLINK_ROUTE).value();
}

bool has_link(const Fd& netns, const std::string& name) {
  auto socket = kernel::NetlinkSocket::open(netns, NETLINK_ROUTE).value();
  return static_cast<bool>(kernel::index_of(socket, IfName::parse(name).value()));
}

}  // namespace

TEST_CASE("the container's end waits in the host's namespace under the same name") {
  Real k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  auto host = kernel::own_netns().value();
  CHECK(has_link(host, link_name(2).str()));
  must(k.kernel.apply(kName, DelLink{link_name(2)}));
  CHECK(!has_link(host, link_name(2).str()));
}

TEST_CASE("a failed AddLink leaves neither end") {
  Real k;
  must(k.kernel.create_segment(kName));
  auto bad = link(2);
  bad.peer.sandbox = k.sandbox();
  bad.peer.routes.push_back({prefix("10.99.0.0/16"), ip("10.98.0.1")});  // via an address that nothing reaches
  CHECK(!k.kernel.apply(kName, AddLink{link_name(2), bad}));
  CHECK(seen(k.kernel).links.empty());
  CHECK(!has_link(kernel::open_netns(bad.peer.sandbox).value(), "eth0"));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
}

TEST_CASE("a restored end has the first free name, the addresses and the routes that Docker had given it") {
  Real k;
  must(k.kernel.create_segment(kName));
  const std::string sandbox = k.sandbox();
  auto first = link(3), second = link(2);
  first.peer.sandbox = second.peer.sandbox = sandbox;
  first.peer.addresses = {prefix("192.0.2.3/24")};
  first.peer.routes.clear();
  must(k.kernel.apply(kName, AddLink{link_name(3), first}));
  must(k.kernel.apply(kName, AddLink{link_name(2), second}));
  auto netns = kernel::open_netns(sandbox).value();
  CHECK(has_link(netns, "eth0"));
  CHECK(has_link(netns, "eth1"));
  CHECK(!has_link(netns, "eth2"));

  auto socket = inside(sandbox);
  const int index = kernel::index_of(socket, IfName::parse("eth1").value()).value();
  std::set<Prefix> routes;
  for (std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    alignas(nlmsghdr) char buffer[256];
    auto* nlh = mnl_nlmsg_put_header(buffer);
    nlh->nlmsg_type = RTM_GETROUTE;
    static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(rtmsg)))->rtm_family = family;
    must(socket.dump(
        nlh, [] {},
        [&](const nlmsghdr* m) {
          auto* rtm = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(m));
          if (rtm->rtm_table != RT_TABLE_MAIN || rtm->rtm_protocol != RTPROT_BOOT) return;
          std::optional<Ip> destination;
          int out = 0;
          kernel::for_each_attr(m, sizeof *rtm, [&](const nlattr* a) {
            auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(a));
            if (mnl_attr_get_type(a) == RTA_OIF) out = static_cast<int>(mnl_attr_get_u32(a));
            if (mnl_attr_get_type(a) != RTA_DST) return;
            if (family == AF_INET) {
              destination = Ip::v4({bytes[0], bytes[1], bytes[2], bytes[3]});
            } else {
              std::array<std::uint8_t, 16> all{};
              std::copy(bytes, bytes + 16, all.begin());
              destination = Ip::v6(all);
            }
          });
          if (out == index && destination) routes.insert(Prefix::of(*destination, rtm->rtm_dst_len));
        },
        "list routes"));
  }
  std::set<Prefix> want;
  for (auto& route : second.peer.routes) want.insert(route.destination);
  CHECK(routes == want);
}

TEST_CASE("a second Kernel on the same directory sees what the first one made") {
  Real k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  auto second = kernel::make_linux_kernel(k.directory + "/netns").value();
  CHECK(second->segments().value() == std::vector<std::string>{kName});
  CHECK(link(2).same_as(seen(*second).links.at(link_name(2))));
  must(second->delete_segment(kName));
  CHECK(k.kernel.segments().value().empty());
}

TEST_CASE("what others do to a link shows as a difference") {
  Real k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  auto socket = inside(k.directory + "/netns/" + kName);
  const int index = kernel::index_of(socket, link_name(2)).value();
  kernel::Messages out;
  SUBCASE("a route gone") {
    kernel::message_route(out, false, index, prefix("10.5.0.2/32"), std::nullopt, kernel::kRouteProtocol);
  }
  SUBCASE("an IPv6 route gone") {
    kernel::message_route(out, false, index, prefix("fd05::2/128"), std::nullopt, kernel::kRouteProtocol);
  }
  SUBCASE("a route more") {
    kernel::message_route(out, true, index, prefix("10.7.0.0/16"), std::nullopt, kernel::kRouteProtocol);
  }
  SUBCASE("an address gone") { kernel::message_address(out, false, index, prefix("10.5.0.1/32")); }
  SUBCASE("an IPv6 address gone") { kernel::message_address(out, false, index, prefix("fd05::1/128")); }
  SUBCASE("an address more") { kernel::message_address(out, true, index, prefix("10.5.0.77/32")); }
  SUBCASE("a neighbour gone") { kernel::message_neighbour(out, false, index, ip("10.5.0.2"), Mac::local(1)); }
  SUBCASE("a neighbour changed") { kernel::message_neighbour(out, true, index, ip("fd05::2"), Mac::local(1)); }
  SUBCASE("a neighbour more") { kernel::message_neighbour(out, true, index, ip("10.5.0.50"), Mac::local(1)); }
  SUBCASE("down") {
    auto* nlh = out.add(RTM_NEWLINK, 0, sizeof(ifinfomsg));
    auto* ifi = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(nlh));
    ifi->ifi_index = index;
    ifi->ifi_change = IFF_UP;
    out.says("lower");
  }
  must(socket.request(out));
  auto have = seen(k.kernel).links.at(link_name(2));
  CHECK(!link(2).same_as(have));
  must(k.kernel.apply(kName, MendLink{link_name(2), link(2)}));
  have = seen(k.kernel).links.at(link_name(2));
  CAPTURE(kstate::to_text(kstate::Plan{AddLink{link_name(2), have}}));
  CHECK(link(2).same_as(have));
}
