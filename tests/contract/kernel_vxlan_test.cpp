// One suite for both kernels: a segment's VXLAN device.
#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "contract/kernel_testing.h"
#include "kernel/netns.h"

using namespace microseg;
using namespace microseg::test;
using kstate::AddLink, kstate::AddVxlan, kstate::Announce, kstate::DelVxlan, kstate::MendVxlan, kstate::Vxlan;

namespace {

constexpr std::uint16_t kPort = 4799;

Vxlan vxlan() {
  Vxlan out;
  out.alias = "microseg:" + long_id("a");
  out.vni = 4711;
  out.port = kPort;
  out.local = ip("192.0.2.1");
  out.mac = Mac::local(0xa1);
  out.mtu = 1450;
  out.addresses = {prefix("192.0.2.1/32"), prefix("fe80::6d73:c000:201/128")};
  out.routes = {prefix("10.5.0.0/24"), prefix("fd05::/64")};
  out.peers = {ip("192.0.2.2"), ip("192.0.2.3")};
  out.proxies = {ip("10.5.0.2"), ip("fd05::2")};
  return out;
}

std::string text(const std::optional<Vxlan>& device) {
  return device ? kstate::to_text(kstate::Plan{AddVxlan{*device}}) + device->alias : "none";
}

}  // namespace

TEST_CASE_TEMPLATE("a VXLAN device is observed as it was added", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  auto want = vxlan();
  SUBCASE("both families") {}
  SUBCASE("nothing on it") {
    want.addresses.clear();
    want.routes.clear();
    want.peers.clear();
    want.proxies.clear();
  }
  SUBCASE("an underlay of IPv6") {
    want.local = ip("2001:db8::1");
    want.peers = {ip("2001:db8::2"), ip("2001:db8::3")};
    want.addresses = {prefix("169.254.7.8/32"), prefix("fe80::6d73:1234:5678/128")};
  }
  SUBCASE("IPv4 only") {
    want.addresses = {prefix("192.0.2.1/32")};
    want.routes = {prefix("10.5.0.0/24")};
    want.proxies = {ip("10.5.0.2")};
  }
  SUBCASE("the largest VNI, the smallest MTU") {
    want.vni = (1U << 24) - 1;
    want.mtu = 1280;
  }
  SUBCASE("many peers and proxies") {
    for (unsigned n = 10; n < 200; ++n) {
      want.peers.insert(ip(fmt::format("192.0.2.{}", n)));
      want.proxies.insert(ip(fmt::format("10.5.0.{}", n)));
      want.proxies.insert(ip(fmt::format("fd05::{}", n)));
    }
  }
  must(k.kernel.apply(kName, AddVxlan{want}));
  CHECK(text(seen(k.kernel).vxlan) == text(want));
  CHECK(seen(k.kernel).vxlan == want);
  CHECK(seen(k.kernel).links.empty());
}

TEST_CASE_TEMPLATE("a VXLAN device beside links", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  must(k.kernel.apply(kName, AddLink{link_name(3), link(3)}));
  auto have = seen(k.kernel);
  CHECK(have.vxlan == vxlan());
  CHECK(have.links.size() == 2);
  CHECK(link(2).same_as(have.links.at(link_name(2))));
  must(k.kernel.apply(kName, DelVxlan{}));
  have = seen(k.kernel);
  CHECK(!have.vxlan);
  CHECK(have.links.size() == 2);
}

TEST_CASE_TEMPLATE("errors of a VXLAN device", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  CHECK(code_of(k.kernel.apply(kName, DelVxlan{})) == Errc::not_found);
  CHECK(code_of(k.kernel.apply(kName, MendVxlan{vxlan()})) == Errc::not_found);
  CHECK(code_of(k.kernel.apply(kName, Announce{{ip("10.5.0.2")}})) == Errc::not_found);
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  auto other = vxlan();
  other.vni = 4712;
  CHECK(code_of(k.kernel.apply(kName, AddVxlan{other})) == Errc::exists);
  CHECK(seen(k.kernel).vxlan == vxlan());  // the refused one took nothing away
}

TEST_CASE_TEMPLATE("a VNI is one segment's on a host, until its device goes", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.create_segment("b00000000000"));
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  CHECK(code_of(k.kernel.apply("b00000000000", AddVxlan{vxlan()})) == Errc::exists);
  CHECK(!k.kernel.observe("b00000000000", {})->vxlan);
  SUBCASE("alone") { must(k.kernel.apply(kName, DelVxlan{})); }
  SUBCASE("with its segment") { must(k.kernel.delete_segment(kName)); }
  must(k.kernel.apply("b00000000000", AddVxlan{vxlan()}));
  CHECK(k.kernel.observe("b00000000000", {})->vxlan == vxlan());
}

TEST_CASE_TEMPLATE("a VXLAN device is mended to what it should be", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  auto want = vxlan();
  SUBCASE("nothing to do") {}
  SUBCASE("another MTU") { want.mtu = 1400; }
  SUBCASE("another alias") { want.alias = "microseg:" + long_id("zz"); }
  SUBCASE("other peers") { want.peers = {ip("192.0.2.3"), ip("192.0.2.4")}; }
  SUBCASE("no peers") { want.peers.clear(); }
  SUBCASE("other proxies") { want.proxies = {ip("10.5.0.2"), ip("10.5.0.9"), ip("fd05::9")}; }
  SUBCASE("other addresses and routes") {
    want.addresses = {prefix("192.0.2.77/32"), prefix("fe80::6d73:c000:24d/128")};
    want.routes = {prefix("10.6.0.0/16"), prefix("fd06::/64")};
  }
  SUBCASE("nothing left") {
    want.addresses.clear();
    want.routes.clear();
    want.peers.clear();
    want.proxies.clear();
  }
  must(k.kernel.apply(kName, MendVxlan{want}));
  CHECK(text(seen(k.kernel).vxlan) == text(want));
  CHECK(seen(k.kernel).vxlan == want);
}

TEST_CASE_TEMPLATE("announcements leave nothing behind", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  must(k.kernel.apply(kName, Announce{{ip("10.5.0.2"), ip("fd05::2")}}));
  must(k.kernel.apply(kName, Announce{{}}));
  CHECK(seen(k.kernel).vxlan == vxlan());
}

// ---- what only the real kernel can show ----

namespace {

struct InSegment : Real {
  InSegment() {
    must(kernel.create_segment(kName));
    must(kernel.apply(kName, AddVxlan{vxlan()}));
  }
  std::string path() const { return directory + "/netns/" + kName; }
  // A shell command inside the segment.
  void run(const std::string& command) const {
    const auto whole = fmt::format("nsenter --net={} sh -ec '{}'", path(), command);
    REQUIRE_MESSAGE(std::system(whole.c_str()) == 0, whole);
  }
};

// What binding a UDP socket to the port says, 0 when it is free.
int bind_in(const Fd& netns) {
  int err = 0;
  must(kernel::in_netns(netns, [&] {
    Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) err = errno;
  }));
  return err;
}

}  // namespace

TEST_CASE("the tunnel is in the host's namespace, for as long as the device is there") {
  Real k;
  must(k.kernel.create_segment(kName));
  const auto segment = kernel::open_netns(k.directory + "/netns/" + kName).value();
  const auto host = kernel::own_netns().value();
  CHECK(bind_in(host) == 0);
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
  CHECK(bind_in(host) == EADDRINUSE);
  CHECK(bind_in(segment) == 0);
  must(k.kernel.apply(kName, DelVxlan{}));
  CHECK(bind_in(host) == 0);
}

TEST_CASE("another host's namespace can stand in for the process's own") {
  Real k;
  const auto other = kernel::new_netns().value();
  auto second = kernel::make_linux_kernel(k.directory + "/other", kernel::open_netns(
      fmt::format("/proc/self/fd/{}", other.get())).value()).value();
  must(k.kernel.create_segment(kName));
  must(second->create_segment(kName));
  must(second->apply(kName, AddVxlan{vxlan()}));
  CHECK(bind_in(other) == EADDRINUSE);
  CHECK(bind_in(kernel::own_netns().value()) == 0);
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));  // the same VNI, on another host
  must(second->delete_segment(kName));
}

TEST_CASE("who has the VNI or the port is told what to do about it") {
  InSegment k;
  must(k.kernel.create_segment("b00000000000"));
  auto refused = k.kernel.apply("b00000000000", AddVxlan{vxlan()});
  REQUIRE(!refused);
  CAPTURE(refused.error().text);
  CHECK(refused.error().text.find("VNI 4711 at UDP port 4799 is in use on this host") != std::string::npos);

  must(k.kernel.apply(kName, DelVxlan{}));
  Fd taken(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  REQUIRE(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  refused = k.kernel.apply(kName, AddVxlan{vxlan()});
  REQUIRE(!refused);
  CAPTURE(refused.error().text);
  CHECK(refused.error().text.find("UDP port 4799 has another user on this host") != std::string::npos);
  CHECK(!seen(k.kernel).vxlan);
  taken = Fd();
  must(k.kernel.apply(kName, AddVxlan{vxlan()}));
}

TEST_CASE("what others do to a VXLAN device shows as a difference, and is mended") {
  const char* rows[] = {
      "bridge fdb del 00:00:00:00:00:00 dev msvx dst 192.0.2.2",
      "bridge fdb append 00:00:00:00:00:00 dev msvx dst 192.0.2.99",
      "ip neigh del proxy 10.5.0.2 dev msvx",
      "ip neigh del proxy fd05::2 dev msvx",
      "ip neigh add proxy 10.5.0.99 dev msvx",
      "ip neigh add proxy fd05::99 dev msvx",
      "ip route del 10.5.0.0/24 dev msvx",
      "ip -6 route del fd05::/64 dev msvx",
      "ip addr del 192.0.2.1/32 dev msvx",
      "ip addr del fe80::6d73:c000:201/128 dev msvx",
      "ip addr add 10.5.0.77/32 dev msvx",
      "ip addr flush dev msvx",
      "ip link set msvx down",
      "ip link set msvx down; ip link set msvx up",
      "ip link set msvx mtu 1400",
      "ip link set msvx mtu 1000",
      "ip link set msvx alias nothing",
  };
  for (auto* row : rows) {
    CAPTURE(row);
    InSegment k;
    k.run(row);
    CHECK(seen(k.kernel).vxlan != vxlan());
    must(k.kernel.apply(kName, MendVxlan{vxlan()}));
    CHECK(text(seen(k.kernel).vxlan) == text(vxlan()));
    CHECK(seen(k.kernel).vxlan == vxlan());
  }
}

TEST_CASE("what cannot be mended shows as another tunnel, or as a link that nobody wants") {
  const std::string add = "ip link del msvx; ip link add msvx type ";
  const std::string rows[] = {
      "ip link set msvx address 02:00:00:00:00:01",
      "ip link set msvx type vxlan id 4711 nolearning",
      "ip link set msvx type vxlan id 4711 ttl 1",
      "bridge fdb append 00:00:00:00:00:00 dev msvx dst 192.0.2.99 port 4789",
      "bridge fdb add 02:00:00:00:00:02 dev msvx dst 192.0.2.99",
      "ip neigh add 10.5.0.50 lladdr 02:00:00:00:00:02 nud permanent dev msvx",
      add + "vxlan id 4711 dstport 4799 local 192.0.2.1 gbp learning ttl 64",  // its tunnel is in the segment
      "ip link set msvx down; ip link set msvx name foreign",
      add + "veth peer name other",
  };
  for (auto& row : rows) {
    CAPTURE(row);
    InSegment k;
    k.run(row);
    auto have = seen(k.kernel);
    CAPTURE(text(have.vxlan));
    CHECK(!(have.vxlan && have.vxlan->same_tunnel(vxlan())));
    if (have.vxlan) must(k.kernel.apply(kName, DelVxlan{}));
    else CHECK(have.links.size() >= 1);
    for (auto& [name, link] : have.links) must(k.kernel.apply(kName, kstate::DelLink{name}));
    must(k.kernel.apply(kName, AddVxlan{vxlan()}));
    have = seen(k.kernel);
    CHECK(have.vxlan == vxlan());
    CHECK(have.links.empty());
  }
}

TEST_CASE("what is learnt is no difference") {
  InSegment k;
  k.run("bridge fdb add 02:00:00:00:00:02 dev msvx dst 192.0.2.2 dynamic");
  k.run("ip neigh add 10.5.0.50 lladdr 02:00:00:00:00:02 nud reachable dev msvx");
  k.run("ip -6 neigh add fd05::50 lladdr 02:00:00:00:00:02 nud stale dev msvx");
  CHECK(text(seen(k.kernel).vxlan) == text(vxlan()));
  CHECK(seen(k.kernel).vxlan == vxlan());
}

TEST_CASE("with other peers, what was found behind the old ones is looked for again") {
  InSegment k;
  const auto learn = [&] {
    k.run("ip neigh replace 10.5.0.50 lladdr 02:00:00:00:00:02 nud reachable dev msvx");
    k.run("ip neigh replace 10.5.0.51 lladdr 02:00:00:00:00:02 nud stale dev msvx");
    k.run("ip -6 neigh replace fd05::50 lladdr 02:00:00:00:00:02 nud reachable dev msvx");
  };
  const char* const kept = "test $(ip neigh show dev msvx | grep -c 02:00:00:00:00:02) = 3";
  const char* const gone = "test -z \"$(ip neigh show dev msvx)\"";
  auto want = vxlan();
  learn();
  want.mtu = 1400;
  must(k.kernel.apply(kName, MendVxlan{want}));
  k.run(kept);
  want.peers = {ip("192.0.2.3"), ip("192.0.2.4")};
  must(k.kernel.apply(kName, MendVxlan{want}));
  k.run(gone);
  learn();
  want.peers.erase(ip("192.0.2.4"));
  must(k.kernel.apply(kName, MendVxlan{want}));
  k.run(gone);
  CHECK(seen(k.kernel).vxlan == want);
}

TEST_CASE("the device has no address but ours, in force once it is up") {
  InSegment k;
  k.run("test $(ip -6 -o addr show dev msvx | wc -l) = 1");
  k.run("ip -6 route show table local | grep -q fe80::6d73:c000:201");
}

TEST_CASE("proxies answer at once") {
  InSegment k;
  const std::vector<std::string> delays = {"net/ipv4/neigh/msvx/proxy_delay", "net/ipv6/neigh/msvx/proxy_delay"};
  for (int round = 0; round < 2; ++round) {
    const auto have = seen(k.kernel, delays).sysctls;
    REQUIRE(have.size() == 2);
    for (auto& [path, value] : have) CHECK(value == "0");
    for (auto& path : delays) must(k.kernel.apply(kName, kstate::SetSysctl{path, "80"}));
    must(k.kernel.apply(kName, MendVxlan{vxlan()}));
  }
}

// ---- what the monitor tells ----

namespace {

struct Told {
  std::mutex mutex;
  std::condition_variable changed;
  int count = 0;

  std::function<void(const std::string&)> hear() {
    return [this](const std::string&) {
      std::lock_guard lock(mutex);
      ++count;
      changed.notify_all();
    };
  }
  // Whether there is more than `before`, now or soon.
  bool more_than(int before) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(5), [&] { return count > before; });
  }
  int so_far() {
    std::lock_guard lock(mutex);
    return count;
  }
};

struct Hearing {
  Told told;
};

struct WatchedSegment : Hearing, InSegment {  // in this order: the kernel's thread calls `told`
  WatchedSegment() {
    kernel.watch(told.hear());
    settle();
  }
  // Whatever was told before is behind us: events come in order, and the last one is of this change.
  void settle() {
    const int before = told.so_far();
    run("ip link set lo mtu 60000; ip link set lo mtu 65536");
    CHECK(told.more_than(before));
    quiet();
  }
  // Nothing comes any more.
  void quiet() {
    std::unique_lock lock(told.mutex);
    for (int seen = -1; seen != told.count;) {
      seen = told.count;
      (void)told.changed.wait_for(lock, std::chrono::milliseconds(100), [&] { return told.count != seen; });
    }
  }
};

}  // namespace

TEST_CASE("changes to what is ours are told") {
  WatchedSegment k;
  const char* rows[] = {
      "bridge fdb del 00:00:00:00:00:00 dev msvx dst 192.0.2.2",
      "bridge fdb append 00:00:00:00:00:00 dev msvx dst 192.0.2.99",
      "bridge fdb add 02:00:00:00:00:02 dev msvx dst 192.0.2.99",
      "ip neigh add 10.5.0.50 lladdr 02:00:00:00:00:02 nud permanent dev msvx",
      "ip route del 10.5.0.0/24 dev msvx",
      "ip addr del 192.0.2.1/32 dev msvx",
      "ip link set msvx mtu 1400",
      "ip link set msvx down",
      "ip link del msvx",
  };
  for (auto* row : rows) {
    CAPTURE(row);
    const int before = k.told.so_far();
    k.run(row);
    CHECK(k.told.more_than(before));
    k.quiet();
  }
}

TEST_CASE("a permanent neighbour that is deleted or made less is told") {
  for (auto* row : {"ip neigh del 10.5.0.2 dev", "ip neigh change 10.5.0.2 lladdr 02:00:00:00:00:09 nud reachable dev",
                    "ip -6 neigh del fd05::2 dev"}) {
    CAPTURE(row);
    WatchedSegment k;
    must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));
    k.settle();
    const int before = k.told.so_far();
    k.run(std::string(row) + " " + link_name(2).str());
    CHECK(k.told.more_than(before));
  }
}

TEST_CASE("what is learnt and forgotten is not told") {
  WatchedSegment k;
  const int before = k.told.so_far();
  for (int n = 10; n < 60; ++n)
    k.run(fmt::format("bridge fdb replace 02:00:00:00:00:{0} dev msvx dst 192.0.2.{0} dynamic;"
                      "ip neigh replace 10.5.0.{0} lladdr 02:00:00:00:00:{0} nud reachable dev msvx;"
                      "ip -6 neigh replace fd05::{0} lladdr 02:00:00:00:00:{0} nud stale dev msvx",
                      n));
  k.run("ip neigh flush dev msvx; ip -6 neigh flush dev msvx; bridge fdb del 02:00:00:00:00:10 dev msvx dst 192.0.2.10");
  k.quiet();
  CHECK(k.told.so_far() == before);
  k.settle();  // it does tell of other things
}

TEST_CASE("a link whose container's end comes up or goes down is no news; one that is changed itself is") {
  WatchedSegment k;
  const auto name = link_name(2).str();
  must(k.kernel.apply(kName, kstate::SetSysctl{"net/ipv6/conf/default/addr_gen_mode", "1"}));  // as every segment has it
  must(k.kernel.apply(kName, AddLink{link_name(2), link(2)}));  // the container's end is born here, with the same name
  k.settle();
  const int before = k.told.so_far();
  for (auto* state : {"up", "down", "up"}) REQUIRE(std::system(fmt::format("ip link set {} {}", name, state).c_str()) == 0);
  k.run(fmt::format("until ip link show {} | grep -q LOWER_UP; do :; done", name));
  k.quiet();
  CHECK(k.told.so_far() == before);
  for (auto* row : {"down", "up", "mtu 1400", "address 02:00:00:00:00:99", "alias somebody", "name msother"}) {
    CAPTURE(row);
    const int so_far = k.told.so_far();
    k.run(fmt::format("ip link set {} {}", name, row));
    CHECK(k.told.more_than(so_far));
    k.quiet();
  }
}
