// plan(): what is done, in which order.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "support/fake_kernel.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::test;
using namespace microseg::kstate;

namespace {

const char* const kPolicy = "allow web -> api : 80; allow api -> db : 5432";

Moment begin(std::vector<model::Endpoint> endpoints = {endpoint("web", 2), endpoint("api", 3)}) {
  return Moment(network(kPolicy), std::move(endpoints));
}

// The kinds of ops, in order: "nft quiesce nft link-add".
std::string kinds(const Plan& plan) {
  static constexpr const char* names[] = {"sysctl", "link-add", "link-del", "link-mend", "nft", "quiesce", "purge"};
  std::string out;
  for (auto& op : plan) out += (out.empty() ? "" : " ") + std::string(names[op.index()]);
  return out;
}

bool has(const Plan& plan, const std::string& text) { return to_text(plan).find(text) != std::string::npos; }

// The segment as it is after `moment` was set up in generation `number`.
Segment after(const Moment& moment, std::uint16_t number = 7) {
  auto empty = moment.desired();
  empty.links.clear();
  empty.table.reset();
  return reconcile::plan(moment.desired(), empty, static_cast<std::uint16_t>(number - 1)).after;
}

// Does a plan in a fake kernel that holds `observed`; the plan's own idea of what is then must be true.
Segment done(const Segment& observed, const reconcile::Step& step) {
  FakeKernel kernel;
  kernel.state["s"] = observed;
  for (auto& op : step.plan) {
    auto status = kernel.apply("s", op);
    REQUIRE_MESSAGE(status, status.error().text);
  }
  auto& have = kernel.state["s"];
  CHECK(have.sysctls == step.after.sysctls);
  CHECK(have.table == step.after.table);
  REQUIRE(have.links.size() == step.after.links.size());
  for (auto& [name, link] : step.after.links) CHECK(link.same_as(have.links.at(name)));
  return have;
}

}  // namespace

TEST_CASE("nothing differs, nothing is done") {
  const auto moment = begin();
  const auto step = reconcile::plan(moment.desired(), after(moment), 7);
  CHECK(to_text(step.plan).empty());
  CHECK(step.generation == 7);
}

TEST_CASE("the number after") {
  CHECK(reconcile::next_generation(1) == 2);
  CHECK(reconcile::next_generation(0) == 1);
  CHECK(reconcile::next_generation(32767) == 32768);
  CHECK(reconcile::next_generation(65535) == 1);
}

TEST_CASE("what a change costs") {
  // Every service has an endpoint that stays, so that only what the row says changes.
  const std::vector<model::Endpoint> stay = {endpoint("web", 2), endpoint("api", 3), endpoint("db", 4)};
  auto with = [&](const char* service, unsigned n, const std::string& id = "") {
    auto out = stay;
    out.push_back(endpoint(service, n, id));
    return out;
  };
  const auto before = begin(with("web", 6));
  struct {
    const char* title;
    Moment next;
    const char* kinds;
    std::uint16_t generation;
    int allow;  // the set in use afterwards
  } rows[] = {
      {"an endpoint less: the link first, and its stamps with it", before.then(kPolicy, stay),
       "link-del nft quiesce nft", 8, 0},
      {"a statement less", before.then("allow web -> api : 80; allow api -> db : 5433", before.endpoints),
       "nft nft quiesce nft", 8, 1},
      {"another port", before.then("allow web -> api : 81; allow api -> db : 5432", before.endpoints),
       "nft nft quiesce nft", 8, 1},
      {"another service behind the same endpoint", before.then(kPolicy, with("db", 6)), "nft quiesce nft", 8, 0},
      {"not known any more", before.then(kPolicy, with("", 6)), "nft quiesce nft", 8, 0},
      {"an address changes hands", before.then(kPolicy, with("db", 6, "f6")), "link-del nft quiesce nft link-add", 8, 0},
  };
  SUBCASE("an endpoint more: policy before link, and nobody is judged again") {
    const auto start = begin(stay);
    const auto step = reconcile::plan(before.desired(), after(start), 7);
    CHECK(kinds(step.plan) == "nft link-add");
    CHECK(step.generation == 7);
    done(after(start), step);
  }
  SUBCASE("a statement more") {
    const auto next = before.then(std::string(kPolicy) + "; allow api -> web", before.endpoints);
    const auto step = reconcile::plan(next.desired(), after(before), 7);
    CHECK(kinds(step.plan) == "nft");
    CHECK(step.generation == 7);
    done(after(before), step);
  }
  for (auto& row : rows) {
    CAPTURE(row.title);
    const auto observed = after(before);
    const auto step = reconcile::plan(row.next.desired(), observed, 7);
    CAPTURE(to_text(step.plan));
    CHECK(kinds(step.plan) == row.kinds);
    CHECK(step.generation == row.generation);
    const auto have = done(observed, step);
    CHECK(render::generation_in(*have.table) == render::Generation{row.generation, row.allow, false});
    CHECK(reconcile::plan(row.next.desired(), have, step.generation).plan.empty());
  }
}

TEST_CASE("from nothing") {
  const auto moment = begin();
  auto empty = moment.desired();
  empty.links.clear();
  empty.table.reset();
  SUBCASE("no number known: no connection keeps what it carries") {
    const auto step = reconcile::plan(moment.desired(), empty, 0);
    CHECK(kinds(step.plan) == "purge nft link-add link-add");
    CHECK(has(step.plan, "conntrack -D -m 0/0\n"));
    CHECK(step.generation == 1);
    done(empty, step);
  }
  SUBCASE("the table was lost, the number is known: the next one") {
    auto lost = after(moment);
    lost.table.reset();
    const auto step = reconcile::plan(moment.desired(), lost, 7);
    CHECK(kinds(step.plan) == "nft");
    CHECK(step.generation == 8);
    CHECK(has(step.plan, "nft add table\n"));
    CHECK(!has(step.plan, "nft delete table\n"));
    done(lost, step);
  }
}

TEST_CASE("sysctls: wrong ones are set, those that this kernel lacks are not asked for") {
  const auto moment = begin();
  auto observed = after(moment);
  observed.sysctls["net/ipv4/ip_forward"] = "0";
  observed.sysctls.erase("net/ipv6/icmp/ratelimit");
  const auto step = reconcile::plan(moment.desired(), observed, 7);
  CHECK(to_text(step.plan) == "sysctl net/ipv4/ip_forward=1\n");
  CHECK(!step.after.sysctls.contains("net/ipv6/icmp/ratelimit"));
}

TEST_CASE("what somebody else did is repaired") {
  const auto moment = begin();
  auto observed = after(moment);
  auto& table = *observed.table;
  const auto two = render::link_name(endpoint("web", 2).id);
  const char* want = "nft quiesce nft";
  SUBCASE("a rule more") {
    auto& rules = table.chains["tag"].rules;
    rules.insert(rules.begin(), Rule{Verdict{Verdict::Kind::accept, {}}});
  }
  SUBCASE("a rule that is not ours") { table.chains["tag"].rules.push_back({Foreign{"log"}}); }
  SUBCASE("a rule less") { table.chains["local"].rules.pop_back(); }
  SUBCASE("a judging rule less: the generation cannot be told any more, a new table") {
    table.chains["forward"].rules.pop_back();
  }
  SUBCASE("a permission more, in the set in use: the other set, without it") {
    auto more = *table.sets["allow_a"].elements;
    more.insert(*render::allow_elements({{{1, 9}, {1, 9}, {17, 17}, {0, 65535}}})->begin());
    table.sets["allow_a"].elements = make_elements(more);
    want = "nft nft quiesce nft";
  }
  SUBCASE("a permission more, in the set that is not in use") {
    table.sets["allow_b"].elements = table.sets["allow_a"].elements;
    want = nullptr;  // that it is empty afterwards is all that matters
  }
  SUBCASE("a permission less") {
    table.sets["allow_a"].elements = make_elements({});
    want = "nft";
  }
  SUBCASE("a chain flushed") { table.chains["errors"].rules.clear(); }
  SUBCASE("an element more") {
    auto more = *table.sets["class4"].elements;
    more.insert({Bytes("\x0a\x05\x00\x63", 4), {}, bytes_of_mark(1)});
    table.sets["class4"].elements = make_elements(more);
  }
  SUBCASE("an element changed") {
    auto changed = *table.sets["class4"].elements;
    auto first = *changed.begin();
    changed.erase(changed.begin());
    first.data = bytes_of_mark(3);
    changed.insert(first);
    table.sets["class4"].elements = make_elements(changed);
  }
  SUBCASE("elements gone") {
    table.sets["tag4"].elements = make_elements({});
    want = "nft";
  }
  SUBCASE("a counter gone") {
    auto names = [](auto& rule) { return to_text(rule).find("counter local") != std::string::npos; };
    std::erase_if(table.chains["local"].rules, names);  // it can only go once its rule has
    table.counters.erase("local");
  }
  SUBCASE("a set more: a new table") {
    table.sets["foreign"] = {{{Field::port}, std::nullopt, false}, make_elements({})};
  }
  SUBCASE("a set of another type: a new table") {
    for (auto& [name, chain] : table.chains) chain.rules.clear();
    table.sets["tag4"].type.data.reset();
  }
  SUBCASE("a chain more: a new table") {
    table.chains["foreign"].hook = Hook{Hook::Place::forward, -10, false};
  }
  SUBCASE("a base chain with another hook: a new table") {
    table.chains["forward"].hook->policy_drop = false;
  }
  SUBCASE("a counter more: a new table") {
    table.counters.insert("foreign");
  }
  SUBCASE("the generation's chains touched: a new table") {
    table.chains["stamp"].rules.push_back({Verdict{Verdict::Kind::accept, {}}});
  }
  SUBCASE("a link gone") {
    observed.links.erase(two);
    want = "link-add";
  }
  SUBCASE("a link more") {
    observed.links.emplace(IfName::parse("msforeign").value(), observed.links.at(two));
    want = "link-del";
  }
  SUBCASE("a route gone") {
    observed.links.at(two).routes.clear();
    want = "link-mend";
  }
  SUBCASE("a neighbour more") {
    observed.links.at(two).neighbours.emplace(ip("10.5.0.99"), Mac::local(1));
    want = "link-mend";
  }
  SUBCASE("everything of it") {
    observed.table.reset();
    observed.links.clear();
    want = "nft link-add link-add";
  }
  const auto step = reconcile::plan(moment.desired(), observed, 7);
  CAPTURE(to_text(step.plan));
  if (want) CHECK(kinds(step.plan) == std::string(want));
  const auto have = done(observed, step);
  // Whatever was stamped under rules that were not ours passes no more.
  if (want && std::string(want).find("quiesce") != std::string::npos) CHECK(render::generation_in(*have.table)->number > 7);
  CHECK(reconcile::plan(moment.desired(), have, step.generation).plan.empty());
}

TEST_CASE("a generation that is owed is opened, by whoever finds the note") {
  const auto moment = begin();
  auto observed = after(moment);
  observed.table->chains[render::kOwedChain];
  for (std::uint16_t known : {std::uint16_t{0}, std::uint16_t{7}}) {  // by a restarted daemon, by this one
    const auto step = reconcile::plan(moment.desired(), observed, known);
    CHECK(kinds(step.plan) == "quiesce nft");
    CHECK(step.generation == 8);
    const auto have = done(observed, step);
    CHECK(!have.table->chains.contains(render::kOwedChain));
  }
}

TEST_CASE("numbers are used again only after their connections were forgotten") {
  const auto before = begin();
  const auto next = before.then(kPolicy, {endpoint("web", 2)});
  struct {
    std::uint16_t open, then;
    const char* purge;  // "" is none
  } rows[] = {
      {1, 2, ""},
      {32766, 32767, ""},
      {32767, 32768, "conntrack -D -m 32768/32768\n"},
      {32768, 32769, ""},
      {65534, 65535, ""},
      {65535, 1, "conntrack -D -m 0/32768\n"},
  };
  for (auto& row : rows) {
    CAPTURE(row.open);
    const auto observed = after(before, row.open);
    const auto step = reconcile::plan(next.desired(), observed, row.open);
    CHECK(step.generation == row.then);
    const auto text = to_text(step.plan);
    CHECK(std::string(row.purge).empty() == (text.find("conntrack") == std::string::npos));
    CHECK(text.find(row.purge) != std::string::npos);
    if (*row.purge) CHECK(text.find("wait for") < text.find("conntrack"));  // while nobody stamps with the new one
    done(observed, step);
    // The same where the table has to be made anew.
    auto lost = observed;
    lost.table.reset();
    const auto again = reconcile::plan(before.desired(), lost, row.open);
    CHECK(again.generation == row.then);
    CHECK(has(again.plan, "conntrack") == (*row.purge != 0));
  }
}
