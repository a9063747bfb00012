// Two judges of the same connections between two hosts: the statements themselves (explain), and real packets. For
// random policies, containers and connections they must say the same. MICROSEG_SEED repeats a run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <optional>
#include <random>

#include "support/lab_hosts.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;

namespace {

constexpr int kPolicies = 10, kConnections = 30;
constexpr unsigned kContainers = 6;  // three at each host

const std::vector<std::string> kServices{"web", "api", "db", "cache"};
const std::vector<std::string> kPeers{"web", "api", "db", "any", "any", "{tier=a}", "{tier!=a}", "{stage}"};
const std::vector<std::string> kPorts{"", " : 80", " : 80/udp", " : 79-81, 80-90/udp", " : icmp", " : 443, icmp"};

struct Dice {
  std::mt19937_64 random;
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); }
  const std::string& of(const std::vector<std::string>& all) { return all[below(all.size())]; }
};

std::string random_policy(Dice& dice) {
  std::string out;
  for (auto left = dice.below(6) + 3; left > 0; --left)
    out += (dice.below(6) ? "allow " : "deny ") + dice.of(kPeers) + " -> " + dice.of(kPeers) + dice.of(kPorts) + "\n";
  return out;
}

}  // namespace

TEST_CASE("between hosts, packets do what the statements say") {
  auto* given = std::getenv("MICROSEG_SEED");
  const auto seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  fmt::print("span oracle: MICROSEG_SEED={}\n", seed);
  std::fflush(stdout);
  CAPTURE(seed);
  Dice dice{std::mt19937_64(seed)};
  std::size_t total = 0, allowed = 0, across = 0, differ = 0;
  milliseconds slowest{0};
  for (int round = 0; round < kPolicies; ++round) {
    const auto text = random_policy(dice);
    CAPTURE(text);
    const auto policy = policy::parse(text, "oracle").value();
    Hosts hosts(2, text);
    std::vector<Container*> all;
    for (unsigned i = 0; i < kContainers; ++i) {
      policy::Labels labels;
      if (dice.below(2)) labels["tier"] = dice.below(2) ? "a" : "b";
      if (dice.below(2)) labels["stage"] = "";
      // One in eight is not known to anybody.
      all.push_back(&hosts[i % 2].start(dice.below(8) ? dice.of(kServices) : "", 2 + i, std::move(labels)));
    }
    for (int i = 0; i < kConnections; ++i) {
      const auto a = dice.below(kContainers), b = (a + 1 + dice.below(kContainers - 1)) % kContainers;
      auto &from = *all[a], &to = *all[b];
      const bool v4 = dice.below(2);
      const std::uint8_t protocol = std::initializer_list<std::uint8_t>{kTcp, kUdp, kIcmp}.begin()[dice.below(3)];
      const auto port = static_cast<std::uint16_t>(dice.below(5) ? 78 + dice.below(5) : 443);
      const std::uint8_t number = protocol == kIcmp && !v4 ? kIcmpv6 : protocol;
      const bool known = from.endpoint.identity && to.endpoint.identity;
      const bool expected = known && policy::explain(policy, from.endpoint.identity->identity,
                                                     to.endpoint.identity->identity, number, port).allowed;
      const auto began = std::chrono::steady_clock::now();
      const auto outcome = protocol == kTcp   ? ask_tcp(from.netns, to.netns, to.address(v4), port)
                           : protocol == kUdp ? ask_udp(from.netns, to.netns, to.address(v4), port)
                                              : ping(from.netns, to.address(v4));
      slowest = std::max(slowest, std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began));
      const std::string refusal = protocol == kTcp ? "ECONNREFUSED" : v4 ? "EHOSTUNREACH" : "EACCES";
      CAPTURE(fmt::format("{} -> {}, IPv{}, protocol {}, port {}", a, b, v4 ? 4 : 6, number, port));
      CHECK(outcome == (expected ? "answered" : refusal));
      differ += outcome != (expected ? "answered" : refusal);
      allowed += expected;
      across += a % 2 != b % 2;
      ++total;
    }
  }
  fmt::print("span oracle: {} connections under {} policies, {} of them between hosts, {} allowed; {} differ; "
             "the slowest answer or refusal took {} ms\n",
             total, kPolicies, across, allowed, differ, slowest.count());
  // Else the dice are bad, and nothing was tried.
  CHECK(allowed > total / 50);
  CHECK(allowed < total - total / 50);
}
