// The host's own table, by the rules' own machine: what it drops, and that it looks at nothing else.
#include <doctest/doctest.h>

#include <algorithm>

#include "microseg/reconcile/host.h"
#include "microseg/render/host_table.h"
#include "support/fake_kernel.h"
#include "support/rule_vm.h"

using namespace microseg;
using namespace microseg::test;
using namespace microseg::kstate;
using Place = Hook::Place;

namespace {

constexpr std::uint16_t kPort = 4799;

Ip ip(const char* text) { return Ip::parse(text).value(); }

const std::set<render::Tunnel> kTunnels = {
    {ip("192.0.2.2"), 4097}, {ip("192.0.2.2"), 4098}, {ip("192.0.2.3"), 4097}, {ip("2001:db8::2"), 0xabcdef}};

// A VXLAN header: flags with the group policy extension, a group, the VNI and the reserved byte after it.
Bytes vxlan(std::uint32_t vni, unsigned reserved = 0, unsigned group = 7) {
  return bytes_of_number(0x88000000U | group) + bytes_of_number(vni << 8 | reserved);
}

Packet udp(const char* from, std::uint16_t port, Bytes payload, const char* link = "eth0") {
  Packet out{link, ip(from), ip(ip(from).is_v4() ? "192.0.2.1" : "2001:db8::1"), kUdp, 40000, port, {}};
  out.payload = std::move(payload);
  return out;
}

Packet other(std::uint8_t protocol, const char* link, const char* from = "172.18.0.2") {
  return {link, ip(from), ip("192.0.2.1"), protocol, 40000, kPort, {}};
}

std::string outcome(const Table& table, Place place, Packet packet) { return to_text(run(table, place, packet)); }

// Does a plan in a fake kernel that holds `observed` at the host; what it holds then.
std::optional<Table> done(const std::optional<Table>& observed, const Plan& plan) {
  FakeKernel kernel;
  kernel.state[kernel::kHost].table = observed;
  for (auto& op : plan) {
    auto status = kernel.apply(kernel::kHost, op);
    REQUIRE_MESSAGE(status, status.error().text);
  }
  return kernel.observe(kernel::kHost, {}).value().table;
}

}  // namespace

TEST_CASE("what comes to the host") {
  const auto table = render::host_table(kPort, kTunnels);
  struct {
    std::string title;
    Packet packet;
    const char* outcome;
  } rows[] = {
      {"a peer, a network of both", udp("192.0.2.2", kPort, vxlan(4097)), "pass"},
      {"its other network", udp("192.0.2.2", kPort, vxlan(4098)), "pass"},
      {"another peer", udp("192.0.2.3", kPort, vxlan(4097)), "pass"},
      {"an IPv6 peer", udp("2001:db8::2", kPort, vxlan(0xabcdef)), "pass"},
      {"a peer, the other one's network", udp("192.0.2.3", kPort, vxlan(4098)), "drop underlay"},
      {"a peer, a network of nobody", udp("192.0.2.2", kPort, vxlan(4099)), "drop underlay"},
      {"a peer, the VNI's bytes the other way round", udp("192.0.2.2", kPort, vxlan(0x011000)), "drop underlay"},
      {"the byte after the VNI", udp("192.0.2.2", kPort, vxlan(4097, 1)), "drop underlay"},
      {"a stranger", udp("192.0.2.4", kPort, vxlan(4097)), "drop underlay"},
      {"an IPv6 stranger", udp("2001:db8::3", kPort, vxlan(0xabcdef)), "drop underlay"},
      {"an IPv6 peer, the network of an IPv4 one", udp("2001:db8::2", kPort, vxlan(4097)), "drop underlay"},
      {"a peer, no VXLAN header", udp("192.0.2.2", kPort, {}), "drop underlay"},
      {"a peer, half of one", udp("192.0.2.2", kPort, vxlan(4097).substr(0, 7)), "drop underlay"},
      {"another port", udp("192.0.2.4", 4798, vxlan(4097)), "pass"},
      {"Docker's VXLAN", udp("192.0.2.4", 4789, vxlan(4097)), "pass"},
      {"TCP to that port", other(kTcp, "eth0"), "pass"},
      {"GRE from elsewhere", other(47, "eth0"), "pass"},
      {"a container with its own address", udp("172.18.0.2", kPort, vxlan(4097), "docker_gwbridge"), "drop injected"},
      {"a container with a peer's", udp("192.0.2.2", kPort, vxlan(4097), "docker_gwbridge"), "drop injected"},
      {"a container, Docker's VXLAN", udp("172.18.0.2", 4789, vxlan(1), "docker_gwbridge"), "drop injected"},
      {"a container, Linux's VXLAN", udp("172.18.0.2", 8472, vxlan(1), "docker_gwbridge"), "drop injected"},
      {"a container, Geneve", udp("172.18.0.2", 6081, {}, "docker_gwbridge"), "drop injected"},
      {"a container, GRE", other(47, "docker_gwbridge"), "drop injected"},
      {"a container, IPv4 in IP", other(4, "docker_gwbridge"), "drop injected"},
      {"a container, IPv6 in IP", other(41, "docker_gwbridge"), "drop injected"},
      {"a container, DNS", udp("172.18.0.2", 53, {}, "docker_gwbridge"), "pass"},
      {"a container, TCP", other(kTcp, "docker_gwbridge"), "pass"},
      {"a container, ping", other(kIcmp, "docker_gwbridge"), "pass"},
      {"a link whose name begins alike", other(47, "docker_gwbridg"), "pass"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(outcome(table, Place::input, row.packet) == std::string(row.outcome));
  }
  auto borrowed = udp("192.0.2.2", kPort, vxlan(4097), "docker0");
  borrowed.returns = false;
  CHECK(outcome(table, Place::input, borrowed) == "drop underlay");
  borrowed.target_port = 53;
  CHECK(outcome(table, Place::input, borrowed) == "pass");
}

TEST_CASE("what is forwarded") {
  const auto table = render::host_table(kPort, kTunnels);
  struct {
    std::string title;
    Packet packet;
    const char* outcome;
  } rows[] = {
      {"a container as the host, to a peer", udp("172.18.0.2", kPort, vxlan(4097), "docker_gwbridge"), "drop injected"},
      {"a container of another bridge", udp("172.17.0.2", kPort, vxlan(4097), "docker0"), "drop injected"},
      {"a peer's address borrowed", udp("192.0.2.2", kPort, vxlan(4097), "docker0"), "drop injected"},
      {"IPv6", udp("fd00::2", kPort, vxlan(0xabcdef), "docker_gwbridge"), "drop injected"},
      {"GRE", other(47, "docker_gwbridge"), "drop injected"},
      {"IPv4 in IP", other(4, "docker_gwbridge"), "drop injected"},
      {"IPv6 in IP", other(41, "docker_gwbridge"), "drop injected"},
      {"Geneve", udp("172.18.0.2", 6081, {}, "docker_gwbridge"), "drop injected"},
      {"Docker's VXLAN", udp("172.18.0.2", 4789, {}, "docker_gwbridge"), "drop injected"},
      {"GRE of another bridge", other(47, "docker0"), "pass"},
      {"Docker's VXLAN of another bridge", udp("172.17.0.2", 4789, {}, "docker0"), "pass"},
      {"DNS", udp("172.18.0.2", 53, {}, "docker_gwbridge"), "pass"},
      {"from that port", Packet{"docker_gwbridge", ip("172.18.0.2"), ip("192.0.2.9"), kUdp, kPort, 53, {}}, "pass"},
      {"TCP to that port", other(kTcp, "docker_gwbridge"), "pass"},
      {"towards the container", other(47, "eth0"), "pass"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(outcome(table, Place::forward, row.packet) == std::string(row.outcome));
  }
}

TEST_CASE("without tunnels nothing comes in by VXLAN; the rules are the same") {
  const auto none = render::host_table(kPort, {}), some = render::host_table(kPort, kTunnels);
  CHECK(outcome(none, Place::input, udp("192.0.2.2", kPort, vxlan(4097))) == "drop underlay");
  CHECK(none.chains == some.chains);
  CHECK(none.owner == Owner::us);
  CHECK(outcome(render::host_table(5000, kTunnels), Place::input, udp("192.0.2.2", 5000, vxlan(4097))) == "pass");
  CHECK(outcome(render::host_table(5000, kTunnels), Place::input, udp("192.0.2.4", 5000, vxlan(4097))) == "drop underlay");
}

TEST_CASE("elements as nft would write them") {
  const auto table = render::host_table(kPort, kTunnels);
  std::string text;
  for (auto* name : {render::kPeers4, render::kPeers6})
    for (auto& element : *table.sets.at(name).elements) text += to_text(table.sets.at(name).type, element) + "\n";
  CHECK(text == "192.0.2.2 . 1048832\n192.0.2.2 . 1049088\n192.0.2.3 . 1048832\n2001:db8::2 . 2882400000\n");
}

TEST_CASE("plans for the host's table") {
  const auto want = render::host_table(kPort, kTunnels);
  auto fewer = render::host_table(kPort, {{ip("192.0.2.2"), 4097}, {ip("2001:db8::9"), 5}});
  auto with = [&](auto change) {
    auto out = want;
    change(out);
    return out;
  };
  const char* const kBegin = "nft add table flags owner,persist\n";
  const char* const kExchange = "nft delete table\nnft add table flags owner,persist\n";
  struct {
    std::string title;
    std::optional<Table> desired, observed;
    std::string begins;  // the plan does; "" there is none
    int lines;           // of it, -1 when that does not matter
  } rows[] = {
      {"nothing wanted, nothing there", {}, {}, "", 0},
      {"nothing differs", want, want, "", 0},
      {"from nothing", want, {}, kBegin, -1},
      {"no longer wanted", {}, want, "nft delete table\nnft commit\n", 2},
      {"left by a dead daemon", want, with([](Table& t) { t.owner = Owner::gone; }), std::string(kBegin) + "nft commit\n", 2},
      {"left by a dead daemon, outdated", want,
       [&] { auto t = fewer; t.owner = Owner::gone; return t; }(),
       std::string(kBegin) + "nft add element peers4 { 192.0.2.2 . 1049088, 192.0.2.3 . 1048832 }\n", 5},
      {"never owned", want, with([](Table& t) { t.owner = Owner::none; }), kExchange, -1},
      {"others own it", want, with([](Table& t) { t.owner = Owner::other; }), kExchange, -1},
      {"peers more and less", want, fewer, "nft add element peers4 { 192.0.2.2 . 1049088, 192.0.2.3 . 1048832 }\n"
       "nft delete element peers6 { 2001:db8::9 . 1280 }\nnft add element peers6 { 2001:db8::2 . 2882400000 }\nnft commit\n", 4},
      {"a rule more", want, with([](Table& t) { t.chains["underlay"].rules.insert(t.chains["underlay"].rules.begin(),
       Rule{kstate::Verdict{kstate::Verdict::Kind::accept, {}}}); }), "nft flush chain underlay\n", 4},
      {"switched off", want, with([](Table& t) { t.owner = Owner::gone, t.dormant = true; }), kExchange, -1},
      {"a foreign chain", want, with([](Table& t) { t.chains["foreign"]; }), kExchange, -1},
      {"another port", render::host_table(5000, kTunnels), want, "nft flush chain injected\n", -1},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    const auto plan = reconcile::plan_host(row.desired, row.observed);
    const auto text = to_text(plan);
    CAPTURE(text);
    CHECK(plan.size() == (row.begins.empty() ? 0 : 1));
    CHECK(text.starts_with(row.begins));
    if (row.lines >= 0) CHECK(std::count(text.begin(), text.end(), '\n') == row.lines);
    if (row.observed && row.observed->owner == Owner::other) continue;  // and the kernel refuses it
    const auto have = done(row.observed, plan);
    CHECK(have == row.desired);
    CHECK(reconcile::plan_host(row.desired, have).empty());
  }
}
