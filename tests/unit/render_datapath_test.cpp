// The datapath as logic: which packet passes which rules, and what it is counted as.
#include <doctest/doctest.h>

#include "support/rule_vm.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;

namespace {

constexpr std::uint16_t kGeneration = 7;

// web 10.5.0.2, api .3, db .4, and an endpoint that nobody knows at .9.
const std::vector<model::Endpoint> kEndpoints = {endpoint("web", 2), endpoint("api", 3), endpoint("db", 4),
                                                 endpoint("", 9)};
const char* const kPolicy = "allow web -> api : 80, icmp; allow api -> db : 5432; allow web -> db : 53/udp";

kstate::Table table(model::Options options = {}) {
  return in_force(Moment(network(kPolicy, std::move(options)), kEndpoints), kGeneration);
}

std::string link(unsigned n) { return render::link_name(ep_id("e" + std::to_string(n))).str(); }
Ip v4(unsigned n) { return ip("10.5.0." + std::to_string(n)); }
Ip v6(unsigned n) { return ip("fd05::" + std::to_string(n)); }

// A packet from endpoint to endpoint of a connection with this mark.
struct Sent {
  unsigned from, to;
  std::uint8_t protocol = kTcp;
  std::uint16_t source_port = 40000, target_port = 80;
  std::uint32_t state = kNew;
  bool reply = false;
  std::uint32_t mark = 0;
};

Packet packet(const Sent& s, bool six, std::uint32_t* mark) {
  auto at = [&](unsigned n) { return six ? v6(n) : v4(n); };
  *mark = s.mark;
  Packet out{.link = link(s.from), .source = at(s.from), .target = at(s.to), .protocol = s.protocol,
             .source_port = s.source_port, .target_port = s.target_port, .track = {}};
  out.track = {s.state, s.reply, mark, at(s.reply ? s.to : s.from), at(s.reply ? s.from : s.to)};
  return out;
}

}  // namespace

TEST_CASE("a packet's way through the rules, in both families") {
  struct {
    const char* title;
    Sent sent;
    const char* verdict;
    std::uint32_t mark_after;
  } rows[] = {
      {"allowed", {2, 3}, "pass allowed", kGeneration},
      {"the other port", {2, 3, kTcp, 40000, 81}, "reset refused", 0},
      {"the other protocol", {2, 3, kUdp, 40000, 80}, "prohibited refused", 0},
      {"UDP where it is allowed", {2, 4, kUdp, 40000, 53}, "pass allowed", kGeneration},
      {"the other way", {3, 2}, "reset refused", 0},
      {"a pair nobody mentions", {2, 4, kTcp, 40000, 5432}, "reset refused", 0},
      {"to itself", {2, 2}, "reset refused", 0},
      {"stamped", {2, 3, kTcp, 40000, 80, kEstablished, false, kGeneration}, "pass", kGeneration},
      {"stamped, and not allowed any more: it was when the generation began",
       {2, 4, kTcp, 40000, 5432, kEstablished, false, kGeneration}, "pass", kGeneration},
      {"stamped, the answer", {3, 2, kTcp, 80, 40000, kEstablished, true, kGeneration}, "pass", kGeneration},
      {"stamped in the generation before, still allowed", {2, 3, kTcp, 40000, 80, kEstablished, false, 6},
       "pass allowed", kGeneration},
      {"stamped in the generation before, the answer is first", {3, 2, kTcp, 80, 40000, kEstablished, true, 6},
       "pass allowed", kGeneration},
      {"stamped in the generation before, refused by now", {2, 4, kTcp, 40000, 5432, kEstablished, false, 6},
       "reset refused", 6},
      {"an answer to what was never allowed", {2, 3, kTcp, 80, 40000, kEstablished, true, 0}, "reset refused", 0},
      {"an answer's source port is no permission", {3, 2, kTcp, 80, 40000}, "reset refused", 0},
      {"with a generation to come", {2, 4, kTcp, 40000, 5432, kEstablished, false, 8}, "reset refused", 8},
      {"invalid", {2, 3, kTcp, 40000, 80, kInvalid}, "drop invalid", 0},
      {"related to nothing stamped", {2, 3, kTcp, 40000, 80, kRelated}, "drop invalid", 0},
      {"from quarantine", {9, 3}, "reset quarantined", 0},
      {"to quarantine", {2, 9}, "reset quarantined", 0},
      {"from quarantine, UDP", {9, 3, kUdp, 40000, 53}, "prohibited quarantined", 0},
      {"to nobody's address", {2, 77}, "reset refused", 0},
  };
  const auto rules = table();
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CAPTURE(six);
      std::uint32_t mark = 0;
      auto p = packet(row.sent, six, &mark);
      CHECK(forward(rules, p) == row.verdict);
      CHECK(mark == row.mark_after);
    }
}

TEST_CASE("a sender is who its link and its source say together") {
  const auto rules = table();
  struct {
    const char* title;
    std::string link;
    Ip source, target;
    const char* verdict;
  } rows[] = {
      {"its own", link(2), v4(2), v4(3), "pass allowed"},
      {"another's address", link(4), v4(2), v4(3), "drop spoofed"},
      {"another's address, IPv6", link(4), v6(2), v6(3), "drop spoofed"},
      {"an address of nobody", link(2), v4(50), v4(3), "drop spoofed"},
      {"the gateway's address", link(2), v4(1), v4(3), "drop spoofed"},
      {"a link of nobody", "ms000000000000", v4(2), v4(3), "drop spoofed"},
      {"no address", link(2), ip("0.0.0.0"), v4(3), "drop spoofed"},
      {"IPv6 link-local", link(2), ip("fe80::1"), v6(3), "drop linklocal"},
      {"IPv6 without an address", link(2), ip("::"), v6(3), "drop linklocal"},
      {"past the link-locals", link(2), ip("fec0::1"), v6(3), "drop spoofed"},
      {"a quarantined one's class is still its own", link(2), v4(9), v4(3), "drop spoofed"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    std::uint32_t mark = 0;
    Packet p{.link = row.link, .source = row.source, .target = row.target, .target_port = 80, .track = {}};
    p.track = {kNew, false, &mark, row.source, row.target};
    CHECK(forward(rules, p) == row.verdict);
  }
  SUBCASE("a neighbour solicitation from a link-local source is let to the gateway and no further") {
    std::uint32_t mark = 0;
    Packet p{.link = link(2), .source = ip("fe80::1"), .target = v6(3), .protocol = kIcmpv6, .source_port = 135 << 8,
             .track = {}};
    p.track = {kNew, false, &mark, p.source, p.target};
    Packet in = p;
    CHECK(to_text(run(rules, kstate::Hook::Place::prerouting, in)) == "pass");
    CHECK(in.mark == 0);
    CHECK(to_text(run(rules, kstate::Hook::Place::input, in)) == "pass");
    CHECK(forward(rules, p) == "prohibited quarantined");
  }
}

TEST_CASE("the gateway answers neighbour solicitations and nothing else") {
  const auto rules = table();
  auto local = [&](Packet p) { return to_text(run(rules, kstate::Hook::Place::input, p)); };
  CHECK(local({.link = link(2), .source = v6(2), .target = v6(1), .protocol = kIcmpv6, .source_port = 135 << 8,
               .track = {}}) == "pass");
  CHECK(local({.link = link(2), .source = v6(2), .target = v6(1), .protocol = kIcmpv6, .source_port = 128 << 8,
               .track = {}}) == "drop local");
  CHECK(local({.link = link(2), .source = v4(2), .target = v4(1), .target_port = 22, .track = {}}) == "drop local");
}

// ---- ICMP errors: related packets of a stamped connection web -> api ----

TEST_CASE("an ICMP error passes from the connection's own ends and from nobody else") {
  const auto rules = table();
  struct {
    const char* title;
    unsigned from;
    std::uint8_t four, six;  // protocol
    bool reply;              // conntrack's direction of the error
    std::uint32_t mark;
    const char* verdict;
  } rows[] = {
      {"the opened one complains", 3, kIcmp, kIcmpv6, true, kGeneration, "pass"},
      {"the opener complains", 2, kIcmp, kIcmpv6, false, kGeneration, "pass"},
      {"somebody else complains to the opener", 4, kIcmp, kIcmpv6, true, kGeneration, "drop invalid"},
      {"somebody else complains to the opened one", 4, kIcmp, kIcmpv6, false, kGeneration, "drop invalid"},
      {"an end, in the other's direction", 2, kIcmp, kIcmpv6, true, kGeneration, "drop invalid"},
      {"quarantined", 9, kIcmp, kIcmpv6, true, kGeneration, "drop invalid"},
      {"related, but no ICMP", 3, kTcp, kTcp, true, kGeneration, "drop invalid"},
      {"of a connection not stamped", 3, kIcmp, kIcmpv6, true, 0, "drop invalid"},
      {"of a connection of the generation before", 3, kIcmp, kIcmpv6, true, kGeneration - 1, "drop invalid"},
  };
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CAPTURE(six);
      auto at = [&](unsigned n) { return six ? v6(n) : v4(n); };
      std::uint32_t mark = row.mark;
      Packet p{.link = link(row.from), .source = at(row.from), .target = at(row.reply ? 2 : 3),
               .protocol = six ? row.six : row.four, .source_port = 3 << 8, .track = {}};
      p.track = {kRelated, row.reply, &mark, at(2), at(3)};
      CHECK(forward(rules, p) == row.verdict);
      CHECK(mark == row.mark);
    }
}

TEST_CASE("ping, where icmp is allowed") {
  const auto rules = table();
  for (bool six : {false, true}) {
    std::uint32_t mark = 0;
    const std::uint8_t protocol = six ? kIcmpv6 : kIcmp;
    const auto request = static_cast<std::uint16_t>((six ? 128 : 8) << 8);
    const auto answer = static_cast<std::uint16_t>((six ? 129 : 0) << 8);
    CHECK(forward(rules, packet({2, 3, protocol, request, 0}, six, &mark)) == "pass allowed");
    CHECK(forward(rules, packet({3, 2, protocol, answer, 0, kEstablished, true, mark}, six, &mark)) == "pass");
    CHECK(forward(rules, packet({3, 2, protocol, request, 0}, six, &mark)) == "prohibited refused");
  }
}

TEST_CASE("what a refused packet's sender gets") {
  struct {
    model::Options options;
    Sent sent;
    const char* verdict;
  } rows[] = {
      {{{"microseg.deny", "drop"}}, {3, 2}, "drop refused"},
      {{{"microseg.deny", "drop"}}, {9, 2}, "drop quarantined"},
      {{{"microseg.deny", "drop"}}, {2, 3}, "pass allowed"},
      {{{"microseg.mode", "monitor"}}, {3, 2}, "pass refused"},
      {{{"microseg.mode", "monitor"}}, {9, 2}, "pass quarantined"},
      {{{"microseg.mode", "monitor"}}, {2, 9}, "pass quarantined"},
      {{{"microseg.mode", "monitor"}}, {2, 3}, "pass allowed"},
      {{{"microseg.mode", "monitor"}}, {2, 3, kTcp, 40000, 80, kInvalid}, "drop invalid"},
  };
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.verdict);
      std::uint32_t mark = 0;
      CHECK(forward(table(row.options), packet(row.sent, six, &mark)) == row.verdict);
    }
  SUBCASE("monitor mode does not forgive a forged source") {
    std::uint32_t mark = 0;
    auto p = packet({4, 3}, false, &mark);
    p.source = v4(2);
    CHECK(forward(table({{"microseg.mode", "monitor"}}), p) == "drop spoofed");
  }
  SUBCASE("and stamps only what policy allows, so that enforcing later judges the rest") {
    std::uint32_t mark = 0;
    CHECK(forward(table({{"microseg.mode", "monitor"}}), packet({3, 2}, false, &mark)) == "pass refused");
    CHECK(mark == 0);
  }
}

TEST_CASE("the generation can be read back, exactly or not at all") {
  auto rules = table();
  CHECK(render::generation_in(rules) == render::Generation{kGeneration, 0, false});
  rules.chains[render::kOwedChain];
  CHECK(render::generation_in(rules) == render::Generation{kGeneration, 0, true});
  for (auto n : std::initializer_list<std::uint16_t>{1, 255, 256, 32768, 65535})
    for (int allow : {0, 1}) {
      kstate::Table t;
      t.chains = render::generation_chains({n, allow, false});
      CHECK(render::generation_in(t) == render::Generation{n, allow, false});
    }
  SUBCASE("an added rule") {
    rules.chains[render::kStampChain].rules.push_back({kstate::Count{"allowed"}});
    CHECK(!render::generation_in(rules));
  }
  SUBCASE("two numbers") {
    rules.chains[render::kForwardChain] = render::generation_chains({8, 0, false}).at(render::kForwardChain);
    CHECK(!render::generation_in(rules));
  }
  SUBCASE("an empty chain") {
    rules.chains[render::kStampChain].rules.clear();
    CHECK(!render::generation_in(rules));
  }
  SUBCASE("another policy of the hook") {
    rules.chains[render::kForwardChain].hook->policy_drop = false;
    CHECK(!render::generation_in(rules));
  }
  SUBCASE("none") { CHECK(!render::generation_in({})); }
}

TEST_CASE("the rules say what explain says") {
  const Moment moment(network(kPolicy), kEndpoints);
  const auto rules = in_force(moment, 1);
  int allowed = 0;
  for (auto& from : moment.endpoints)
    for (auto& to : moment.endpoints)
      for (std::uint8_t protocol : {kTcp, kUdp, kSctp})
        for (auto port : std::initializer_list<std::uint16_t>{0, 22, 53, 79, 80, 81, 5431, 5432, 5433, 65535}) {
          std::uint32_t mark = 0;
          Packet p{.link = render::link_name(from.id).str(), .source = from.v4->ip(), .target = to.v4->ip(),
                   .protocol = protocol, .target_port = port, .track = {}};
          p.track = {kNew, false, &mark, p.source, p.target};
          const bool passed = forward(rules, p).starts_with("pass");
          CAPTURE(p.source.str() + " " + p.target.str() + " " + std::to_string(protocol) + " " + std::to_string(port));
          CHECK(passed == moment.allows(from, to, protocol, port));
          allowed += passed;
        }
  CHECK(allowed == 3);
}
