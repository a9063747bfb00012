// The datapath of a network that spans hosts, as logic: what one host does to packets from and to the others.
#include <doctest/doctest.h>

#include "support/fake_kernel.h"
#include "support/rule_vm.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;

namespace {

constexpr std::uint16_t kGeneration = 7;
constexpr std::uint8_t kRst = 0x04, kSynAck = 0x12;

// Here are web 10.5.0.2, api .3, db .4, and an endpoint that nobody knows at .9. Elsewhere are .12, .13, .14.
const std::vector<model::Endpoint> kEndpoints = {endpoint("web", 2), endpoint("api", 3), endpoint("db", 4),
                                                 endpoint("", 9)};
const char* const kPolicy = "allow web -> api : 80, icmp; allow api -> db : 5432; allow web -> db : 53/udp";

const Moment& moment() {
  static const Moment out(spanning_network(kPolicy), kEndpoints);
  return out;
}
kstate::Table table(model::Options options = {}) {
  return in_force(Moment(spanning_network(kPolicy, std::move(options)), kEndpoints), kGeneration);
}

constexpr std::uint32_t kUnknownClass = 4711;

std::uint32_t number(const std::string& service) {
  if (service.empty()) return 0;
  if (service == "?") return kUnknownClass;
  return policy::class_of(*moment().verdict.judgement.numbering, {service, {}});
}

// A connection's mark; an empty service: it does not cross hosts, as far as is known.
std::uint32_t mark_of(const std::string& remote, std::uint32_t generation) { return number(remote) << 16 | generation; }

std::string link(unsigned n) { return render::link_name(ep_id("e" + std::to_string(n))).str(); }
bool is_here(unsigned n) { return n < 10; }
Ip at(unsigned n, bool six) { return ip((six ? "fd05::" : "10.5.0.") + std::to_string(n)); }

struct Sent {
  unsigned from, to;
  std::string claims = "";  // the class in the packet, where it comes from another host
  std::uint8_t protocol = kTcp;
  std::uint16_t source_port = 40000, target_port = 80;
  std::uint32_t state = kNew;
  bool reply = false;
  std::uint32_t mark = 0;  // the connection's
  std::uint8_t flags = 0;
};

Packet packet(const Sent& s, bool six, std::uint32_t* mark) {
  *mark = s.mark;
  Packet out{.link = is_here(s.from) ? link(s.from) : kstate::kVxlan, .source = at(s.from, six), .target = at(s.to, six),
             .protocol = s.protocol, .source_port = s.source_port, .target_port = s.target_port, .track = {},
             .mark = is_here(s.from) ? 0 : number(s.claims), .out = is_here(s.to) ? link(s.to) : kstate::kVxlan,
             .tcp_flags = s.flags};
  out.track = {.state = s.state, .reply = s.reply, .mark = mark, .source = at(s.reply ? s.to : s.from, six),
               .target = at(s.reply ? s.from : s.to, six), .protocol = s.protocol,
               .target_port = s.reply ? s.source_port : s.target_port};
  return out;
}

struct Row {
  const char* title;
  Sent sent;
  const char* verdict;
  std::uint32_t mark_after;
};

void check(const kstate::Table& rules, const std::vector<Row>& rows) {
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CAPTURE(six);
      std::uint32_t mark = 0;
      CHECK(forward(rules, packet(row.sent, six, &mark)) == row.verdict);
      CHECK(mark == row.mark_after);
    }
}

}  // namespace

TEST_CASE("what comes from another host is judged by the class it brings, and that is remembered") {
  const auto web = mark_of("web", kGeneration), api = mark_of("api", kGeneration), old = mark_of("web", 6);
  const auto local = mark_of("", kGeneration);
  check(table(), {
      {"allowed", {12, 3, "web"}, "pass allowed", web},
      {"the other port", {12, 3, "web", kTcp, 40000, 81}, "reset refused", 0},
      {"the other protocol", {12, 3, "web", kUdp}, "prohibited refused", 0},
      {"UDP where it is allowed", {12, 4, "web", kUdp, 40000, 53}, "pass allowed", web},
      {"another class", {12, 3, "db"}, "reset refused", 0},
      {"a class that the policy does not know", {12, 3, "?"}, "reset refused", 0},
      {"to one in quarantine", {12, 9, "web"}, "reset quarantined", 0},
      {"to nobody's address", {12, 77, "web"}, "reset refused", 0},
      {"on to a third host", {12, 13, "web"}, "reset refused", 0},
      {"invalid", {12, 3, "web", kTcp, 40000, 80, kInvalid}, "drop invalid", 0},

      {"stamped", {12, 3, "web", kTcp, 40000, 80, kEstablished, false, web}, "pass", web},
      {"stamped, and not allowed any more: it was when the generation began",
       {12, 4, "web", kTcp, 40000, 5432, kEstablished, false, web}, "pass", web},
      {"stamped for another: the address has changed hands",
       {12, 4, "web", kTcp, 40000, 5432, kEstablished, false, api}, "reset refused", api},
      {"stamped for another, but allowed itself", {12, 3, "web", kTcp, 40000, 80, kEstablished, false, api},
       "pass allowed", web},
      {"stamped between local containers: one has moved away",
       {12, 4, "web", kTcp, 40000, 5432, kEstablished, false, local}, "reset refused", local},
      {"stamped between local containers, and allowed", {12, 3, "web", kTcp, 40000, 80, kEstablished, false, local},
       "pass allowed", web},
      {"stamped for a class the policy does not know, which it never is",
       {12, 3, "?", kTcp, 40000, 80, kEstablished, false, mark_of("?", kGeneration)}, "reset refused",
       mark_of("?", kGeneration)},
      {"a generation before, allowed", {12, 3, "web", kTcp, 40000, 80, kEstablished, false, old}, "pass allowed", web},
      {"a generation before, refused", {12, 4, "web", kTcp, 40000, 5432, kEstablished, false, old}, "reset refused", old},

      {"an answer to what was opened here", {13, 2, "api", kTcp, 80, 40000, kEstablished, true, 0}, "pass allowed", api},
      {"an answer to what may not be opened", {14, 2, "db", kTcp, 80, 40000, kEstablished, true, 0}, "reset refused", 0},
      {"an answer by another than was asked", {13, 2, "db", kTcp, 80, 40000, kEstablished, true, api}, "reset refused",
       api},
      {"an answer, stamped", {13, 2, "api", kTcp, 80, 40000, kEstablished, true, api}, "pass", api},
      {"an answer, a generation before", {13, 2, "api", kTcp, 80, 40000, kEstablished, true, mark_of("api", 6)},
       "pass allowed", api},
      {"an answer to one in quarantine", {13, 9, "api", kTcp, 80, 40000, kEstablished, true, 0}, "reset quarantined", 0},
      {"an answer's source port is no permission", {13, 2, "api", kTcp, 80, 40000}, "reset refused", 0},
  });
}

TEST_CASE("the header's flags are not part of the class") {
  std::uint32_t mark = 0;
  auto p = packet({12, 3, "web"}, false, &mark);
  p.mark |= 0x00480000;  // VXLAN_GBP_DONT_LEARN, VXLAN_GBP_POLICY_APPLIED
  CHECK(forward(table(), p) == "pass allowed");
  CHECK(mark == mark_of("web", kGeneration));
}

TEST_CASE("what leaves for another host") {
  const auto api = mark_of("api", kGeneration), old = mark_of("api", 6), local = mark_of("", kGeneration);
  check(table(), {
      {"nobody has answered yet: the other host judges", {2, 13}, "pass", 0},
      {"the same, from a generation before", {2, 13, "", kTcp, 40000, 80, kNew, false, mark_of("", 6)}, "pass",
       mark_of("", 6)},
      {"stamped", {2, 13, "", kTcp, 40000, 80, kEstablished, false, api}, "pass", api},
      {"stamped when the other one was here", {2, 13, "", kTcp, 40000, 80, kEstablished, false, local}, "pass", local},
      {"after a bump, allowed", {2, 13, "", kTcp, 40000, 80, kEstablished, false, old}, "pass allowed", api},
      {"after a bump, refused", {2, 13, "", kTcp, 40000, 81, kEstablished, false, old}, "reset refused", old},
      {"after a bump, by what was seen of the other side",
       {2, 13, "", kTcp, 40000, 80, kEstablished, false, mark_of("db", 6)}, "reset refused", mark_of("db", 6)},
      {"an answer", {3, 12, "", kTcp, 80, 40000, kEstablished, true, mark_of("web", kGeneration)}, "pass",
       mark_of("web", kGeneration)},
      {"an answer after a bump, allowed", {3, 12, "", kTcp, 80, 40000, kEstablished, true, mark_of("web", 6)},
       "pass allowed", mark_of("web", kGeneration)},
      {"an answer after a bump, refused", {3, 12, "", kTcp, 81, 40000, kEstablished, true, mark_of("web", 6)},
       "reset refused", mark_of("web", 6)},
      {"an answer to what was never allowed", {3, 12, "", kTcp, 80, 40000, kEstablished, true, 0}, "reset refused", 0},
      {"from quarantine", {9, 13}, "reset quarantined", 0},
      {"from quarantine, stamped", {9, 13, "", kTcp, 40000, 80, kEstablished, false, api}, "reset quarantined", api},
      {"invalid", {2, 13, "", kTcp, 40000, 80, kInvalid}, "drop invalid", 0},
      {"related to nothing stamped", {2, 13, "", kTcp, 40000, 80, kRelated}, "drop invalid", 0},
  });
  SUBCASE("a forged source, and a mark of its own, get nowhere") {
    std::uint32_t mark = 0;
    auto p = packet({4, 13}, false, &mark);
    p.mark = number("web");
    auto first = p;
    CHECK(to_text(run(table(), kstate::Hook::Place::prerouting, first)) == "pass");
    CHECK(first.mark == number("db"));
    p.source = at(2, false);
    CHECK(forward(table(), p) == "drop spoofed");
  }
  SUBCASE("no class is left where the host's links would take it for a queue") {
    for (auto port : std::initializer_list<std::uint16_t>{80, 81}) {
      std::uint32_t mark = 0;
      auto p = packet({2, 13, "", kTcp, 40000, port, kEstablished, false, old}, false, &mark);
      p.mark = number("web");
      (void)run(table(), kstate::Hook::Place::forward, p);
      CHECK(p.priority == 0);
    }
  }
}

TEST_CASE("between local containers nothing that was known of another host counts") {
  const auto local = mark_of("", kGeneration);
  check(table(), {
      {"allowed", {2, 3}, "pass allowed", local},
      {"stamped", {2, 4, "", kTcp, 40000, 5432, kEstablished, false, local}, "pass", local},
      {"stamped when it crossed hosts", {2, 4, "", kTcp, 40000, 5432, kEstablished, false, mark_of("db", kGeneration)},
       "reset refused", mark_of("db", kGeneration)},
      {"stamped when it crossed hosts, and allowed",
       {2, 3, "", kTcp, 40000, 80, kEstablished, false, mark_of("api", kGeneration)}, "pass allowed", local},
      {"refused", {3, 2}, "reset refused", 0},
  });
}

TEST_CASE("a segment's own word passes, and nothing else without a class") {
  const auto api = mark_of("api", kGeneration);
  const auto rules = table();
  check(rules, {
      {"a reset to who asked", {13, 2, "", kTcp, 80, 40000, kEstablished, true, 0, kRst}, "pass", 0},
      {"a reset with an acknowledgement", {13, 2, "", kTcp, 80, 40000, kEstablished, true, 0, kRst | 0x10}, "pass", 0},
      {"a reset to who was asked", {12, 3, "", kTcp, 40000, 80, kEstablished, false, api, kRst}, "pass", api},
      {"a reset that begins", {13, 2, "", kTcp, 80, 40000, kNew, false, 0, kRst}, "drop invalid", 0},
      {"a reset of nothing", {13, 2, "", kTcp, 80, 40000, kInvalid, false, 0, kRst}, "drop invalid", 0},
      {"a reset on to a third host", {12, 13, "", kTcp, 80, 40000, kEstablished, true, api, kRst}, "drop invalid", api},
      {"no reset", {13, 2, "", kTcp, 80, 40000, kEstablished, true, 0, kSynAck}, "drop invalid", 0},
      {"no reset, of a stamped connection", {13, 2, "", kTcp, 80, 40000, kEstablished, true, api, 0x10}, "drop invalid",
       api},
      {"a connection without a remote class", {13, 2, "", kTcp, 80, 40000, kEstablished, true, kGeneration, 0x10},
       "drop invalid", kGeneration},
      {"UDP", {13, 2, "", kUdp, 53, 40000, kEstablished, true, 0}, "drop invalid", 0},
      {"UDP with what would be a reset in TCP", {13, 2, "", kUdp, 53, 40000, kEstablished, true, 0, kRst},
       "drop invalid", 0},
      {"to begin", {13, 2}, "drop invalid", 0},
  });
  for (bool six : {false, true}) {
    CAPTURE(six);
    const std::uint8_t icmp = six ? kIcmpv6 : kIcmp, other = six ? kIcmp : kIcmpv6;
    auto verdict = [&](Sent s) {
      std::uint32_t mark = 0;
      return forward(rules, packet(s, six, &mark));
    };
    CHECK(verdict({13, 2, "", icmp, 3 << 8, 0, kRelated, true, 0}) == "pass");
    CHECK(verdict({13, 2, "", icmp, 3 << 8, 0, kRelated, false, api}) == "pass");
    CHECK(verdict({13, 12, "", icmp, 3 << 8, 0, kRelated, true, 0}) == "drop invalid");
    CHECK(verdict({13, 2, "", icmp, 8 << 8, 0, kNew}) == "drop invalid");
    CHECK(verdict({13, 2, "", icmp, 0, 0, kEstablished, true, 0}) == "drop invalid");
    CHECK(verdict({13, 2, "", icmp, 3 << 8, 0, kInvalid}) == "drop invalid");
    CHECK(verdict({13, 2, "", other, 3 << 8, 0, kRelated, true, 0}) == "drop invalid");
  }
}

TEST_CASE("ICMP errors by containers, across hosts") {
  const auto rules = table();
  struct {
    const char* title;
    unsigned from, to;
    std::string claims;
    bool reply;
    std::uint32_t mark;
    // The connection that the error is about: its protocol and the opened side's port.
    std::uint8_t protocol;
    std::uint16_t port;
    const char* verdict;
  } rows[] = {
      {"of a stamped connection, by its other side", 13, 2, "api", true, mark_of("api", 7), kTcp, 80, "pass"},
      {"of a stamped connection, by the opener", 12, 3, "web", false, mark_of("web", 7), kTcp, 80, "pass"},
      {"of a stamped connection, by another class", 13, 2, "db", true, mark_of("api", 7), kTcp, 80, "drop invalid"},
      {"of one that nobody has answered", 13, 2, "api", true, 0, kTcp, 80, "pass"},
      {"of one that nobody has answered, UDP", 14, 2, "db", true, 0, kUdp, 53, "pass"},
      {"of one that nobody has answered, by another class", 13, 2, "db", true, 0, kTcp, 80, "drop invalid"},
      {"of one that nobody has answered, the other port", 13, 2, "api", true, 0, kTcp, 81, "drop invalid"},
      {"of one that nobody has answered, in its own direction", 12, 3, "web", false, 0, kTcp, 80, "drop invalid"},
      {"of one that nobody has answered, to a third host", 13, 12, "api", true, 0, kTcp, 80, "drop invalid"},
      {"a generation before, by the opener", 12, 3, "web", false, mark_of("web", 6), kTcp, 80, "drop invalid"},
      {"from here, by the opened one", 3, 12, "", true, mark_of("web", 7), kTcp, 80, "pass"},
      {"from here, by the opener", 2, 13, "", false, mark_of("api", 7), kTcp, 80, "pass"},
      {"from here, by somebody else", 4, 12, "", true, mark_of("web", 7), kTcp, 80, "drop invalid"},
      {"from here, of one not stamped", 3, 12, "", true, mark_of("web", 6), kTcp, 80, "drop invalid"},
  };
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CAPTURE(six);
      std::uint32_t mark = 0;
      auto p = packet({row.from, row.to, row.claims, six ? kIcmpv6 : kIcmp, 3 << 8, 0, kRelated, row.reply, row.mark}, six,
                      &mark);
      p.track.protocol = row.protocol;
      p.track.target_port = row.port;
      // Of web -> api, whoever speaks of it.
      if (row.from == 4) p.track.source = at(12, six), p.track.target = at(3, six);
      CHECK(forward(rules, p) == row.verdict);
      CHECK(mark == row.mark);
    }
  SUBCASE("related, but no ICMP") {
    std::uint32_t mark = 0;
    auto p = packet({13, 2, "api", kTcp, 80, 40000, kRelated, true, mark_of("api", 7)}, false, &mark);
    CHECK(forward(rules, p) == "drop invalid");
  }
}

TEST_CASE("monitor mode refuses nothing across hosts, and forgives no forgery") {
  check(table({{"microseg.mode", "monitor"}}),
        {{"refused", {12, 3, "db"}, "pass refused", 0},
         {"to quarantine", {12, 9, "web"}, "pass quarantined", 0},
         {"from quarantine elsewhere", {12, 3, ""}, "pass quarantined", 0},
         {"from quarantine here", {9, 13}, "pass quarantined", 0},
         {"an answer to what was never allowed", {3, 12, "", kTcp, 81, 40000, kEstablished, true, 0}, "pass refused", 0},
         {"allowed", {12, 3, "web"}, "pass allowed", mark_of("web", kGeneration)},
         {"without a class, on to a third host", {12, 13, ""}, "drop invalid", 0},
         {"invalid", {12, 3, "", kTcp, 40000, 80, kInvalid}, "drop invalid", 0}});
  check(table({{"microseg.deny", "drop"}}), {{"refused", {12, 3, "db"}, "drop refused", 0},
                                             {"without a class", {12, 3, ""}, "drop invalid", 0}});
}

TEST_CASE("neighbours on other hosts are heard, and nothing else reaches the segment itself") {
  const auto rules = table();
  auto at_segment = [&](const std::string& link, const Ip& from, std::uint8_t type, std::uint8_t protocol = kIcmpv6) {
    Packet p{.link = link, .source = from, .target = ip("fe80::6d73:c000:201"), .protocol = protocol,
             .source_port = static_cast<std::uint16_t>(type << 8), .track = {}};
    if (auto first = run(rules, kstate::Hook::Place::prerouting, p); first.kind != Verdict::Kind::pass)
      return to_text(first);
    return to_text(run(rules, kstate::Hook::Place::input, p));
  };
  CHECK(at_segment("msvx", ip("fe80::6d73:c000:202"), 135) == "pass");
  CHECK(at_segment("msvx", ip("fe80::6d73:c000:202"), 136) == "pass");
  CHECK(at_segment("msvx", at(12, true), 136) == "pass");
  CHECK(at_segment("msvx", at(12, true), 128) == "drop local");
  CHECK(at_segment("msvx", at(12, true), 137) == "drop local");  // redirect
  CHECK(at_segment(link(2), at(2, true), 136) == "drop local");
  CHECK(at_segment(link(2), ip("fe80::1"), 136) == "drop linklocal");
  CHECK(at_segment("msvx", at(12, false), 0, kTcp) == "drop local");
}

TEST_CASE("the generation of a network that spans hosts can be read back, exactly or not at all") {
  auto rules = table();
  CHECK(render::generation_in(rules) == render::Generation{kGeneration, 0, false, true});
  rules.chains[render::kOwedChain];
  CHECK(render::generation_in(rules) == render::Generation{kGeneration, 0, true, true});
  for (auto n : std::initializer_list<std::uint16_t>{1, 255, 256, 32768, 65535})
    for (int allow : {0, 1}) {
      kstate::Table t;
      t.sets[render::kPairs];
      t.chains = render::generation_chains({n, allow, false, true});
      CHECK(t.chains.size() == 6);
      CHECK(render::generation_in(t) == render::Generation{n, allow, false, true});
      CHECK(render::stamp_in(t) == n);
    }
  const auto next = render::generation_chains({kGeneration + 1, 0, false, true});
  const auto other = render::generation_chains({kGeneration, 1, false, true});
  for (auto* name : {"inbound", "outbound", "stamp_remote", "stamp_kept", "forward", "stamp"}) {
    CAPTURE(std::string(name));
    auto t = table();
    t.chains[name] = next.at(name);  // two numbers
    CHECK(!render::generation_in(t));
    t = table();
    t.chains[name].rules.pop_back();
    CHECK(!render::generation_in(t));
    t = table();
    t.chains.erase(name);
    CHECK(!render::generation_in(t));
  }
  for (auto* name : {"inbound", "outbound", "forward"}) {  // two allow sets
    auto t = table();
    t.chains[name] = other.at(name);
    CHECK(!render::generation_in(t));
  }
}

TEST_CASE("plans know both kinds of table") {
  FakeKernel kernel;
  REQUIRE(kernel.create_segment("s"));
  auto& segment = kernel.state.at("s");
  auto finish = [&](const Moment& to, std::uint16_t last) {
    const auto step = reconcile::plan(to.desired(), segment, last);
    for (auto& op : step.plan)
      if (auto* nft = std::get_if<kstate::Nft>(&op)) REQUIRE(apply_nft(segment.table, nft->ops) == 0);
    CHECK(*segment.table == *step.after.table);
    CHECK(render::generation_in(*segment.table)->number == step.generation);
    return step.generation;
  };
  const Moment before(spanning_network(kPolicy), kEndpoints);
  const auto began = finish(before, 6);
  CHECK(began == 7);
  CHECK(finish(before, 7) == 7);
  SUBCASE("a permission goes: all chains have the next number") {
    CHECK(finish(before.then("allow web -> api : 81", kEndpoints), 7) == 8);
    CHECK(render::generation_in(*segment.table)->spans);
  }
  SUBCASE("an endpoint goes") {
    CHECK(finish(before.then(kPolicy, {endpoint("web", 2), endpoint("api", 3)}), 7) == 8);
  }
  SUBCASE("somebody emptied a chain") {
    segment.table->chains.at("inbound").rules.clear();
    CHECK(finish(before, 7) > 7);
  }
  SUBCASE("a table of the other kind is replaced") {
    const Moment local(network(kPolicy), kEndpoints);
    const auto number = finish(local, 7);
    CHECK(number > 7);
    CHECK(!render::generation_in(*segment.table)->spans);
    CHECK(finish(before, number) > number);
    CHECK(render::generation_in(*segment.table)->spans);
  }
}

// ---- the segment ----

TEST_CASE("pairs hold every class of the policy, whoever is here") {
  const Moment empty(spanning_network("allow web -> {tier=a} : 80"), {});
  const auto desired = empty.desired();
  auto& pairs = desired.table->sets.at(render::kPairs);
  CHECK(pairs.elements->size() == policy::class_count(empty.verdict.judgement.numbering->alphabet));
  for (std::uint32_t n = 1; n <= pairs.elements->size(); ++n)
    CHECK(pairs.elements->contains({kstate::bytes_of_mark(n << 16) + kstate::bytes_of_mark(n), {}, {}}));
  auto closed = spanning_network("allow web -> api");
  closed.labels.reset();
  CHECK(Moment(closed, {}).desired().table->sets.at(render::kPairs).elements->empty());
}

TEST_CASE("the VXLAN device of a network that spans hosts") {
  auto network = spanning_network(kPolicy);
  network.underlay.peers = {ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"), ip("2001:db8::3")};
  auto created = endpoint("db", 4);
  created.phase = model::Endpoint::Phase::created;
  const std::vector<model::Endpoint> endpoints{endpoint("web", 2), endpoint("api", 3), created};
  auto made = [&] { return Moment(network, endpoints).desired(); };
  const auto vxlan = made().vxlan;
  REQUIRE(vxlan);
  CHECK(vxlan->alias == "microseg:" + network.id.str());
  CHECK(vxlan->vni == 5000);
  CHECK(vxlan->port == 4799);
  CHECK(vxlan->local == ip("192.0.2.1"));
  CHECK(vxlan->mac == Mac::local(0xc0000201));
  CHECK(vxlan->mtu == 1450);
  CHECK(vxlan->addresses == std::set{prefix("192.0.2.1/32"), prefix("fe80::6d73:c000:201/128")});
  CHECK(vxlan->routes == std::set{prefix("10.5.0.0/24"), prefix("fd05::/64")});
  CHECK(vxlan->peers == std::set{ip("192.0.2.2"), ip("192.0.2.3")});
  CHECK(vxlan->proxies == std::set{ip("10.5.0.2"), ip("10.5.0.3"), ip("fd05::2"), ip("fd05::3")});
  CHECK(made().sysctls.at("net/ipv6/conf/all/proxy_ndp") == "1");
  CHECK(made().sysctls.at("net/ipv4/fwmark_reflect") == "0");
  CHECK(made().links.begin()->second.mtu == 1450);

  std::vector<const model::Endpoint*> nobody;
  CHECK(render::segment(network, nobody, {}, 4800).vxlan->port == 4800);

  SUBCASE("hosts that a container could be") {
    network.underlay.self = ip("10.5.0.7");
    CHECK(made().vxlan->local == ip("10.5.0.7"));
    CHECK(made().vxlan->addresses == std::set{prefix("169.254.10.2/32"), prefix("fe80::6d73:a05:7/128")});
  }
  SUBCASE("an IPv6 underlay") {
    network.underlay.self = ip("2001:db8::1");
    const auto six = *made().vxlan;
    CHECK(six.peers == std::set{ip("2001:db8::3")});
    CHECK(prefix("169.254.0.0/16").contains(six.addresses.begin()->ip()));
    network.underlay.self = ip("2001:db8::2");
    CHECK(made().vxlan->addresses != six.addresses);
    CHECK(made().vxlan->mac != six.mac);
  }
  SUBCASE("without an address of this host there is none, and the rules are there already") {
    network.underlay = {};
    CHECK(!made().vxlan);
    CHECK(made().table->chains.contains("from_segment"));
  }
  SUBCASE("without a number") {
    network.settings.vni.reset();
    CHECK(!made().vxlan);
  }
  SUBCASE("a local network has none of all this") {
    network.settings.encoding.reset();
    const auto local = made();
    CHECK(!local.vxlan);
    CHECK(!local.sysctls.contains("net/ipv6/conf/all/proxy_ndp"));
    CHECK(!local.table->sets.contains(render::kPairs));
    for (auto& [name, chain] : in_force(Moment(network, endpoints), 7).chains)
      for (auto& rule : chain.rules) {
        CAPTURE(name);
        CHECK(kstate::to_text(rule).find(kstate::to_text({kstate::Cmp{8, true, kstate::bytes_of_ifname("msvx")}})) ==
              std::string::npos);
      }
  }
}
