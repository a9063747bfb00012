// One suite for both kernels: the ports of bridges in the host's own namespace, and our table there.
#include <doctest/doctest.h>

#include <net/if.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "contract/kernel_testing.h"
#include "support/lab_netns.h"
#include "kernel/nft.h"
#include "microseg/reconcile/host.h"
#include "microseg/reconcile/ports.h"
#include "microseg/render/host_table.h"
#include "microseg/render/ports_table.h"

using namespace microseg;
using namespace microseg::test;
using namespace microseg::kstate;
using kernel::kHost, kernel::kHostPorts;

namespace {

IfName name(const std::string& text) { return IfName::parse(text).value(); }
const IfName kBridge = name("docker_gwbridge"), kOther = name("br-other");
const Mac kMacA = Mac::local(1), kMacB = Mac::local(2);

// Both know two bridges, and containers at their ports.
struct FakePorts {
  FakeKernel fake;
  kernel::Kernel& kernel = fake;
  PortIndex plug(const IfName& bridge, const std::string& port) {
    const PortIndex index = 10 + static_cast<PortIndex>(fake.state[kHostPorts].ports.size());
    fake.state[kHostPorts].ports.insert({index, BridgePort{name(port), bridge}});
    fake.ends["/sandbox/" + port] = index;
    return index;
  }
  std::string sandbox(const std::string& port) { return "/sandbox/" + port; }
  void unplug(const std::string& port) {
    fake.state[kHostPorts].ports.erase(fake.ends.at("/sandbox/" + port));
    fake.ends.erase("/sandbox/" + port);
  }
  void die() { fake.lose_owner(); }
};

struct LinuxPorts {
  const lab::Netns host = lab::host();
  std::unique_ptr<kernel::Kernel> owned = kernel::make_linux_kernel("/tmp/segments").value();
  std::map<std::string, lab::Netns> containers;
  struct Forward {
    LinuxPorts& of;
    auto observe(const std::string& n, const std::vector<std::string>& s) { return of.owned->observe(n, s); }
    auto apply(const std::string& n, const Op& op) { return of.owned->apply(n, op); }
    auto counters(const std::string& n) { return of.owned->counters(n); }
    auto segments() { return of.owned->segments(); }
    auto create_segment(const std::string& n) { return of.owned->create_segment(n); }
    auto delete_segment(const std::string& n) { return of.owned->delete_segment(n); }
    auto port_of(const std::string& s, const IfName& b, const std::optional<Mac>& m) { return of.owned->port_of(s, b, m); }
  } kernel{*this};

  LinuxPorts() {
    for (auto& bridge : {kBridge, kOther}) host.run("ip link add " + bridge.str() + " type bridge && ip link set " + bridge.str() + " up");
  }
  ~LinuxPorts() {
    owned.reset();
    (void)host.output_of("nft delete table bridge microseg; nft delete table inet microseg");
    for (auto& [port, _] : containers) (void)host.output_of("ip link del " + port);
    for (auto& bridge : {kBridge, kOther}) (void)host.output_of("ip link del " + bridge.str());
  }
  PortIndex plug(const IfName& bridge, const std::string& port) {
    auto& inside = containers.try_emplace(port).first->second;
    inside.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");  // what IPv6 says of itself would be counted
    host.run("ip link add " + port + " type veth peer name eth1 netns " + inside.path() + " && ip link set " + port +
             " master " + bridge.str() + " up");
    inside.run("ip link set eth1 up");
    return if_nametoindex(port.c_str());
  }
  std::string sandbox(const std::string& port) { return containers.at(port).path(); }
  void unplug(const std::string& port) {
    host.run("ip link del " + port);
    containers.erase(port);
  }
  void die() {
    owned.reset();
    owned = kernel::make_linux_kernel("/tmp/segments").value();
  }
};

template <class K>
Segment seen_at(K& k) {
  auto out = k.kernel.observe(kHostPorts, {"net/ipv4/ip_forward"});
  REQUIRE_MESSAGE(out, out.error().text);
  CHECK(out->sysctls.empty());
  CHECK(out->links.empty());
  return std::move(out).value();
}

// Does the plan; says how many ops it had. After it there is nothing left to do.
template <class K>
std::size_t become(K& k, const std::optional<GatewayPorts>& wanted) {
  const auto plan = reconcile::plan_ports(wanted, seen_at(k));
  for (auto& op : plan) must(k.kernel.apply(kHostPorts, op));
  const auto left = reconcile::plan_ports(wanted, seen_at(k));
  CHECK_MESSAGE(left.empty(), to_text(left));
  return plan.size();
}

GatewayPorts wanted(PortIndex a, PortIndex b) {
  return {kBridge, {{a, {kMacA, {ip("172.18.0.3"), ip("fd18::3")}}}, {b, {kMacB, {ip("172.18.0.4")}}}}, {ip("172.18.0.9")}};
}

bool is_plain(const BridgePort& port) { return !port.isolated && port.learning && port.kept.empty(); }

}  // namespace

TYPE_TO_STRING(FakePorts);
TYPE_TO_STRING(LinuxPorts);

TEST_CASE("ports are followed by what the kernel tells: a fresh look shows the same after every change by others") {
  LinuxPorts k;
  CHECK(seen_at(k).ports.empty());
  (void)k.plug(kBridge, "vetha");
  (void)k.plug(kBridge, "vethb");
  (void)k.plug(kOther, "vethf");
  const char* changes[] = {"bridge link set dev vetha isolated on",
                           "bridge link set dev vetha learning off",
                           "echo 1 >/sys/class/net/vethb/brport/isolated",
                           "bridge fdb add 02:00:00:00:00:07 dev vetha master static sticky",
                           "bridge fdb add 02:00:00:00:00:08 dev vetha master static",
                           "bridge fdb replace 02:00:00:00:00:07 dev vetha master static",
                           "bridge fdb add 02:00:00:00:00:09 dev vetha master static sticky",
                           "bridge fdb del 02:00:00:00:00:09 dev vetha master",
                           "bridge fdb add 02:00:00:00:00:0a dev vetha master static sticky",
                           "bridge fdb replace 02:00:00:00:00:0a dev vethb master static sticky",
                           "ip link set vethb down && ip link set vethb name vethc",
                           "ip link set vethf master docker_gwbridge",
                           "ip link set vetha nomaster",
                           "ip link set vetha master br-other",
                           "ip link del vetha",
                           "ip link set vethc master br-other && ip link set vethf nomaster && ip link del vethf",
                           "for i in $(seq 2000); do ip link set vethc alias a$i; done"};  // more than a socket holds
  k.host.run("mount -t sysfs sysfs /sys");
  for (auto* change : changes) {
    CAPTURE(change);
    k.host.run(change);
    const auto followed = seen_at(k).ports;
    auto fresh = kernel::make_linux_kernel("/tmp/segments").value();
    CHECK(followed == fresh->observe(kHostPorts, {}).value().ports);
  }
  k.host.run("umount /sys");
  for (auto* link : {"vethc"}) (void)k.host.output_of(std::string("ip link del ") + link);
}

TEST_CASE_TEMPLATE("ports of every bridge are seen, and which container each leads to", K, FakePorts, LinuxPorts) {
  K k;
  CHECK(seen_at(k).ports.empty());
  CHECK(!seen_at(k).table);
  const auto a = k.plug(kBridge, "vetha"), f = k.plug(kOther, "vethf");
  const auto ports = seen_at(k).ports;
  REQUIRE(ports.size() == 2);
  CHECK(ports.at(a) == BridgePort{name("vetha"), kBridge});
  CHECK(ports.at(f) == BridgePort{name("vethf"), kOther});
  CHECK(k.kernel.port_of(k.sandbox("vetha"), kBridge, {}).value() == a);
  CHECK(k.kernel.port_of(k.sandbox("vethf"), kOther, {}).value() == f);
  CHECK(k.kernel.port_of(k.sandbox("vethf"), kBridge, {}).error().code == Errc::not_found);
  CHECK(k.kernel.port_of("/sandbox/none", kBridge, {}).error().code == Errc::not_found);
  k.unplug("vethf");
  CHECK(seen_at(k).ports.size() == 1);
}

TEST_CASE_TEMPLATE("the host's ports are no segment, and only they and our table are changed", K, FakePorts, LinuxPorts) {
  K k;
  CHECK(k.kernel.segments()->empty());
  CHECK(code_of(k.kernel.create_segment(kHostPorts)) == Errc::invalid);
  CHECK(code_of(k.kernel.delete_segment(kHostPorts)) == Errc::invalid);
  CHECK(code_of(k.kernel.apply(kHostPorts, SetSysctl{"net/ipv4/ip_forward", "1"})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHostPorts, AddLink{link_name(2), link(2)})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHostPorts, DelLink{link_name(2)})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHostPorts, PurgeConnections{})) == Errc::unsupported);
  CHECK(code_of(k.kernel.apply(kHostPorts, BindPort{999, kMacA})) == Errc::not_found);
  CHECK(code_of(k.kernel.apply(kHost, BindPort{999, kMacA})) == Errc::unsupported);
  must(k.kernel.apply(kHostPorts, Quiesce{}));
}

TEST_CASE_TEMPLATE("ports become ours, and are given back as they were", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb"), f = k.plug(kBridge, "vethf");
  const auto o = k.plug(kOther, "vetho");
  CHECK(become(k, wanted(a, b)) == 3);  // two ports, then the table
  auto now = seen_at(k);
  CHECK(now.ports.at(a) == BridgePort{name("vetha"), kBridge, true, false, {kMacA}});
  CHECK(now.ports.at(b) == BridgePort{name("vethb"), kBridge, true, false, {kMacB}});
  CHECK(is_plain(now.ports.at(f)));
  CHECK(is_plain(now.ports.at(o)));
  CHECK(now.table == render::ports_table(wanted(a, b), {o}));
  CHECK(render::bindings_of(*now.table) == wanted(a, b).bound);
  CHECK(k.kernel.counters(kHostPorts).value() ==
        std::map<std::string, std::uint64_t>{{"borrowed", 0}, {"crossing", 0}, {"spoofed", 0}});

  auto fewer = wanted(a, b);
  fewer.bound.erase(b);
  CHECK(become(k, fewer) == 3);  // the table without the addresses, the port, the table  // given back, then one transaction
  CHECK(is_plain(seen_at(k).ports.at(b)));
  CHECK(!is_plain(seen_at(k).ports.at(a)));
  become(k, std::nullopt);
  CHECK(is_plain(seen_at(k).ports.at(a)));
  CHECK(!seen_at(k).table);
}

TEST_CASE_TEMPLATE("what anybody did to a port of ours is mended, and nothing of others'", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb"), f = k.plug(kBridge, "vethf");
  must(k.kernel.apply(kHostPorts, BindPort{f, Mac::local(9)}));  // isolated by somebody else
  become(k, wanted(a, b));
  must(k.kernel.apply(kHostPorts, BindPort{a, std::nullopt}));
  must(k.kernel.apply(kHostPorts, BindPort{b, Mac::local(7)}));
  CHECK(become(k, wanted(a, b)) == 2);
  CHECK(seen_at(k).ports.at(f) == BridgePort{name("vethf"), kBridge, true, false, {Mac::local(9)}});
  become(k, std::nullopt);
  CHECK(seen_at(k).ports.at(f).isolated);
}

TEST_CASE_TEMPLATE("a port that went, or is another bridge's, leaves its addresses forbidden", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), o = k.plug(kOther, "vetho");
  become(k, wanted(a, o));
  CHECK(is_plain(seen_at(k).ports.at(o)));
  k.unplug("vetha");
  become(k, wanted(a, o));
  const GatewayPorts left{kBridge, {}, {ip("172.18.0.3"), ip("172.18.0.4"), ip("172.18.0.9"), ip("fd18::3")}};
  CHECK(seen_at(k).table == render::ports_table(left, {o}));
}

TEST_CASE("who comes may speak before any port is changed, and a port is let go of last, before it is forgotten") {
  FakePorts k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb");
  GatewayPorts first{kBridge, {{a, {kMacA, {ip("172.18.0.3")}}}}, {}}, second{kBridge, {{b, {kMacB, {ip("172.18.0.3")}}}}, {}};
  become(k, first);
  const auto plan = reconcile::plan_ports(second, seen_at(k));
  REQUIRE(plan.size() == 4);
  auto* opens = std::get_if<Nft>(&plan[0]);
  REQUIRE(opens);
  must(k.kernel.apply(kHostPorts, *opens));
  const auto between = render::bindings_of(*seen_at(k).table);
  CHECK(between.at(b) == second.bound.at(b));
  CHECK(between.at(a) == PortBinding{kMacA, {}});  // ours still, and nobody's address
  CHECK(to_text(Plan{plan[1]}) == to_text(Plan{BindPort{b, kMacB}}));
  CHECK(to_text(Plan{plan[2]}) == to_text(Plan{BindPort{a, std::nullopt}}));
}

TEST_CASE_TEMPLATE("a MAC that moves to another port leaves the one it was at free to be given back", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb"), c = k.plug(kBridge, "vethc");
  become(k, wanted(a, b));
  auto moved = wanted(a, c);
  SUBCASE("by us") {}
  SUBCASE("by somebody else") { must(k.kernel.apply(kHostPorts, BindPort{c, kMacB})); }
  become(k, moved);
  CHECK(is_plain(seen_at(k).ports.at(b)));
  CHECK(seen_at(k).ports.at(c).kept == std::set<Mac>{kMacB});
}

TEST_CASE_TEMPLATE("a dead daemon's table stays, tells what was bound, and is taken over", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb");
  become(k, wanted(a, b));
  k.die();
  REQUIRE(seen_at(k).table);
  CHECK(seen_at(k).table->owner == Owner::gone);
  CHECK(render::bindings_of(*seen_at(k).table) == wanted(a, b).bound);
  CHECK(become(k, wanted(a, b)) == 1);
  k.die();
  become(k, std::nullopt);
  CHECK(is_plain(seen_at(k).ports.at(a)));
}

TEST_CASE_TEMPLATE("the tables of the two families are apart", K, FakePorts, LinuxPorts) {
  K k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb");
  const auto inet = render::host_table(4799, {});
  for (auto& op : reconcile::plan_host(inet, std::nullopt)) must(k.kernel.apply(kHost, op));
  become(k, wanted(a, b));
  CHECK(k.kernel.observe(kHost, {})->table == inet);
  CHECK(k.kernel.observe(kHost, {})->ports.empty());
  CHECK(k.kernel.counters(kHost)->contains("underlay"));
  become(k, std::nullopt);
  CHECK(k.kernel.observe(kHost, {})->table == inet);
}

// ---- what only the real kernel can show ----

TEST_CASE("the table is closed to everybody else, whole flushes too") {
  LinuxPorts k;
  const auto a = k.plug(kBridge, "vetha"), b = k.plug(kBridge, "vethb");
  become(k, wanted(a, b));
  k.host.run("nft flush ruleset");
  (void)k.host.output_of("nft delete table bridge microseg; nft flush chain bridge microseg crossing");
  CHECK(reconcile::plan_ports(wanted(a, b), seen_at(k)).empty());
}

TEST_CASE("a container that gives a link another's number is not taken for it") {
  LinuxPorts k;
  const auto victim = k.plug(kBridge, "vethv"), thief = k.plug(kBridge, "vetht");
  auto& inside = k.containers.at("vetht");
  // A pair whose ends have the numbers of the victim's, and lead nowhere near the host.
  const lab::Netns nowhere;
  inside.run("ip link del eth1 && ip link add eth1 index 77 type veth peer name x index " + std::to_string(victim) +
             " netns " + nowhere.path() + " && ip address add 172.18.0.3/16 dev eth1 && ip link set eth1 up");
  CHECK(k.kernel.port_of(k.sandbox("vetht"), kBridge, {}).error().code == Errc::not_found);
  CHECK(k.kernel.port_of(k.sandbox("vethv"), kBridge, {}).value() == victim);
  CHECK(thief != victim);
}

TEST_CASE("a port is found by the MAC of the container's end while that is still in the host's namespace") {
  LinuxPorts k;
  const lab::Netns inside;
  k.host.run("ip link add vetha type veth peer name toa address " + kMacA.str() +
             " && ip link set vetha master " + kBridge.str() + " up"
             " && ip link add vethb type veth peer name tob address " + kMacB.str() +
             " && ip link set vethb master " + kOther.str() + " up");
  const PortIndex a = if_nametoindex("vetha"), b = if_nametoindex("vethb");
  CHECK(k.kernel.port_of(inside.path(), kBridge, kMacA).value() == a);
  CHECK(k.kernel.port_of(inside.path(), kOther, kMacB).value() == b);
  // Another bridge's, nobody's, and none: the sandbox alone says nothing yet.
  CHECK(k.kernel.port_of(inside.path(), kBridge, kMacB).error().code == Errc::not_found);
  CHECK(k.kernel.port_of(inside.path(), kBridge, Mac::local(9)).error().code == Errc::not_found);
  CHECK(k.kernel.port_of(inside.path(), kBridge, {}).error().code == Errc::not_found);
  // Docker moves it in: from then on the namespace tells, with or without the MAC.
  k.host.run("ip link set toa netns " + inside.path() + " && ip link del vethb");
  CHECK(k.kernel.port_of(inside.path(), kBridge, kMacA).value() == a);
  CHECK(k.kernel.port_of(inside.path(), kBridge, {}).value() == a);
  k.host.run("ip link del vetha");
}

TEST_CASE("ports that come and go are told, and no other links") {
  std::mutex mutex;
  std::condition_variable told;
  int count = 0;
  LinuxPorts k;
  (void)seen_at(k);
  k.owned->watch([&](const std::string& where) {
    std::lock_guard lock(mutex);
    if (where == kHostPorts) ++count;
    told.notify_all();
  });
  auto comes = [&] {
    std::unique_lock lock(mutex);
    const bool out = told.wait_for(lock, std::chrono::seconds(5), [&] { return count > 0; });
    // What is already under way belongs to the same change.
    while (told.wait_for(lock, std::chrono::milliseconds(200), [&] { return std::exchange(count, 0) > 0; })) {
    }
    return out;
  };
  k.plug(kBridge, "vetha");
  CHECK(comes());
  k.host.run("ip link add loose7 type veth peer name loose8 && ip link set loose7 up && ip link del loose7");
  k.host.run("nft add table inet microseg && nft delete table inet microseg");
  {
    std::unique_lock lock(mutex);
    CHECK(!told.wait_for(lock, std::chrono::milliseconds(300), [&] { return count > 0; }));
  }
  k.unplug("vetha");
  CHECK(comes());
  k.host.run("nft add table bridge microseg");
  CHECK(comes());
}
