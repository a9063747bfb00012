// Segments of several hosts, joined by their VXLAN devices alone: no table of ours is in the way. The hosts are
// namespaces of this process, with a veth for each stretch of the underlay.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "kernel/netns.h"
#include "microseg/kernel/kernel.h"
#include "support/lab_box.h"
#include "support/lab_packet.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;
using std::chrono::steady_clock;

namespace {

constexpr std::uint16_t kPort = 4799;
const std::string kSegment = "a00000000000";

Ip ip_of(const std::string& text) { return need(Ip::parse(text)); }
Prefix prefix_of(const std::string& text) { return need(Prefix::parse(text)); }

std::string fresh_directory() {
  static int count = 0;
  return fmt::format("/tmp/hosts-{}", ++count);
}

// A container's namespace, before it has a link.
struct Endpoint {
  unsigned n;
  Netns netns;
  Ip v4 = ip_of(fmt::format("10.5.0.{}", n)), v6 = ip_of(fmt::format("fd05::{}", n));
  Mac mac = Mac::local(0x100 + n);

  Ip address(bool is_v4) const { return is_v4 ? v4 : v6; }
  IfName link() const { return need(IfName::parse(fmt::format("ms{}", n))); }
};

struct Host {
  unsigned n;
  Netns netns;
  std::string directory = fresh_directory();
  std::unique_ptr<kernel::Kernel> kernel =
      need(kernel::make_linux_kernel(directory, need(kernel::open_netns(netns.path()))));
  kstate::Vxlan vxlan;
  Shown shown{fmt::format("host {}", n), [this] { return describe(netns) + "in its segment\n" + describe(segment()); }};

  explicit Host(unsigned number) : n(number) {
    need(kernel->create_segment(kSegment));
    for (auto* path : {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/proxy_ndp"})
      apply(kstate::SetSysctl{path, "1"});
    for (auto* path : {"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"})
      apply(kstate::SetSysctl{path, "0"});
    vxlan.alias = "microseg:network";
    vxlan.vni = 4711;
    vxlan.port = kPort;
    vxlan.local = address();
    vxlan.mac = Mac::local(0xa00 + n);
    vxlan.addresses = {Prefix::host(address()), prefix_of(fmt::format("fe80::6d73:c000:2{:02x}/128", n))};
    vxlan.routes = {prefix_of("10.5.0.0/24"), prefix_of("fd05::/64")};
    apply(kstate::AddVxlan{vxlan});
  }
  ~Host() { (void)kernel->delete_segment(kSegment); }

  Ip address() const { return ip_of(fmt::format("192.0.2.{}", n)); }
  Netns segment() const { return Netns::open(directory + "/" + kSegment); }
  void apply(const kstate::Op& op) const { need(kernel->apply(kSegment, op)); }
  void mend() const { apply(kstate::MendVxlan{vxlan}); }
  void meet(const Host& other) {
    vxlan.peers.insert(other.address());
    mend();
  }
  void take(const Endpoint& e) {
    kstate::Link link;
    link.alias = "microseg:endpoint";
    link.mac = Mac::local(0x1000 + e.n);
    link.mtu = 1450;
    link.addresses = {prefix_of("10.5.0.1/32"), prefix_of("fd05::1/128")};
    link.routes = {Prefix::host(e.v4), Prefix::host(e.v6)};
    link.neighbours = {{e.v4, e.mac}, {e.v6, e.mac}};
    link.peer.mac = e.mac;
    link.peer.sandbox = e.netns.path();
    link.peer.addresses = {Prefix::host(e.v4), Prefix::host(e.v6)};
    link.peer.routes = {{prefix_of("10.5.0.1/32"), {}},
                        {prefix_of("fd05::1/128"), {}},
                        {prefix_of("0.0.0.0/0"), ip_of("10.5.0.1")},
                        {prefix_of("::/0"), ip_of("fd05::1")}};
    apply(kstate::AddLink{e.link(), link});
    vxlan.proxies.insert({e.v4, e.v6});
    mend();
    segment().await(e.link().str());
  }
  void lose(const Endpoint& e) {
    apply(kstate::DelLink{e.link()});
    vxlan.proxies.erase(e.v4);
    vxlan.proxies.erase(e.v6);
    mend();
  }
};

// One stretch of the underlay, with a route at either end and no other anywhere.
void join(const Host& a, const Host& b) {
  a.netns.run(fmt::format("ip link add to{} type veth peer name to{} netns {}", b.n, a.n, b.netns.path()));
  for (auto* ends : {&a, &b}) {
    const Host &here = *ends, &there = ends == &a ? b : a;
    here.netns.run(fmt::format("ip addr replace {0}/32 dev lo; ip link set to{1} up; "
                               "ip route add {2}/32 dev to{1} src {0}",
                               here.address().str(), there.n, there.address().str()));
  }
  a.netns.await(fmt::format("to{}", b.n));
  b.netns.await(fmt::format("to{}", a.n));
}

// Whether a tunnel's frame came in at this link, or comes soon.
bool tunnelled(Tap& tap, milliseconds patience) {
  while (auto captured = tap.next(patience))
    if (auto seen = view(captured->frame); seen && seen->protocol == kUdp)
      if (number_at(captured->frame, seen->transport + 2, 2) == kPort) return true;
  return false;
}

// Asks again until there is an answer, for a second at most.
milliseconds answered_after(const Endpoint& from, const Ip& to) {
  const auto began = steady_clock::now();
  auto passed = [&] { return std::chrono::duration_cast<milliseconds>(steady_clock::now() - began); };
  while (passed() < milliseconds(1000))
    if (ping(from.netns, to, 56, milliseconds(100)) == "answered") return passed();
  return milliseconds(-1);
}

struct TwoHosts {
  Host a{1}, b{2};
  Endpoint one{11, {}}, two{12, {}};
  TwoHosts() {
    join(a, b);
    a.take(one);
    b.take(two);
  }
  void meet() {
    a.meet(b);
    b.meet(a);
  }
};

}  // namespace

TEST_CASE("endpoints of two hosts reach each other, in both families and directions, up to the MTU") {
  TwoHosts x;
  x.meet();
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    CHECK(ping(x.one.netns, x.two.address(v4)) == "answered");
    CHECK(ping(x.two.netns, x.one.address(v4)) == "answered");
    CHECK(ping(x.one.netns, x.two.address(v4), 1450U - (v4 ? 28U : 48U)) == "answered");
    CHECK(ask_tcp(x.one.netns, x.two.netns, x.two.address(v4), 80) == "answered");
    CHECK(ask_udp(x.two.netns, x.one.netns, x.one.address(v4), 53, 1200) == "answered");
  }
}

TEST_CASE("a packet's mark goes with it") {
  TwoHosts x;
  x.meet();
  auto rules = [](const Netns& segment, unsigned out, unsigned in) {
    segment.run(fmt::format("nft -f - <<'END'\n"
                            "table inet test\n"
                            "delete table inet test\n"
                            "table inet test {{\n"
                            "  chain forward {{\n"
                            "    type filter hook forward priority 0\n"
                            "    oifname msvx meta mark set {}\n"
                            "    iifname msvx meta mark != {} drop\n"
                            "  }}\n"
                            "}}\nEND\n",
                            out, in));
  };
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    rules(x.a.segment(), 42, 65535);
    rules(x.b.segment(), 65535, 42);
    CHECK(ping(x.one.netns, x.two.address(v4)) == "answered");
    rules(x.a.segment(), 43, 65535);
    CHECK(ping(x.one.netns, x.two.address(v4), 56, milliseconds(300)) == "no answer");
    rules(x.a.segment(), 0, 65535);
    CHECK(ping(x.one.netns, x.two.address(v4), 56, milliseconds(300)) == "no answer");
  }
}

TEST_CASE("without peers nothing is sent to the underlay") {
  TwoHosts x;
  Tap tap(x.b.netns, "to1");
  for (bool v4 : {true, false}) CHECK(ping(x.one.netns, x.two.address(v4), 56, milliseconds(300)) != "answered");
  x.a.apply(kstate::Announce{{x.one.v4, x.one.v6}});
  CHECK(!tunnelled(tap, milliseconds(100)));
  x.a.meet(x.b);
  x.a.apply(kstate::Announce{{x.one.v4, x.one.v6}});
  CHECK(tunnelled(tap, milliseconds(1000)));
}

TEST_CASE("only who is a proxy here is answered for") {
  TwoHosts x;
  x.b.vxlan.proxies.clear();
  x.meet();
  for (bool v4 : {true, false})
    CHECK(ping(x.one.netns, x.two.address(v4), 56, milliseconds(500)) != "answered");
  x.b.vxlan.proxies = {x.two.v4, x.two.v6};
  x.b.mend();
  x.b.apply(kstate::Announce{{x.two.v4, x.two.v6}});  // else a question that found no answer is asked again in a second
  for (bool v4 : {true, false}) CHECK(answered_after(x.one, x.two.address(v4)) >= milliseconds(0));
}

TEST_CASE("an address that moved is found at its new host once that announces it") {
  Host a{1}, b{2}, c{3};
  Endpoint one{11, {}}, two{12, {}};
  join(a, b);
  join(a, c);
  a.take(one);
  b.take(two);
  for (auto* other : {&b, &c}) {
    a.meet(*other);
    other->meet(a);
  }
  for (bool v4 : {true, false}) REQUIRE(ping(one.netns, two.address(v4)) == "answered");
  b.lose(two);
  c.take(two);
  // The first host still knows it at the second one.
  for (bool v4 : {true, false}) CHECK(ping(one.netns, two.address(v4), 56, milliseconds(300)) != "answered");
  c.apply(kstate::Announce{{two.v4, two.v6}});
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const auto took = answered_after(one, two.address(v4));
    fmt::print("vxlan: moved address, {}: answered {} ms after the announcement\n", v4 ? "IPv4" : "IPv6", took.count());
    CHECK(took >= milliseconds(0));  // within a second; a neighbour that nobody announces anew is asked after five
  }
}
