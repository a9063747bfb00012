// Plans cut short anywhere. At every point, whatever packet comes, no more is allowed than the policy before or the one
// after allows; once the next round is through, exactly what the one after allows, for live connections as well.
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

#include "support/fake_kernel.h"
#include "support/rule_vm.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;

namespace {

constexpr std::uint16_t kPorts[] = {80, 5432};

// What the hosts' conntracks know: by addresses, as the kernel does; who holds an address may change.
struct Connection {
  unsigned from, to;  // last part of the addresses
  std::uint16_t port;
  bool six;
  std::uint32_t mark;
  bool mixed = false;  // stamped by a packet that was on its way during a transaction: passes until the next number
};

struct World {
  FakeKernel kernel;
  std::uint16_t last_generation = 0;
  std::vector<Connection> live;

  World() { REQUIRE(kernel.create_segment("s")); }
  const kstate::Segment& segment() const { return kernel.state.at("s"); }

  // The link to which the segment routes an address.
  std::optional<IfName> holder(const Ip& address) const {
    for (auto& [name, link] : segment().links)
      if (link.routes.contains(Prefix::host(address))) return name;
    return std::nullopt;
  }
};

Ip at(unsigned n, bool six) { return ip((six ? "fd05::" : "10.5.0.") + std::to_string(n)); }

const model::Endpoint* by_link(const Moment& moment, const IfName& link) {
  for (auto& e : moment.endpoints)
    if (render::link_name(e.id) == link) return &e;
  return nullptr;
}

bool allows(const Moment& moment, const IfName& from, const IfName& to, std::uint16_t port) {
  auto *a = by_link(moment, from), *b = by_link(moment, to);
  return a && b && moment.allows(*a, *b, kTcp, port);
}

// A packet that is tagged before a transaction and judged after it may meet the sender it was, the receiver that is
// now, and the new policy. One packet may be judged so; its stamp must not last, which `judge` sees later.
bool mixed(const Moment& before, const Moment& after, const IfName& from, const IfName& to) {
  for (auto* policy : {&before, &after})
    for (auto* sender : {&before, &after})
      for (auto* receiver : {&before, &after}) {
        auto *a = by_link(*sender, from), *b = by_link(*receiver, to);
        if (a && b && policy->allows(*a, *b, kTcp, 80)) return true;
      }
  return false;
}

// A packet of `c` towards its opened end, or back. Absent when the segment has no link for one of the addresses.
std::optional<Packet> packet(const World& world, const Connection& c, bool back, std::uint32_t state,
                             std::uint32_t* mark) {
  const Ip source = at(back ? c.to : c.from, c.six), target = at(back ? c.from : c.to, c.six);
  auto link = world.holder(source);
  if (!link || !world.holder(target)) return std::nullopt;
  const std::uint16_t other = 40000;
  Packet out{.link = link->str(), .source = source, .target = target, .source_port = back ? c.port : other,
             .target_port = back ? other : c.port, .track = {}};
  out.track = {state, back, mark, at(c.from, c.six), at(c.to, c.six)};
  return out;
}

// Tries everything. With `exactly`, all that `after` allows must pass as well. New connections that pass live on.
void judge(World& world, const Moment& before, const Moment& after, bool exactly) {
  if (!world.segment().table) {  // no table yet: then no link either
    CHECK(world.segment().links.empty());
    return;
  }
  const auto& table = *world.segment().table;
  auto check = [&](const Connection& c, bool back, std::uint32_t state, std::uint32_t* mark) {
    auto p = packet(world, c, back, state, mark);
    if (!p) return;
    const bool passed = forward(table, *p).starts_with("pass");
    const auto from = *world.holder(at(c.from, c.six)), to = *world.holder(at(c.to, c.six));
    const bool now = allows(after, from, to, c.port), then = allows(before, from, to, c.port);
    if (passed ? now || (then && !exactly) : !(exactly && now)) return;
    CAPTURE(p->source.str() + " -> " + p->target.str() + " port " + std::to_string(c.port));
    CAPTURE(back);
    CAPTURE(state);
    CAPTURE(*mark);
    const std::string what = passed ? "passed, and no policy allows it" : "refused, though it is allowed";
    FAIL_CHECK(what);
  };
  for (auto& c : world.live)
    for (bool back : {false, true}) {
      std::uint32_t mark = c.mark;  // as if this were the connection's next packet
      if (exactly || !c.mixed) check(c, back, kEstablished, &mark);
    }
  for (unsigned from = 2; from <= 5; ++from)
    for (unsigned to = 2; to <= 5; ++to)
      for (auto port : kPorts)
        for (bool six : {false, true}) {
          Connection c{from, to, port, six, 0, false};
          check(c, false, kNew, &c.mark);
          if (c.mark) world.live.push_back(c);
        }
}

void purge(World& world, const kstate::Op& op) {
  if (auto* p = std::get_if<kstate::PurgeConnections>(&op))
    std::erase_if(world.live, [&](auto& c) { return (c.mark & p->mask) == p->value; });
}

// Does the plan up to op `cut` and judges after each; true when all of it was done.
bool do_plan(World& world, const Moment& before, const Moment& after, std::size_t cut) {
  auto step = reconcile::plan(after.desired(), world.segment(), world.last_generation);
  std::vector<Packet> tagged;  // on their way: past the tagging, not yet judged
  std::vector<std::uint32_t> marks(256);
  for (std::size_t i = 0; i < step.plan.size(); ++i) {
    if (i == cut) return false;
    if (world.segment().table && marks.size() > tagged.size() + 32)
      for (unsigned from = 2; from <= 5; ++from)
        for (unsigned to = 2; to <= 5; ++to) {
          auto p = packet(world, {from, to, 80, false, 0, false}, false, kNew, &marks[tagged.size()]);
          if (!p || run(*world.segment().table, kstate::Hook::Place::prerouting, *p).kind != Verdict::Kind::pass) continue;
          tagged.push_back(*p);
        }
    REQUIRE(world.kernel.apply("s", step.plan[i]));
    purge(world, step.plan[i]);
    if (std::holds_alternative<kstate::Quiesce>(step.plan[i])) tagged.clear();
    std::erase_if(tagged, [&](auto& p) { return !world.holder(p.source) || world.holder(p.source)->str() != p.link; });
    for (auto& p : tagged) {
      auto to = world.holder(p.target);
      if (!to) continue;
      auto copy = p;
      *copy.track.mark = 0;
      if (run(*world.segment().table, kstate::Hook::Place::forward, copy).kind != Verdict::Kind::pass) continue;
      const auto from = IfName::parse(p.link).value();
      CHECK(mixed(before, after, from, *to));
      if (*copy.track.mark)
        world.live.push_back({p.source.bytes().back(), p.target.bytes().back(), 80, false, *copy.track.mark, true});
    }
    judge(world, before, after, false);
  }
  world.last_generation = step.generation;
  return true;
}

const char* const kStatements[] = {"allow web -> api : 80",   "allow api -> db : 5432", "allow web -> db",
                                   "deny web -> api",         "allow any -> api : 80",  "allow db -> any : 5432",
                                   "allow {tier=x} -> web : 80"};
const char* const kServices[] = {"web", "api", "db", ""};

template <std::size_t N>
std::size_t any(std::mt19937& random, const char* const (&)[N]) {
  return random() % N;
}

std::string some_policy(std::mt19937& random) {
  std::string out;
  for (auto* statement : kStatements)
    if (random() % 2) out += std::string(statement) + "\n";
  return out;
}

// Addresses .2 to .5, some of them free; an address may be another endpoint's than before.
std::vector<model::Endpoint> some_endpoints(std::mt19937& random) {
  std::vector<model::Endpoint> out;
  for (unsigned n = 2; n <= 5; ++n)
    if (random() % 4) {
      auto e = endpoint(kServices[any(random, kServices)], n, (random() % 3 ? "e" : "f") + std::to_string(n));
      if (e.identity && random() % 3 == 0) e.identity->identity.labels = {{"tier", "x"}};
      out.push_back(e);
    }
  return out;
}

// Sometimes somebody touched the segment before the round.
void drift(World& world, std::mt19937& random) {
  auto& segment = world.kernel.state.at("s");
  if (!segment.table) return;
  switch (random() % 8) {
    case 0: segment.table->sets.at(render::kAllowSets[random() % 2]).elements = kstate::make_elements({}); break;
    case 1: segment.table->chains.at("forward").rules.pop_back(); break;
    case 2:
      if (!segment.links.empty()) segment.links.erase(segment.links.begin());
      break;
    default: break;
  }
}

}  // namespace

TEST_CASE("a plan cut short at any op allows nothing more, and the next round finishes it") {
  const char* given = std::getenv("MICROSEG_SEED");
  const auto start = given ? static_cast<std::uint32_t>(std::stoul(given)) : std::random_device()();
  MESSAGE("seed " << start);
  std::mt19937 random(start);
  int cuts = 0;
  for (int history = 0; history < 6; ++history) {
    // Near the numbers' ends as well.
    const std::uint16_t numbers[] = {0, 1, 32764, 65532};
    World world;
    world.last_generation = numbers[random() % 4];
    Moment before(network(some_policy(random)), some_endpoints(random));
    REQUIRE(do_plan(world, before, before, SIZE_MAX));
    judge(world, before, before, true);
    for (int change = 0; change < 5; ++change) {
      const auto next = before.then(some_policy(random), some_endpoints(random));
      drift(world, random);
      World reached = world;
      for (std::size_t cut = 0;; ++cut) {
        CAPTURE(start);
        CAPTURE(history);
        CAPTURE(change);
        CAPTURE(cut);
        World attempt = world;
        const bool whole = do_plan(attempt, before, next, cut);
        if (!whole && random() % 2 && attempt.segment().table) attempt.last_generation = 0;  // by a restarted daemon
        REQUIRE(do_plan(attempt, before, next, SIZE_MAX));
        judge(attempt, next, next, true);
        CHECK(reconcile::plan(next.desired(), attempt.segment(), attempt.last_generation).plan.empty());
        ++cuts;
        if (!whole) continue;
        reached = attempt;
        break;
      }
      world = reached;
      before = next;
      if (world.live.size() > 300) world.live.erase(world.live.begin(), world.live.end() - 300);
    }
  }
  CHECK(cuts > 30);
}
