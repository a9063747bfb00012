// plan(): what is done, in which order.
#include <doctest/doctest.h>

#include <iterator>
#include <variant>

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
  static constexpr const char* names[] = {"sysctl", "link-add", "link-del", "link-mend", "vxlan-add", "vxlan-del",
                                          "vxlan-mend", "announce", "nft", "port", "quiesce", "purge"};
  static_assert(std::size(names) == std::variant_size_v<Op>);
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
  CHECK(have.vxlan == step.after.vxlan);
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

// ---- the way to other hosts ----

namespace {

Vxlan vxlan() {
  Vxlan out;
  out.alias = "microseg:" + long_id("a");
  out.vni = 4711;
  out.port = 4799;
  out.local = ip("192.0.2.1");
  out.mac = Mac::local(0xa1);
  out.routes = {prefix("10.5.0.0/24"), prefix("fd05::/64")};
  out.peers = {ip("192.0.2.2")};
  out.proxies = {ip("10.5.0.2"), ip("10.5.0.3"), ip("fd05::2"), ip("fd05::3")};
  return out;
}

Segment with(Segment segment, std::optional<Vxlan> device) {
  segment.vxlan = std::move(device);
  return segment;
}

}  // namespace

TEST_CASE("the VXLAN device: what differs, and what is done about it") {
  auto peers = vxlan(), down = vxlan(), moved = vxlan(), foreign = vxlan();
  peers.peers.insert(ip("192.0.2.3"));
  down.mtu = 0;
  moved.local = ip("192.0.2.9");
  foreign.vni = 0;
  const auto moment = begin();
  struct {
    const char* title;
    std::optional<Vxlan> desired, observed;
    const char* plan;
  } rows[] = {
      {"nothing differs", vxlan(), vxlan(), ""},
      {"none wanted, none there", std::nullopt, std::nullopt, ""},
      {"missing: with it goes the news of all that is here", vxlan(), std::nullopt, "vxlan-add announce"},
      {"left over", std::nullopt, vxlan(), "vxlan-del"},
      {"another peer", peers, vxlan(), "vxlan-mend"},
      {"a peer too many", vxlan(), peers, "vxlan-mend"},
      {"down", vxlan(), down, "vxlan-mend"},
      {"another underlay address", moved, vxlan(), "vxlan-del vxlan-add announce"},
      {"one that cannot be mended", vxlan(), foreign, "vxlan-del vxlan-add announce"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    const auto desired = with(moment.desired(), row.desired), observed = with(after(moment), row.observed);
    const auto step = reconcile::plan(desired, observed, 7);
    CHECK(kinds(step.plan) == std::string(row.plan));
    CHECK(kinds(reconcile::plan(desired, done(observed, step), 7).plan).empty());
  }
}

TEST_CASE("a segment from nothing: policy, then links, then the way out, then the news") {
  const auto desired = with(begin().desired(), vxlan());
  Segment empty;
  for (auto& [path, value] : desired.sysctls) empty.sysctls[path] = value;
  const auto step = reconcile::plan(desired, empty, 0);
  CHECK(kinds(step.plan) == "purge nft link-add link-add vxlan-add announce");
  CHECK(has({step.plan.back()}, "announce 10.5.0.2 10.5.0.3 fd05::2 fd05::3"));
}

TEST_CASE("a link that comes is announced once the device answers for it") {
  const auto before = begin({endpoint("web", 2)}), now = begin();
  auto fewer = vxlan();
  fewer.proxies = {ip("10.5.0.2"), ip("fd05::2")};
  const auto desired = with(now.desired(), vxlan());
  const auto step = reconcile::plan(desired, with(after(before), fewer), 7);
  CHECK(kinds(step.plan) == "nft link-add vxlan-mend announce");
  CHECK(has({step.plan.back()}, "announce 10.5.0.3 fd05::3\n"));
}

TEST_CASE("a link that gets another address is announced, one that is mended otherwise is not") {
  const auto moment = begin();
  const auto desired = with(moment.desired(), vxlan());
  auto observed = with(after(moment), vxlan());
  auto& link = observed.links.at(render::link_name(moment.endpoints[1].id));
  SUBCASE("another address") {
    link.routes.erase(prefix("10.5.0.3/32"));
    link.routes.insert(prefix("10.5.0.77/32"));
    const auto step = reconcile::plan(desired, observed, 7);
    CHECK(kinds(step.plan) == "link-mend announce");
    CHECK(has(step.plan, "announce 10.5.0.3\n"));
  }
  SUBCASE("another MTU") {
    link.mtu = 1280;
    CHECK(kinds(reconcile::plan(desired, observed, 7).plan) == "link-mend");
  }
}

TEST_CASE("where the network is on one host only, nothing is announced") {
  const auto step = reconcile::plan(begin().desired(), after(begin({endpoint("web", 2)})), 7);
  CHECK(kinds(step.plan) == "nft link-add");
}

TEST_CASE("a device of another tunnel goes with the links that go, before the rules change") {
  auto other = vxlan();
  other.vni = 4712;
  const auto before = begin(), now = begin({endpoint("web", 2)});
  auto fewer = vxlan();
  fewer.proxies = {ip("10.5.0.2"), ip("fd05::2")};
  const auto step = reconcile::plan(with(now.desired(), fewer), with(after(before), other), 7);
  CHECK(kinds(step.plan) == "link-del vxlan-del nft quiesce nft vxlan-add announce");
  CHECK(has({step.plan.back()}, "announce 10.5.0.2 fd05::2\n"));
}
