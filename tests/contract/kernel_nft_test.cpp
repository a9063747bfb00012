// One suite for both kernels: the segment's nft table.
#include <doctest/doctest.h>

#include "contract/kernel_testing.h"
#include "microseg/render/gateway.h"

using namespace microseg;
using namespace microseg::test;
using namespace microseg::kstate;

namespace {

const SetType kMap{{Field::ifname, Field::ipv4}, Field::mark, false};
const SetType kRanges{{Field::number, Field::number, Field::protocol, Field::port}, std::nullopt, true};

Element pair(unsigned n, std::uint32_t mark) {
  auto address = ip("10.5." + std::to_string(n / 250) + "." + std::to_string(n % 250));
  return {bytes_of_ifname("ms" + std::to_string(n)) + Bytes(address.bytes().begin(), address.bytes().end()), {},
          bytes_of_mark(mark)};
}

Element range(std::uint32_t from, std::uint32_t to, std::uint16_t first, std::uint16_t last) {
  auto key = [&](std::uint16_t port) {
    return bytes_of_number(from) + bytes_of_number(to) + bytes_of_protocol(kTcp) + bytes_of_port(port);
  };
  return {key(first), key(last), {}};
}

template <class K>
struct WithTable : K {
  WithTable() {
    must(this->kernel.create_segment(kName));
    commit({AddTable{}, AddSet{"map", kMap}, AddSet{"ranges", kRanges}, AddCounter{"hits"}, AddChain{"plain", {}},
            AddChain{"base", Hook{Hook::Place::forward, 0, true}}});
  }
  Status try_commit(std::vector<NftOp> ops) { return this->kernel.apply(kName, Nft{std::move(ops)}); }
  void commit(std::vector<NftOp> ops) { must(try_commit(std::move(ops))); }
  // The error's code; nothing of the transaction must have happened.
  Errc refused(std::vector<NftOp> ops) {
    const auto before = *seen(this->kernel).table;
    const auto code = code_of(try_commit(std::move(ops)));
    CHECK(*seen(this->kernel).table == before);
    return code;
  }
  Table table() { return *seen(this->kernel).table; }
};

using FakeTable = WithTable<Fake>;
using RealTable = WithTable<Real>;

Rule drop() { return {kstate::Verdict{kstate::Verdict::Kind::drop, {}}}; }
Rule jump(const std::string& to) { return {kstate::Verdict{kstate::Verdict::Kind::jump, to}}; }

// A table that holds what a host with two containers would.
Table gateway_table() {
  const auto policy = policy::parse("allow a -> world : 443, icmp; deny a -> 10.0.0.0/8 : 1-65535; allow a -> host : 53/udp;"
                                    "allow 2001:db8::/32 except 2001:db8::1/128 -> any; allow host -> any;"
                                    "allow 198.51.100.0/24 -> any : 80", "test").value();
  render::Gateway gateway;
  gateway.holding = true;
  gateway.foreign = {ip("172.18.0.1"), ip("fd18::1")};
  gateway.resolvers = {ip("192.0.2.53"), ip("2001:db8:1::53")};
  for (std::string name : {"a", "b"}) {
    const policy::Identity who{name, {}};
    const policy::Member member[] = {{&policy, &who}};
    render::GatewayMember container;
    container.v4 = ip(name == "a" ? "172.18.0.3" : "172.18.0.4");
    container.v6 = ip(name == "a" ? "fd18::3" : "fd18::4");
    container.north = policy::north(member).value();
    container.published = {{kTcp, 80}, {kUdp, 53}};
    container.proxied = {{kTcp, 5000}};
    gateway.members.push_back(container);
  }
  Table table;
  render::add_gateway(table, gateway);
  return table;
}

std::vector<NftOp> from_nothing(const Table& table) {
  std::vector<NftOp> ops{DelTable{}, AddTable{}};
  for (auto& counter : table.counters) ops.push_back(AddCounter{counter});
  for (auto& [name, set] : table.sets) {
    ops.push_back(AddSet{name, set.type});
    ops.push_back(AddElements{name, set.type, {set.elements->begin(), set.elements->end()}});
  }
  for (auto& [name, chain] : table.chains) ops.push_back(AddChain{name, chain.hook});
  for (auto& [name, chain] : table.chains)
    for (auto& rule : chain.rules) ops.push_back(AddRule{name, rule});
  return ops;
}

}  // namespace

TYPE_TO_STRING(FakeTable);
TYPE_TO_STRING(RealTable);

TEST_CASE_TEMPLATE("every rule that is ever rendered reads back as it was written", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  for (const char* mode : {"enforce", "monitor"})
    for (const char* deny : {"reject", "drop"})
      for (std::uint16_t generation : {std::uint16_t{1}, std::uint16_t{258}, std::uint16_t{65535}}) {
        CAPTURE(mode);
        CAPTURE(deny);
        CAPTURE(generation);
        const Moment moment(network("allow web -> api : 80, icmp; allow {tier=x} -> any : 1-1000/udp",
                                    {{"microseg.mode", mode}, {"microseg.deny", deny}}),
                            {endpoint("web", 2), endpoint("api", 3), endpoint("", 4)});
        const auto step = reconcile::plan(moment.desired(), seen(k.kernel), static_cast<std::uint16_t>(generation - 1));
        for (auto& op : step.plan) must(k.kernel.apply(kName, op));
        const auto have = seen(k.kernel);
        REQUIRE(have.table);
        CHECK(render::generation_in(*have.table));
        CHECK(have.table->sets == step.after.table->sets);
        CHECK(have.table->counters == step.after.table->counters);
        for (auto& [name, chain] : step.after.table->chains) {
          CAPTURE(name);
          REQUIRE(have.table->chains.contains(name));
          CHECK(have.table->chains.at(name) == chain);
        }
        CHECK(*have.table == *step.after.table);
        CHECK(have.links.size() == step.after.links.size());
        for (auto& [name, link] : step.after.links) CHECK(link.same_as(have.links.at(name)));
        CHECK(reconcile::plan(moment.desired(), have, step.generation).plan.empty());
        must(k.kernel.delete_segment(kName));
        must(k.kernel.create_segment(kName));
      }
}

TEST_CASE_TEMPLATE("the gateway's part reads back as it was written", K, FakeTable, RealTable) {
  K k;
  const auto wanted = gateway_table();
  for (auto& [name, set] : wanted.sets) {
    CAPTURE(name);
    CHECK(!set.elements->empty());
  }
  k.commit(from_nothing(wanted));
  const auto have = k.table();
  for (auto& [name, set] : wanted.sets) {
    CAPTURE(name);
    CHECK(have.sets.at(name) == set);
  }
  for (auto& [name, chain] : wanted.chains) {
    CAPTURE(name);
    REQUIRE(have.chains.at(name).rules.size() == chain.rules.size());
    for (std::size_t i = 0; i < chain.rules.size(); ++i)
      CHECK(to_text(have.chains.at(name).rules[i]) == to_text(chain.rules[i]));
  }
  CHECK(have == wanted);
}

TEST_CASE_TEMPLATE("ranges of addresses", K, FakeTable, RealTable) {
  K k;
  for (bool six : {false, true}) {
    const auto a = six ? Field::ipv6 : Field::ipv4;
    const SetType type{{a, a, Field::protocol, Field::port}, std::nullopt, true};
    const std::string name = six ? "six" : "four";
    auto raw = [&](const std::string& s) {
      const auto address = ip((six ? "2001:db8::" : "192.0.2.") + s);
      return Bytes(address.bytes().begin(), address.bytes().end());
    };
    auto box = [&](const std::string& ours, const std::string& first, const std::string& last, std::uint16_t port) {
      return Element{raw(ours) + raw(first) + bytes_of_protocol(kTcp) + bytes_of_port(port),
                     raw(ours) + raw(last) + bytes_of_protocol(kTcp) + bytes_of_port(port), {}};
    };
    const std::set<Element> all{box("1", "11", "99", 80), box("1", "100", "200", 80), box("1", "11", "99", 81),
                                box("2", "11", "99", 80), box("1", "10", "10", 80)};
    k.commit({AddSet{name, type}, AddElements{name, type, {all.begin(), all.end()}}});
    CHECK(k.table().sets.at(name) == Set{type, make_elements(all)});
    CHECK(k.refused({AddElements{name, type, {box("1", "99", "150", 80)}}}) == Errc::exists);
    CHECK(k.refused({AddElements{name, type, {box("1", "50", "60", 80)}}}) == Errc::exists);
    k.commit({DelElements{name, type, {box("1", "11", "99", 80)}}, AddElements{name, type, {box("1", "50", "60", 80)}}});
    CHECK(k.table().sets.at(name).elements->contains(box("1", "50", "60", 80)));
    CHECK(k.table().sets.at(name).elements->size() == all.size());
  }
}

TEST_CASE_TEMPLATE("sets of any size", K, FakeTable, RealTable) {
  K k;
  const std::size_t most = std::is_same_v<K, FakeTable> ? 1000 : 20000;  // the fake looks for overlaps one by one
  for (std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{299}, std::size_t{301}, most}) {
    CAPTURE(count);
    std::set<Element> pairs, ranges;
    for (unsigned i = 0; i < count; ++i) {
      pairs.insert(pair(i, i % 65536));
      ranges.insert(range(1 + i % 200, 1 + i / 200, 1000, static_cast<std::uint16_t>(1000 + i % 7)));
    }
    k.commit({AddElements{"map", kMap, {pairs.begin(), pairs.end()}},
              AddElements{"ranges", kRanges, {ranges.begin(), ranges.end()}}});
    const auto have = k.table();
    CHECK(have.sets.at("map") == Set{kMap, make_elements(pairs)});
    CHECK(have.sets.at("ranges") == Set{kRanges, make_elements(ranges)});
    k.commit({DelElements{"map", kMap, {pairs.begin(), pairs.end()}},
              DelElements{"ranges", kRanges, {ranges.begin(), ranges.end()}}});
    CHECK(k.table().sets.at("map").elements->empty());
    CHECK(k.table().sets.at("ranges").elements->empty());
  }
}

TEST_CASE_TEMPLATE("elements", K, FakeTable, RealTable) {
  K k;
  k.commit({AddElements{"map", kMap, {pair(1, 5)}}, AddElements{"ranges", kRanges, {range(1, 2, 80, 90)}}});
  SUBCASE("the same again is fine") {
    k.commit({AddElements{"map", kMap, {pair(1, 5)}}, AddElements{"ranges", kRanges, {range(1, 2, 80, 90)}}});
    CHECK(k.table().sets.at("map").elements->size() == 1);
    CHECK(k.table().sets.at("ranges").elements->size() == 1);
  }
  SUBCASE("another value at a key is refused") { CHECK(k.refused({AddElements{"map", kMap, {pair(1, 6)}}}) == Errc::exists); }
  SUBCASE("a range that overlaps is refused") {
    CHECK(k.refused({AddElements{"ranges", kRanges, {range(1, 2, 85, 95)}}}) == Errc::exists);
    CHECK(k.refused({AddElements{"ranges", kRanges, {range(1, 2, 70, 80)}}}) == Errc::exists);
    CHECK(k.refused({AddElements{"ranges", kRanges, {range(1, 2, 82, 83)}}}) == Errc::exists);
  }
  SUBCASE("a range beside it is not") {
    k.commit({AddElements{"ranges", kRanges, {range(1, 2, 91, 95), range(1, 2, 1, 79), range(2, 1, 80, 90)}}});
    CHECK(k.table().sets.at("ranges").elements->size() == 4);
  }
  SUBCASE("an absent one cannot be deleted") {
    CHECK(k.refused({DelElements{"map", kMap, {pair(2, 5)}}}) == Errc::not_found);
    CHECK(k.refused({DelElements{"ranges", kRanges, {range(1, 2, 79, 90)}}}) == Errc::not_found);
    CHECK(k.refused({DelElements{"ranges", kRanges, {range(1, 3, 80, 90)}}}) == Errc::not_found);
  }
  SUBCASE("removed and added in one transaction: another value, an overlapping range") {
    k.commit({DelElements{"map", kMap, {pair(1, 5)}}, AddElements{"map", kMap, {pair(1, 6)}},
              DelElements{"ranges", kRanges, {range(1, 2, 80, 90)}},
              AddElements{"ranges", kRanges, {range(1, 2, 85, 95), range(1, 2, 80, 84)}}});
    CHECK(*k.table().sets.at("map").elements == std::set<Element>{pair(1, 6)});
    CHECK(*k.table().sets.at("ranges").elements == std::set<Element>{range(1, 2, 85, 95), range(1, 2, 80, 84)});
  }
  // Two things that the kernel does not notice; that facts never overlap is the compiler's promise, not the kernel's.
  SUBCASE("a range around a present one is not refused") {
    k.commit({AddElements{"ranges", kRanges, {range(1, 2, 1, 65535)}}});
    CHECK(k.table().sets.at("ranges").elements->size() == 2);
  }
  SUBCASE("a range is found by its beginning when it is deleted") {
    k.commit({DelElements{"ranges", kRanges, {range(1, 2, 80, 91)}}});
    CHECK(k.table().sets.at("ranges").elements->empty());
  }
  SUBCASE("a set is flushed, and may be filled in the same transaction") {
    k.commit({FlushSet{"map"}, FlushSet{"ranges"}});
    CHECK(k.table().sets.at("map").elements->empty());
    CHECK(k.table().sets.at("ranges").elements->empty());
    k.commit({FlushSet{"ranges"}});
    k.commit({AddElements{"ranges", kRanges, {range(1, 2, 80, 90)}}});
    k.commit({FlushSet{"ranges"}, AddElements{"ranges", kRanges, {range(1, 2, 85, 95)}}});
    CHECK(*k.table().sets.at("ranges").elements == std::set<Element>{range(1, 2, 85, 95)});
    CHECK(k.refused({FlushSet{"ranges"}, FlushSet{"no"}}) == Errc::not_found);
  }
  SUBCASE("a set that is not there") {
    CHECK(k.refused({AddElements{"no", kMap, {pair(1, 5)}}}) == Errc::not_found);
    CHECK(k.refused({DelElements{"no", kMap, {pair(1, 5)}}}) == Errc::not_found);
  }
}

TEST_CASE_TEMPLATE("a transaction is done wholly or not at all", K, FakeTable, RealTable) {
  K k;
  CHECK(k.refused({AddElements{"map", kMap, {pair(1, 1)}}, AddChain{"more", {}}, AddRule{"plain", drop()},
                   AddElements{"absent", kMap, {pair(1, 1)}}}) == Errc::not_found);
  CHECK(k.refused({FlushChain{"plain"}, DelChain{"plain"}, AddRule{"plain", drop()}}) == Errc::not_found);
  CHECK(k.refused({DelTable{}, AddTable{}, FlushChain{"plain"}}) == Errc::not_found);
  k.commit({});
}

TEST_CASE_TEMPLATE("chains", K, FakeTable, RealTable) {
  K k;
  SUBCASE("one in use cannot be deleted, one with rules can") {
    k.commit({AddRule{"plain", drop()}, AddRule{"base", jump("plain")}});
    CHECK(k.refused({DelChain{"plain"}}) == Errc::unavailable);
    k.commit({FlushChain{"base"}, DelChain{"plain"}});
    CHECK(!k.table().chains.contains("plain"));
  }
  SUBCASE("absent ones") {
    CHECK(k.refused({DelChain{"no"}}) == Errc::not_found);
    CHECK(k.refused({FlushChain{"no"}}) == Errc::not_found);
    CHECK(k.refused({AddRule{"no", drop()}}) == Errc::not_found);
  }
  SUBCASE("the same again is fine, another hook is not") {
    k.commit({AddChain{"plain", {}}, AddChain{"base", Hook{Hook::Place::forward, 0, true}}});
    // With which error depends on the kernel's version.
    (void)k.refused({AddChain{"base", Hook{Hook::Place::forward, 5, true}}});
    (void)k.refused({AddChain{"base", Hook{Hook::Place::input, 0, true}}});
  }
  SUBCASE("rules keep their order, and are replaced in one transaction") {
    k.commit({AddRule{"plain", drop()}, AddRule{"plain", {Count{"hits"}}}, AddRule{"base", jump("plain")}});
    CHECK(k.table().chains.at("plain").rules == std::vector<Rule>{drop(), {Count{"hits"}}});
    k.commit({FlushChain{"plain"}, AddRule{"plain", {Count{"hits"}}}, AddRule{"plain", drop()}});
    CHECK(k.table().chains.at("plain").rules == std::vector<Rule>{{Count{"hits"}}, drop()});
  }
}

TEST_CASE_TEMPLATE("a rule that names what is not there is refused", K, FakeTable, RealTable) {
  K k;
  CHECK(k.refused({AddRule{"plain", jump("no")}}) == Errc::not_found);
  CHECK(k.refused({AddRule{"plain", {Count{"no"}}}}) == Errc::not_found);
  CHECK(k.refused({AddRule{"plain", {Lookup{"no", 0, std::nullopt}}}}) == Errc::not_found);
  CHECK(k.refused({AddRule{"plain", jump("base")}}) == Errc::unsupported);  // a base chain cannot be called
  CHECK(k.refused({AddRule{"plain", {Meta{MetaKey::mark, 0}, Meta{MetaKey::mark, 1}, Meta{MetaKey::l4proto, 2},
                                     Payload{Base::transport, 2, 2, 3}, Lookup{"ranges", 0, 8}}}}) == Errc::invalid);
}

TEST_CASE_TEMPLATE("a table", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  auto commit = [&](std::vector<NftOp> ops) { return k.kernel.apply(kName, Nft{std::move(ops)}); };
  CHECK(!seen(k.kernel).table);
  CHECK(code_of(commit({DelTable{}})) == Errc::not_found);
  CHECK(code_of(commit({AddChain{"x", {}}})) == Errc::not_found);
  must(commit({AddTable{}}));
  CHECK(seen(k.kernel).table == Table{});
  must(commit({AddTable{}}));
  must(commit({DelTable{}, AddTable{}, AddChain{"x", {}}}));  // from nothing, without a moment without it
  CHECK(seen(k.kernel).table->chains.size() == 1);
  must(commit({DelTable{}}));
  CHECK(!seen(k.kernel).table);
}

TEST_CASE_TEMPLATE("counters begin at nothing", K, FakeTable, RealTable) {
  K k;
  CHECK(k.kernel.counters(kName).value() == std::map<std::string, std::uint64_t>{{"hits", 0}});
  CHECK(!k.kernel.counters("absent"));
  must(k.kernel.create_segment("b00000000000"));
  CHECK(k.kernel.counters("b00000000000")->empty());
}

TEST_CASE_TEMPLATE("waiting and purging can be done at any time", K, Fake, Real) {
  K k;
  must(k.kernel.create_segment(kName));
  must(k.kernel.apply(kName, Quiesce{}));
  must(k.kernel.apply(kName, PurgeConnections{}));
  must(k.kernel.apply(kName, PurgeConnections{0x8000, 0x8000}));
  CHECK(code_of(k.kernel.apply("absent", Quiesce{})) == Errc::not_found);
}

// What others may have put into our table must differ from all that is wanted.
TEST_CASE("foreign things in the table show") {
  RealTable k;
  const auto before = k.table();
  SUBCASE("a rule") { k.commit({AddRule{"plain", {Foreign{"notrack"}}}}); }
  SUBCASE("a set") { k.commit({AddSet{"foreign", {{Field::port}, std::nullopt, false}}}); }
  SUBCASE("a chain") { k.commit({AddChain{"foreign", {}}}); }
  SUBCASE("a counter") { k.commit({AddCounter{"foreign"}}); }
  CHECK(k.table() != before);
}
