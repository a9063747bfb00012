// The guard of the underlay, by packets: a host with real VXLAN devices, a known peer and a stranger beside it, and
// containers behind it. What is delivered is what comes out of a VXLAN device, or reaches a socket.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "microseg/kernel/kernel.h"
#include "microseg/reconcile/host.h"
#include "microseg/render/host_table.h"
#include "support/lab_box.h"
#include "support/lab_packet.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;
using kernel::kHost;
using std::chrono::steady_clock;

namespace {

constexpr std::uint16_t kPort = 4799;
constexpr std::uint32_t kVni = 4097, kOther = 4098, kVni6 = 4100;
constexpr std::uint16_t kExperiment = 0x88b5;  // Ethernet type for tests (IEEE 802, local experimental)
constexpr milliseconds kQuiet{100}, kPatience{5000};

Ip at(const char* text) { return Ip::parse(text).value(); }
const Ip kHere = at("10.77.0.1"), kPeer = at("10.77.0.2"), kStranger = at("10.77.0.3");
const Ip kHere6 = at("fd77::1"), kPeer6 = at("fd77::2"), kStranger6 = at("fd77::3");
const std::set<render::Tunnel> kTunnels = {{kPeer, kVni}, {kPeer6, kVni6}};

// A VXLAN packet's payload of UDP, with a class, around a frame that has `mark` in it.
Bytes vxlan(std::uint32_t vni, const std::string& mark, std::uint16_t group = 1, std::size_t padding = 0) {
  Bytes inner = ethernet(mac("ff:ff:ff:ff:ff:ff"), mac("02:00:00:00:00:77"), kExperiment, bytes(mark));
  inner.resize(inner.size() + 60 + padding);
  return be32(0x88000000U | group) + be32(vni << 8) + inner;
}

// A link of `netns`, named u0, on the bridge of `wire`.
void plug_in(const Netns& wire, const Netns& netns, unsigned n) {
  wire.run(fmt::format("ip link add w{0} type veth peer name u0 netns {1} && ip link set w{0} master wire up", n,
                       netns.path()));
  netns.run(fmt::format("ip addr add 10.77.0.{0}/24 dev u0 && ip addr add fd77::{0}/64 dev u0 nodad && "
                        "ip link set u0 up", n));
  wire.await(fmt::format("w{}", n));
}

struct Underlay {
  Netns here = host(), wire, peer, stranger;
  std::unique_ptr<kernel::Kernel> kernel = need(kernel::make_linux_kernel("/tmp/guard"));
  Shown shown{"the host", [this] { return describe(here); }};

  Underlay() {
    wire.run("ip link add wire type bridge && ip link set wire up");
    plug_in(wire, here, 1);
    plug_in(wire, peer, 2);
    plug_in(wire, stranger, 3);
    here.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.ip_forward=1");
    for (auto vni : {kVni, kOther})
      here.run(fmt::format("ip link add vx{0} type vxlan id {0} dstport {1} local {2} gbp && ip link set vx{0} up", vni,
                           kPort, kHere.str()));
    here.run(fmt::format("ip link add vx{0} type vxlan id {0} dstport {1} local {2} gbp && ip link set vx{0} up", kVni6,
                         kPort, kHere6.str()));
  }
  ~Underlay() {
    become(std::nullopt);
    for (auto* link : {"u0", "vx4097", "vx4098", "vx4100"}) (void)here.output_of(std::string("ip link del ") + link);
    (void)here.output_of("nft flush ruleset");
  }

  std::optional<kstate::Table> table() { return need(kernel->observe(kHost, {})).table; }
  void become(const std::optional<kstate::Table>& wanted) {
    for (auto& op : reconcile::plan_host(wanted, table())) need(kernel->apply(kHost, op));
  }
  void guard(const std::set<render::Tunnel>& tunnels) { become(render::host_table(kPort, tunnels)); }
  std::uint64_t dropped(const std::string& counter = "underlay") { return need(kernel->counters(kHost))[counter]; }
  // Waits until that many were dropped.
  bool drops(std::uint64_t count) {
    const auto until = steady_clock::now() + kPatience;
    while (dropped() < count && steady_clock::now() < until) std::this_thread::yield();
    return dropped() == count;
  }
  void restart() {
    kernel.reset();
    kernel = need(kernel::make_linux_kernel("/tmp/guard"));
  }
};

// Sends VXLAN from a socket of a namespace.
class Sender {
 public:
  Sender(const Netns& netns, const Ip& to) : to_(to, kPort), socket_(netns.socket(to_.family(), SOCK_DGRAM, 0)) {}
  void send(const Bytes& payload) {
    const auto n = ::sendto(socket_.get(), payload.data(), payload.size(), 0, to_.get(), to_.length);
    must(n == static_cast<ssize_t>(payload.size()), "send VXLAN");
  }

 private:
  Address to_;
  Fd socket_;
};

// Frames with `mark` that come out of the host's VXLAN devices.
class Outlet {
 public:
  explicit Outlet(const Netns& here) {
    for (auto vni : {kVni, kOther, kVni6}) taps_.push_back(std::make_unique<Tap>(here, fmt::format("vx{}", vni)));
  }
  std::size_t count(const std::string& mark) {
    std::size_t out = 0;
    for (auto& tap : taps_)
      while (auto got = tap->next(kQuiet)) out += contains(got->frame, mark);
    return out;
  }

 private:
  std::vector<std::unique_ptr<Tap>> taps_;
};

// One way to send VXLAN to the host, and what the guard must make of it.
struct Attempt {
  const char* title;
  std::function<void(const std::string& mark)> send;  // so many packets:
  std::size_t packets;
  bool known;  // the peer, for a network of both
};

// The datagram in two fragments, cut behind the first `first` bytes of UDP.
void send_in_two(Tap& tap, const Bytes& to_mac, const Bytes& from_mac, const Ip& from, const Ip& to, const Bytes& payload,
                 std::size_t first) {
  static std::uint16_t id = 0;
  ++id;
  const Bytes whole = udp(from, to, 40000, kPort, payload);
  const auto cut = whole.begin() + static_cast<std::ptrdiff_t>(first);
  const Bytes parts[] = {Bytes(whole.begin(), cut), Bytes(cut, whole.end())};
  const auto offset = static_cast<std::uint16_t>(first / 8);
  for (int i : {0, 1}) {
    const auto place = static_cast<std::uint16_t>(i ? offset : 0);
    const Bytes& part = parts[i];
    if (from.is_v4())
      tap.send(ethernet(to_mac, from_mac, kEtherIp4,
                        ip(from, to, kUdp, part, {.id = id, .fragment = static_cast<std::uint16_t>(place | (i ? 0 : 0x2000))})));
    else  // fragment header: RFC 8200, section 4.5
      tap.send(ethernet(to_mac, from_mac, kEtherIp6,
                        ip(from, to, 44, Bytes{kUdp, 0} + be16(static_cast<std::uint32_t>(place << 3 | (i ? 0 : 1))) + be32(id) + part)));
  }
}

std::vector<Attempt> attempts(Underlay& x) {
  auto plain = [&](const Netns& from, const Ip& to, std::uint32_t vni, std::size_t packets, std::size_t padding = 0) {
    return [&from, to, vni, packets, padding](const std::string& mark) {
      Sender sender(from, to);
      for (std::size_t i = 0; i < packets; ++i) sender.send(vxlan(vni, mark, static_cast<std::uint16_t>(i), padding));
    };
  };
  auto cut = [&x](const Netns& from, const Ip& source, const Ip& to, std::uint32_t vni, std::size_t first) {
    return [&x, &from, source, to, vni, first](const std::string& mark) {
      Tap tap(from, "u0");
      const auto here = x.here.mac_of("u0").str(), there = from.mac_of("u0").str();
      for (int i = 0; i < 10; ++i) send_in_two(tap, mac(here), mac(there), source, to, vxlan(vni, mark), first);
    };
  };
  return {
      {"known peer, known network", plain(x.peer, kHere, kVni, 10), 10, true},
      {"known peer, IPv6", plain(x.peer, kHere6, kVni6, 10), 10, true},
      {"known peer, in fragments", plain(x.peer, kHere, kVni, 10, 4000), 10, true},
      {"known peer, IPv6, in fragments", plain(x.peer, kHere6, kVni6, 10, 4000), 10, true},
      {"known peer, another network", plain(x.peer, kHere, kOther, 10), 10, false},
      {"known peer, another network, in fragments", plain(x.peer, kHere, kOther, 10, 4000), 10, false},
      {"stranger", plain(x.stranger, kHere, kVni, 10), 10, false},
      {"stranger, IPv6", plain(x.stranger, kHere6, kVni6, 10), 10, false},
      {"stranger, in fragments", plain(x.stranger, kHere, kVni, 10, 4000), 10, false},
      {"stranger, IPv6, in fragments", plain(x.stranger, kHere6, kVni6, 10, 4000), 10, false},
      {"stranger, cut behind UDP's header", cut(x.stranger, kStranger, kHere, kVni, 8), 10, false},
      {"stranger, cut inside VXLAN's header", cut(x.stranger, kStranger, kHere, kVni, 16), 10, false},
      {"stranger, IPv6, cut behind UDP's header", cut(x.stranger, kStranger6, kHere6, kVni6, 8), 10, false},
      {"stranger, IPv6, cut inside VXLAN's header", cut(x.stranger, kStranger6, kHere6, kVni6, 16), 10, false},
  };
}

}  // namespace

TEST_CASE("VXLAN is delivered from known peers for known networks, in every state of the guard") {
  Underlay x;
  Outlet outlet(x.here);
  struct {
    const char* title;
    std::optional<std::set<render::Tunnel>> tunnels;  // absent: no guard
  } states[] = {{"no guard", {}},
                {"before the first peer", std::set<render::Tunnel>{}},
                {"peers known", kTunnels},
                {"after the last peer", std::set<render::Tunnel>{}}};
  for (auto& state : states) {
    if (state.tunnels) x.guard(*state.tunnels);
    for (auto& attempt : attempts(x)) {
      CAPTURE(std::string(state.title));
      CAPTURE(std::string(attempt.title));
      const bool passes = !state.tunnels || (attempt.known && !state.tunnels->empty());
      const auto before = state.tunnels ? x.dropped() : 0;
      const auto mark = fresh_mark();
      attempt.send(mark);
      if (!passes) CHECK(x.drops(before + attempt.packets));
      const auto delivered = outlet.count(mark);
      fmt::print("guard: {:22} {:42} {:3} of {} delivered\n", state.title, attempt.title, delivered, attempt.packets);
      CHECK(delivered == (passes ? attempt.packets : 0));
    }
  }
}

TEST_CASE("a stranger guesses networks and classes") {
  Underlay x;
  Outlet outlet(x.here);
  auto guess = [&] {
    const auto mark = fresh_mark();
    Sender v4(x.stranger, kHere), v6(x.stranger, kHere6);
    for (unsigned i = 0; i < 200; ++i) {
      const std::uint32_t vni = i % 4 == 0 ? kVni : i % 4 == 1 ? kOther : i % 4 == 2 ? kVni6 : (i * 83887U) & 0xffffff;
      (i % 4 == 2 ? v6 : v4).send(vxlan(vni, mark, static_cast<std::uint16_t>(i * 331)));
    }
    return mark;
  };
  const auto open = outlet.count(guess());
  x.guard(kTunnels);
  const auto mark = guess();
  CHECK(x.drops(200));
  const auto guarded = outlet.count(mark);
  fmt::print("guard: 200 guesses: {} delivered without the guard, {} with it\n", open, guarded);
  CHECK(open == 150);
  CHECK(guarded == 0);
}

namespace {

// A stranger's VXLAN, one after the other, until it is told to stop; a known peer's beside it.
class Stream {
 public:
  explicit Stream(Underlay& x)
      : outlet_(x.here), thread_([this, &x] {
          Sender stranger(x.stranger, kHere), peer(x.peer, kHere);
          const auto until = steady_clock::now() + std::chrono::seconds(60);
          while (!stop_ && steady_clock::now() < until) {
            for (int i = 0; i < 10; ++i, ++strange) stranger.send(vxlan(kVni, strange_mark_));
            peer.send(vxlan(kVni, known_mark_));
            ++known;
            std::this_thread::sleep_for(std::chrono::microseconds(500));  // the pace of it
          }
        }) {}
  ~Stream() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // Frames delivered since the stream began, stranger's and peer's, once it has stopped.
  std::pair<std::size_t, std::size_t> delivered() {
    stop();
    std::size_t out[2] = {};
    while (auto got = outlet_.next(kQuiet)) {
      out[0] += contains(got->frame, strange_mark_);
      out[1] += contains(got->frame, known_mark_);
    }
    return {out[0], out[1]};
  }
  bool goes_on(std::uint64_t packets) const {
    const auto target = strange.load() + packets;
    const auto until = steady_clock::now() + kPatience;
    while (strange < target && steady_clock::now() < until) std::this_thread::yield();
    return strange >= target;
  }

  std::atomic<std::uint64_t> strange = 0, known = 0;

 private:
  struct OneOutlet : Tap {
    explicit OneOutlet(const Netns& here) : Tap(here, fmt::format("vx{}", kVni)) {}
  } outlet_;
  const std::string strange_mark_ = fresh_mark(), known_mark_ = fresh_mark();
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Another table of the same name has another one.
std::string handle_of_table(const Netns& here) {
  return here.run("nft -a list table inet microseg | grep -o 'table inet.*' | grep -o 'handle [0-9]*'");
}

}  // namespace

TEST_CASE("rulesets are flushed while a stranger sends") {
  Underlay x;
  x.guard(kTunnels);
  REQUIRE(x.table()->owner == kstate::Owner::us);
  Stream stream(x);
  REQUIRE(stream.goes_on(10));
  for (int i = 0; i < 50; ++i) x.here.run("nft flush ruleset");
  REQUIRE(stream.goes_on(10));
  const auto [strange, known] = stream.delivered();
  fmt::print("guard: 50 flushes: {} of {} strange delivered, {} of {} known\n", strange, stream.strange.load(), known,
             stream.known.load());
  CHECK(strange == 0);
  CHECK(known == stream.known);
  CHECK(x.dropped() == stream.strange);
}

TEST_CASE("the daemon dies and comes back while a stranger sends") {
  Underlay x;
  x.guard(kTunnels);
  const auto handle = handle_of_table(x.here);
  Stream stream(x);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(stream.goes_on(10));
    x.restart();
    REQUIRE(x.table());
    CHECK(x.table()->owner == kstate::Owner::gone);
    REQUIRE(stream.goes_on(10));
    x.guard(kTunnels);
    CHECK(x.table()->owner == kstate::Owner::us);
  }
  const auto [strange, known] = stream.delivered();
  fmt::print("guard: 20 restarts: {} of {} strange delivered, {} of {} known\n", strange, stream.strange.load(), known,
             stream.known.load());
  CHECK(strange == 0);
  CHECK(known == stream.known);
  CHECK(x.dropped() == stream.strange);  // the counter was never begun anew
  CHECK(handle_of_table(x.here) == handle);
}

TEST_CASE("a table without an owner gets one, and other changes of form, while a stranger sends") {
  Underlay x;
  auto open = render::host_table(kPort, kTunnels);
  open.owner = kstate::Owner::none;
  auto foreign = open;
  foreign.chains["foreign"];
  x.become(open);
  Stream stream(x);
  for (int i = 0; i < 10; ++i)
    for (auto& next : {foreign, render::host_table(kPort, kTunnels), open}) {
      REQUIRE(stream.goes_on(10));
      x.become(next);
      CHECK(x.table() == next);
    }
  const auto [strange, known] = stream.delivered();
  fmt::print("guard: 30 exchanges of the table: {} of {} strange delivered, {} of {} known\n", strange,
             stream.strange.load(), known, stream.known.load());
  CHECK(strange == 0);
  CHECK(known == stream.known);
}

namespace {

// Containers behind the host, masqueraded as it, as Docker has them.
struct Containers {
  Underlay& x;
  Netns gateway, plain;  // one behind docker_gwbridge, one behind docker0

  explicit Containers(Underlay& underlay) : x(underlay) {
    attach(gateway, "docker_gwbridge", "172.18.0");
    attach(plain, "docker0", "172.17.0");
    x.here.run("nft 'table ip nat { chain out { type nat hook postrouting priority 100; oifname \"u0\" masquerade; }; }'");
  }
  ~Containers() {
    for (auto* bridge : {"docker_gwbridge", "docker0"}) (void)x.here.output_of(std::string("ip link del ") + bridge);
  }

 private:
  void attach(const Netns& netns, const std::string& bridge, const std::string& net) {
    x.here.run(fmt::format("ip link add {0} type bridge && ip addr add {1}.1/24 dev {0} && ip link set {0} up && "
                           "ip link add v{1} type veth peer name eth0 netns {2} && ip link set v{1} master {0} up",
                           bridge, net, netns.path()));
    netns.run(fmt::format("ip addr add {0}.2/24 dev eth0 && ip link set eth0 up && ip route add default via {0}.1", net));
    x.here.await("v" + net);
    x.here.await(bridge);
  }
};

// Whatever reaches the host's own sockets: copies of all that has passed the input hook, by IP protocol.
class Sockets {
 public:
  explicit Sockets(const Netns& here) {
    for (int protocol : {1, 4, 6, 17, 41, 47}) sockets_.push_back(here.socket(AF_INET, SOCK_RAW, protocol));
  }
  std::size_t count(const std::string& mark) {
    std::size_t out = 0;
    for (auto& socket : sockets_)
      for (std::string got; !(got = receive(socket, milliseconds(20))).empty();) out += got.find(mark) != std::string::npos;
    return out;
  }

 private:
  std::vector<Fd> sockets_;
};

}  // namespace

TEST_CASE("what containers send: tunnels from the gateway bridge do not arrive, all else does") {
  Underlay x;
  Containers c(x);
  Sockets sockets(x.here);
  Outlet outlet(x.here);
  Tap peer(x.peer, "u0"), elsewhere(x.stranger, "u0"), inside(c.gateway);
  const std::map<Ip, Tap*> taps = {{kPeer, &peer}, {kStranger, &elsewhere}, {at("172.18.0.2"), &inside}};
  constexpr std::size_t kEach = 10;
  struct {
    const char* title;
    const Netns& from;
    const char *bridge, *source;
    Ip to;
    std::uint8_t protocol;
    std::uint16_t port;
    bool passes;
  } rows[] = {
      {"gateway to peer, VXLAN of ours", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kUdp, kPort, false},
      {"gateway to peer, VXLAN", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kUdp, 4789, false},
      {"gateway to peer, VXLAN of Linux", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kUdp, 8472, false},
      {"gateway to peer, Geneve", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kUdp, 6081, false},
      {"gateway to peer, GRE", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, 47, 0, false},
      {"gateway to peer, IPv4 in IP", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, 4, 0, false},
      {"gateway to peer, IPv6 in IP", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, 41, 0, false},
      {"gateway to peer, DNS", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kUdp, 53, true},
      {"gateway to peer, HTTPS", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kTcp, 443, true},
      {"gateway to peer, TCP to VXLAN's port", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kTcp, kPort, true},
      {"gateway to peer, echo", c.gateway, "docker_gwbridge", "172.18.0.2", kPeer, kIcmp, 0, true},
      {"gateway to host, VXLAN of ours", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, kUdp, kPort, false},
      {"gateway to host, as a peer", c.gateway, "docker_gwbridge", "10.77.0.2", kHere, kUdp, kPort, false},
      {"gateway to host, VXLAN", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, kUdp, 4789, false},
      {"gateway to host, Geneve", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, kUdp, 6081, false},
      {"gateway to host, GRE", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, 47, 0, false},
      {"gateway to host, IPv4 in IP", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, 4, 0, false},
      {"gateway to host, IPv6 in IP", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, 41, 0, false},
      {"gateway to host, DNS", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, kUdp, 53, true},
      {"gateway to host, TCP", c.gateway, "docker_gwbridge", "172.18.0.2", kHere, kTcp, 443, true},
      {"other bridge to peer, VXLAN of ours", c.plain, "docker0", "172.17.0.2", kPeer, kUdp, kPort, false},
      {"other bridge to peer, VXLAN", c.plain, "docker0", "172.17.0.2", kPeer, kUdp, 4789, true},
      // To another one: masquerading cannot tell two containers' GRE to one place apart.
      {"other bridge elsewhere, GRE", c.plain, "docker0", "172.17.0.2", kStranger, 47, 0, true},
      {"other bridge elsewhere, IPv4 in IP", c.plain, "docker0", "172.17.0.2", kStranger, 4, 0, true},
      {"other bridge to peer, DNS", c.plain, "docker0", "172.17.0.2", kPeer, kUdp, 53, true},
      {"other bridge to peer, TCP", c.plain, "docker0", "172.17.0.2", kPeer, kTcp, 443, true},
      {"other bridge to host, VXLAN of ours", c.plain, "docker0", "172.17.0.2", kHere, kUdp, kPort, false},
      {"other bridge to host, as a peer", c.plain, "docker0", "10.77.0.2", kHere, kUdp, kPort, false},
      {"other bridge to host, Geneve", c.plain, "docker0", "172.17.0.2", kHere, kUdp, 6081, true},
      {"other bridge to host, GRE", c.plain, "docker0", "172.17.0.2", kHere, 47, 0, true},
      {"between the bridges, DNS", c.plain, "docker0", "172.17.0.2", at("172.18.0.2"), kUdp, 53, true},
  };
  std::map<std::string, std::size_t> without;
  for (bool guarded : {false, true}) {
    if (guarded) x.guard(kTunnels);
    for (auto& row : rows) {
      CAPTURE(std::string(row.title));
      CAPTURE(guarded);
      const auto mark = fresh_mark();
      Tap tap(row.from);
      const Ip source = at(row.source);
      const Bytes payload = row.port == kPort && row.protocol == kUdp ? vxlan(kVni, mark) : bytes(mark);
      for (std::size_t i = 0; i < kEach; ++i) {
        const auto port = static_cast<std::uint16_t>(30000 + i);
        Bytes transport = payload;  // GRE and IP in IP: nobody looks inside
        if (row.protocol == kUdp) transport = udp(source, row.to, port, row.port, payload);
        if (row.protocol == kTcp) transport = tcp(source, row.to, port, row.port, 1, 0, kSyn, payload);
        if (row.protocol == kIcmp) transport = icmp(source, row.to, 8, 0, port, payload);
        tap.send(ethernet(mac(x.here.mac_of(row.bridge).str()), mac(row.from.mac_of("eth0").str()), kEtherIp4,
                          ip(source, row.to, row.protocol, transport)));
      }
      const bool to_host = row.to == kHere;
      std::size_t arrived = 0;
      if (to_host && row.port == kPort && row.protocol == kUdp)
        arrived = outlet.count(mark);
      else if (to_host)
        arrived = sockets.count(mark);
      else
        while (auto got = taps.at(row.to)->next(kQuiet)) arrived += contains(got->frame, mark);
      if (!guarded) without[row.title] = arrived;
      if (guarded)
        fmt::print("guard: {:38} {:2} arrive without the guard, {:2} with it\n", row.title, without[row.title], arrived);
      CHECK(arrived == (guarded && !row.passes ? 0 : kEach));
    }
  }
}
