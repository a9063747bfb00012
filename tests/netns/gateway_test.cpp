// The gateway's rules with real packets: a container, a host and the world, each a namespace of the test's own.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>

#include "microseg/kernel/kernel.h"
#include "microseg/render/gateway.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;

namespace {

const std::string kName = "a00000000000";
const milliseconds kSilence(300);  // how long an answer is waited for that must not come

Ip ip(const std::string& s) { return Ip::parse(s).value(); }

// The host is a segment to the kernel's adapter: a namespace with our table.
struct Site {
  std::string directory = [] {
    std::string pattern = "/tmp/microseg-gateway-XXXXXX";
    return std::string(mkdtemp(pattern.data()));
  }();
  std::unique_ptr<kernel::Kernel> kernel = kernel::make_linux_kernel(directory + "/netns").value();
  std::unique_ptr<Netns> host;
  Netns box, world;

  Site() {
    REQUIRE(kernel->create_segment(kName));
    host = std::make_unique<Netns>(Netns::open(directory + "/netns/" + kName));
    // A link-local address that is being checked for duplicates cannot ask for neighbours for a second.
    for (auto* netns : std::initializer_list<const Netns*>{host.get(), &box, &world})
      (void)netns->run("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0");
    for (auto& [link, inside, subnet4, subnet6, n] :
         {std::tuple{"toBox", &box, "172.18.0.", "fd18::", "3"}, {"toWorld", &world, "192.0.2.", "2001:db8::", "5"}}) {
      (void)host->run(fmt::format("ip link add {0} type veth peer name eth0 netns {1} && ip link set {0} up && ip address add {2}1/24 dev {0} "
                                  "&& ip -6 address add {3}1/64 dev {0} nodad",
                                  link, inside->path(), subnet4, subnet6));
      (void)inside->run(fmt::format("ip link set eth0 up && ip address add {0}{2}/24 dev eth0 && ip -6 address add {1}{2}/64 dev eth0 nodad "
                                    "&& ip route add default via {0}1 && ip -6 route add default via {1}1",
                                    subnet4, subnet6, n));
      host->await(link);
    }
    (void)host->run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 "
                    "net.ipv6.icmp.ratelimit=0");
    (void)host->run("nft 'add table inet docker; add chain inet docker published { type nat hook prerouting priority -100; }; "
                    "add rule inet docker published tcp dport 8080 dnat ip to 172.18.0.3:80'");
  }
  ~Site() {
    host.reset();
    (void)kernel->delete_segment(kName);
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  }

  void police(const std::string& source) {
    const auto policy = policy::parse(source, "test").value();
    const policy::Identity who{"box", {}};
    const policy::Member member[] = {{&policy, &who}};
    render::GatewayMember container;
    container.v4 = ip("172.18.0.3");
    container.v6 = ip("fd18::3");
    container.north = policy::north(member).value();
    container.published = {{kTcp, 80}};
    render::Gateway gateway;
    gateway.members = {container};
    kstate::Table table;
    render::add_gateway(table, gateway);
    std::vector<kstate::NftOp> ops{kstate::AddTable{}, kstate::DelTable{}, kstate::AddTable{}};
    for (auto& counter : table.counters) ops.push_back(kstate::AddCounter{counter});
    for (auto& [name, set] : table.sets) {
      ops.push_back(kstate::AddSet{name, set.type});
      ops.push_back(kstate::AddElements{name, set.type, {set.elements->begin(), set.elements->end()}});
    }
    for (auto& [name, chain] : table.chains) ops.push_back(kstate::AddChain{name, chain.hook});
    for (auto& [name, chain] : table.chains)
      for (auto& rule : chain.rules) ops.push_back(kstate::AddRule{name, rule});
    const auto done = kernel->apply(kName, kstate::Nft{std::move(ops)});
    REQUIRE_MESSAGE(done, done.error().text);
  }
};

struct Addresses {
  Ip box, host, world;
};
Addresses addresses(bool six) {
  if (six) return {ip("fd18::3"), ip("fd18::1"), ip("2001:db8::5")};
  return {ip("172.18.0.3"), ip("172.18.0.1"), ip("192.0.2.5")};
}

}  // namespace

TEST_CASE("nothing said: nothing leaves, and who tries is told at once") {
  Site x;
  x.police("");
  for (bool six : {false, true}) {
    CAPTURE(six);
    const auto at = addresses(six);
    auto listener = listen_tcp(x.world, !six, 443);
    auto at_host = listen_tcp(*x.host, !six, 22);
    CHECK(connect_tcp(x.box, at.world, 443).outcome == "ECONNREFUSED");
    CHECK(connect_tcp(x.box, at.host, 22).outcome == "ECONNREFUSED");
    CHECK(ask_udp(x.box, x.world, at.world, 443) == (six ? "EACCES" : "EHOSTUNREACH"));
    CHECK(ask_udp(x.box, *x.host, at.host, 53) == (six ? "EACCES" : "EHOSTUNREACH"));
    CHECK(ask_tcp(x.world, x.box, at.box, 80, kSilence) == "no answer");
    CHECK(ask_tcp(*x.host, x.box, at.box, 81, kSilence) == "no answer");
    CHECK(ask_tcp(*x.host, x.box, at.box, 80) == "answered");  // published: docker-proxy's way
  }
  // Through the published port the world gets in, by translation only.
  auto listener = listen_tcp(x.box, true, 80);
  CHECK(connect_tcp(x.world, ip("192.0.2.1"), 8080).outcome == "connected");
}

TEST_CASE("what is allowed passes, both ways, and nothing else") {
  Site x;
  x.police("allow box -> world : 443, 53/udp, icmp; allow box -> host : 22, icmp; allow 192.0.2.0/24 -> box : 9000;"
           "allow 2001:db8::/64 -> box : 9000; allow host -> box : 9001");
  for (bool six : {false, true}) {
    CAPTURE(six);
    const auto at = addresses(six);
    CHECK(ask_tcp(x.box, x.world, at.world, 443) == "answered");
    CHECK(ask_udp(x.box, x.world, at.world, 53, 4000) == "answered");  // in fragments
    CHECK(ping(x.box, at.world) == "answered");
    CHECK(ask_tcp(x.box, *x.host, at.host, 22) == "answered");
    CHECK(ping(x.box, at.host) == "answered");
    CHECK(ask_tcp(x.world, x.box, at.box, 9000) == "answered");
    CHECK(ask_tcp(*x.host, x.box, at.box, 9001) == "answered");
    CHECK(connect_tcp(x.box, at.world, 444).outcome == "ECONNREFUSED");
    CHECK(ask_tcp(x.world, x.box, at.box, 9001, kSilence) == "no answer");
    CHECK(ask_tcp(*x.host, x.box, at.box, 9000, kSilence) == "no answer");
    // Nobody listens: that answer is the other side's, an error about an allowed question.
    CHECK(connect_tcp(x.box, at.world, 443).outcome == "ECONNREFUSED");
  }
}

TEST_CASE("what is taken away stops a connection that is there") {
  Site x;
  for (bool six : {false, true}) {
    CAPTURE(six);
    const auto at = addresses(six);
    x.police("allow box -> world : 443");
    auto listener = listen_tcp(x.world, !six, 443);
    auto client = connect_tcp(x.box, at.world, 443);
    REQUIRE(client.outcome == "connected");
    auto server = accept_tcp(listener);
    send_all(client.socket, "before");
    CHECK(receive(server) == "before");
    x.police("allow box -> world : 444");
    send_all(client.socket, "after");
    CHECK(receive(server, kSilence) == "");
    x.police("allow box -> world : 443");
    CHECK(receive(server, milliseconds(5000)) == "after");  // sent again by TCP: nothing had ended the connection
  }
}

TEST_CASE("nft prints all of it") {
  Site x;
  x.police("allow box -> world : 443, icmp; deny box -> 10.0.0.0/8; allow box -> host; allow 2001:db8::/33 -> box; allow host -> box");
  const auto shown = x.host->run("nft list table inet microseg");
  for (auto* line : {"ct status dnat", "ip saddr . ip daddr . meta l4proto . th dport @out4", "ip6 saddr @ours6",
                     "172.18.0.3 . 0.0.0.0-9.255.255.255 . tcp . 443", "reject with tcp reset"}) {
    CAPTURE(line);
    CAPTURE(shown);
    CHECK(shown.find(line) != shown.npos);
  }
}
