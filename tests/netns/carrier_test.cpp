// A container whose link has just come up may ask for its gateway before the segment's end of the link passes anything on; it
// would ask again a second later. So it is told where its gateways are.
#include <doctest/doctest.h>

#include <chrono>

#include "support/lab_segment.h"

using namespace microseg;
using namespace microseg::lab;
using std::chrono::steady_clock;

namespace {

// Makes a container take whatever it is told of its neighbours, asked or not: what it knows then, it was told.
void make_gullible(const Netns& container) {
  container.run("sysctl -qw net.ipv4.conf.eth0.arp_accept=1 net.ipv6.conf.all.forwarding=1 "
                "net.ipv6.conf.eth0.accept_untracked_na=1");
}

bool knows(const Netns& container, const std::string& address, const Mac& mac) {
  return container.output_of("ip neigh show " + address + " dev eth0").find("lladdr " + mac.str()) != std::string::npos;
}

}  // namespace

TEST_CASE("a container is told where its gateways are, each time that its link comes up") {
  Lab lab;
  const auto net = lab.network();
  auto& web = lab.run(net, "web", {"10.5.0.2/24", "fd05::2/64"});
  const Mac gateway = lab.gateway_mac(web);
  make_gullible(web.netns);
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    web.netns.run("ip link set eth0 down && ip neigh flush dev eth0");
    REQUIRE(!knows(web.netns, "10.5.0.1", gateway));
    web.netns.run("ip link set eth0 up");
    const auto until = steady_clock::now() + std::chrono::seconds(5);
    const auto told = [&] { return knows(web.netns, "10.5.0.1", gateway) && knows(web.netns, "fd05::1", gateway); };
    while (!told() && steady_clock::now() < until) {}
    CHECK(told());
  }
}
