// Policy as numbers: what fits, who gets which class, and the facts, written as a person can read them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <ctime>
#include <string>

#include "microseg/policy/compile.h"

using namespace microseg;
using namespace microseg::policy;

namespace {

std::string text(Range range) {
  return range.first == range.last ? fmt::format("{}", range.first) : fmt::format("{}-{}", range.first, range.last);
}

// "FROM > TO PROTOCOL:PORT", one fact a line.
std::string text(const std::vector<Fact>& facts) {
  std::string out;
  for (auto& f : facts) out += fmt::format("{} > {} {}:{}\n", text(f.from), text(f.to), text(f.protocol), text(f.port));
  return out;
}

Policy policy_of(const std::string& source) { return parse(source, "test").value(); }

std::string facts_of(const std::string& source, std::uint32_t base = 1) {
  auto policy = policy_of(source);
  auto facts = compile(policy, {base, alphabet_of(policy)});
  return facts ? text(facts.value()) : facts.error().text;
}

Alphabet alphabet(std::size_t names, std::size_t selectors) {
  Alphabet out;
  for (std::size_t i = 0; i < names; ++i) out.names.push_back(fmt::format("n{:05}", i));
  for (std::size_t i = 0; i < selectors; ++i)
    out.selectors.push_back({{{Term::Op::present, fmt::format("l{:02}", i), ""}}});
  return out;
}

}  // namespace

TEST_CASE("what a policy asks, sorted and once") {
  auto asked = alphabet_of(policy_of("allow b -> a; deny a -> {x}; allow any -> {y=1, x}; allow {x} -> b"));
  CHECK(asked.names == std::vector<std::string>{"a", "b"});
  REQUIRE(asked.selectors.size() == 2);
  CHECK(asked.selectors[0].str() == "{x}");
  CHECK(asked.selectors[1].str() == "{x, y=1}");
  CHECK(asked.covers(alphabet_of(policy_of("allow a -> {x}"))));
  CHECK(asked.covers({}));
  CHECK(!asked.covers(alphabet_of(policy_of("allow c -> a"))));
  CHECK(!asked.covers(alphabet_of(policy_of("allow a -> {z}"))));
}

TEST_CASE("how many classes a policy needs, and which do not fit") {
  struct {
    std::size_t names, selectors;
    const char* error;
  } rows[] = {
      {0, 0, ""},
      {65534, 0, ""},
      {254, 8, ""},
      {0, 15, ""},
      {65535, 0, "policy needs (65535 names + 1) * 2^0 selectors = 65536 classes, at most 65535 fit: use fewer names"},
      {255, 8,
       "policy needs (255 names + 1) * 2^8 selectors = 65536 classes, at most 65535 fit: use fewer label selectors"},
      {120, 10,
       "policy needs (120 names + 1) * 2^10 selectors = 123904 classes, at most 65535 fit: use fewer label selectors"},
      {0, 16,
       "policy needs (0 names + 1) * 2^16 selectors = 65536 classes, at most 65535 fit: use fewer label selectors"},
      {1, 63,
       "policy needs (1 name + 1) * 2^63 selectors = more than 18446744073709551615 classes, at most 65535 fit: use "
       "fewer "
       "label selectors"},
      {32767, 1,
       "policy needs (32767 names + 1) * 2^1 selector = 65536 classes, at most 65535 fit: use fewer label selectors"},
  };
  for (auto& row : rows) {
    CAPTURE(row.names);
    CAPTURE(row.selectors);
    auto fits = check_fits(alphabet(row.names, row.selectors));
    CHECK((fits ? std::string() : fits.error().text) == row.error);
  }
  CHECK(class_count(alphabet(1, 62)) == std::uint64_t{1} << 63U);
  CHECK(class_count(alphabet(0, 64)) == UINT64_MAX);
  CHECK(class_count(alphabet(1, 200)) == UINT64_MAX);
}

TEST_CASE("an endpoint's class is base + name * 2^L + bits") {
  const Numbering numbering{100, alphabet_of(policy_of("allow a -> {x}; allow b -> {y}"))};
  CHECK(numbering.last() == 111);
  struct {
    Identity identity;
    int number;
  } rows[] = {
      {{"", {}}, 100},
      {{"c", {}}, 100},
      {{"c", {{"x", "1"}}}, 101},
      {{"", {{"y", ""}}}, 102},
      {{"a", {}}, 104},
      {{"a", {{"x", ""}, {"y", ""}}}, 107},
      {{"b", {}}, 108},
      {{"b", {{"z", ""}, {"x", "x"}, {"y", "y"}}}, 111},
  };
  for (auto& row : rows) {
    CAPTURE(row.identity.service);
    CHECK(class_of(numbering, row.identity) == row.number);
  }
  CHECK(class_of({1, {}}, {"a", {}}) == 1);
  CHECK(class_of({65535, {{"a"}, {}}}, {"a", {}}) == 0);  // no such number: quarantine, not a wrapped one
  CHECK(class_of({1, alphabet(0, 64)}, {"a", {}}) == 0);
}

TEST_CASE("facts") {
  // Names a, b, c ... are 2, 3, 4 ... where there are no selectors; 1 is everybody else.
  struct {
    const char *title, *policy, *facts;
  } rows[] = {
      {"nothing said is refused", "", ""},
      {"one port", "allow a -> b : 80", "2 > 3 6:80\n"},
      {"no ports: everything", "allow a -> b", "2 > 3 0-255:0-65535\n"},
      {"a name's own kind", "allow a -> a : 80", "2 > 2 6:80\n"},
      {"any is everybody of the network, but not quarantine", "allow any -> any", "1 > 1 0-255:0-65535\n"},
      {"ports in range join", "allow a -> b : 80, 81-90, 85-100/tcp", "2 > 3 6:80-100\n"},
      {"... also over statements", "allow a -> b : 80; allow a -> b : 81", "2 > 3 6:80-81\n"},
      {"... but not over a gap", "allow a -> b : 80, 82", "2 > 3 6:80\n2 > 3 6:82\n"},
      {"protocols", "allow a -> b : 53/udp, 53, 1-2/sctp", "2 > 3 6:53\n2 > 3 17:53\n2 > 3 132:1-2\n"},
      {"icmp is ICMPv6 too", "allow a -> b : icmp", "2 > 3 1:0-65535\n2 > 3 58:0-65535\n"},
      {"deny beats allow", "deny a -> b : 80; allow a -> b : 79-81", "2 > 3 6:79\n2 > 3 6:81\n"},
      {"deny alone is nothing", "deny a -> b : 80", ""},
      {"everything but one port", "allow a -> b; deny any -> b : 80",
       "2 > 3 0-5:0-65535\n2 > 3 6:0-79\n2 > 3 6:81-65535\n2 > 3 7-255:0-65535\n"},
      {"everything but icmp", "allow a -> b; deny a -> b : icmp",
       "2 > 3 0:0-65535\n2 > 3 2-57:0-65535\n2 > 3 59-255:0-65535\n"},
      {"everything but everything", "allow a -> b; deny a -> any", ""},
      {"a whole protocol denied", "allow a -> b : 1-65535, 7/udp; deny a -> b : 1-65535", "2 > 3 17:7\n"},
      {"adjacent destinations join", "allow a -> b : 80; allow a -> c : 80", "2 > 3-4 6:80\n"},
      {"adjacent sources join", "allow a -> c : 80; allow b -> c : 80", "2-3 > 4 6:80\n"},
      {"both", "allow a -> a:1; allow a -> b:1; allow b -> a:1; allow b -> b:1", "2-3 > 2-3 6:1\n"},
      {"a hole in the sources", "allow any -> d : 80; deny b -> d : 80; deny a -> c : 81",
       "1-2 > 5 6:80\n4-5 > 5 6:80\n"},
      {"what two destinations share joins, the rest does not", "allow a -> b : 80, 443; allow a -> c : 80",
       "2 > 3 6:443\n2 > 3-4 6:80\n"},
      {"a selector", "allow {x} -> a : 80", "2 > 3-4 6:80\n4 > 3-4 6:80\n"},
      {"a selector as destination", "allow a -> {x} : 80", "3-4 > 2 6:80\n3-4 > 4 6:80\n"},
      {"said twice", "allow a -> b : 80; allow a -> b : 80", "2 > 3 6:80\n"},
      {"independent ports do not cut each other", "allow any -> any : 80; allow a -> b : 90; deny b -> a : 70",
       "1-3 > 1-3 6:80\n2 > 3 6:90\n"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(facts_of(row.policy) == std::string(row.facts));
  }
  CHECK(facts_of("allow a -> b : 80", 40000) == "40001 > 40002 6:80\n");
}

TEST_CASE("facts in numbers that more policies share") {
  auto policy = policy_of("allow a -> c : 80");
  const Numbering shared{7, alphabet_of(policy_of("allow a -> b; allow c -> {x}"))};
  CHECK(text(compile(policy, shared).value()) == "9-10 > 13-14 6:80\n");
}

TEST_CASE("numbers that can not carry the policy are refused") {
  auto policy = policy_of("allow a -> b");
  CHECK(compile(policy, {1, {{"a"}, {}}}).error().text ==
        "policy asks for names or label selectors that its class numbers do not tell apart");
  CHECK(compile(policy, {0, alphabet_of(policy)}).error().text == "class numbers 0 to 2 do not fit: 1 to 65535 do");
  CHECK(compile(policy, {65534, alphabet_of(policy)}).error().text ==
        "class numbers 65534 to 65536 do not fit: 1 to 65535 do");
  CHECK(compile(policy, {65533, alphabet_of(policy)}));
}

TEST_CASE("statements about what is beyond the network say nothing of the segment") {
  const std::string inside = "allow a -> b : 80; deny any -> {x} : 22";
  const auto both = policy_of(inside + "; deny any -> world; allow a -> host; allow 10.0.0.0/8 -> {x} : 80; deny host -> any");
  const Numbering numbering{1, alphabet_of(both)};
  CHECK(compile(both, numbering).value() == compile(policy_of(inside), numbering).value());
  CHECK(explain(both, {"a", {}}, {"b", {}}, kTcp, 80).allowed);
  CHECK(!explain(policy_of("allow a -> world; allow any -> host"), {"a", {}}, {"a", {}}, kTcp, 80).allowed);
  // Their endpoints are told apart all the same: what they may do beyond depends on it.
  const auto asked = alphabet_of(policy_of("allow c -> world; deny 10.0.0.0/8 -> {z}"));
  CHECK(asked.names == std::vector<std::string>{"c"});
  CHECK(asked.selectors.size() == 1);
}

#ifdef __OPTIMIZE__
constexpr bool kOptimised = true;
#else
constexpr bool kOptimised = false;  // a hundred times slower with sanitizers: no figures, and less to do
#endif

TEST_CASE("policies that come to too much are refused") {
  std::string source;
  for (int i = 0; i < 15; ++i) source += fmt::format("allow {{l{0:02}}} -> {{l{0:02}}} : {1}\n", i, 80 + i);
  CHECK(facts_of(source) == "policy needs more than 200000 rules in the kernel: use fewer label selectors, or names");
  if (!kOptimised) return;
  // No facts at all come out of this, but only after all pairs of 16,384 classes.
  source = "allow {l13} -> {l13}\ndeny any -> any";
  for (int i = 0; i < 14; ++i) source += fmt::format("\ndeny {{l{0:02}}} -> {{l{0:02}}}", i);
  CHECK(facts_of(source) == "policy combines its label selectors in too many ways: use fewer of them, or names");
}

TEST_CASE("explain names the statement that decides") {
  auto policy = policy_of("allow a -> b : 80; deny a -> {x} : 80; allow any -> b : 80, icmp; deny any -> {x} : 80");
  const Identity a{"a", {}}, b{"b", {}}, bx{"b", {{"x", ""}}}, nobody{"", {}};
  struct {
    Identity from, to;
    int protocol, port;
    const char* decides;
    bool allowed;
  } rows[] = {
      {a, b, kTcp, 80, "allow a -> b : 80", true},
      {nobody, b, kTcp, 80, "allow any -> b : icmp, 80", true},
      {a, bx, kTcp, 80, "deny a -> {x} : 80", false},
      {nobody, bx, kTcp, 80, "deny any -> {x} : 80", false},
      {a, b, kTcp, 81, nullptr, false},
      {a, b, kUdp, 80, nullptr, false},
      {b, a, kTcp, 80, nullptr, false},
      {a, b, kIcmp, 0, "allow any -> b : icmp, 80", true},
      {a, b, kIcmpv6, 4711, "allow any -> b : icmp, 80", true},
  };
  for (auto& row : rows) {
    auto why = explain(policy, row.from, row.to, static_cast<std::uint8_t>(row.protocol),
                       static_cast<std::uint16_t>(row.port));
    CHECK(why.allowed == row.allowed);
    CHECK((why.decides ? why.decides->str() : "none") == std::string(row.decides ? row.decides : "none"));
  }
}

TEST_CASE("the largest policies compile in well under a second") {
  // 254 names and 8 selectors: 65,280 classes; 500 statements. All statements without ports meet all others.
  const int selectors = kOptimised ? 8 : 3;
  std::string source;
  for (int i = 0; i < 254; ++i) source += fmt::format("allow n{} -> n{} : {}\n", i, (i * 7 + 1) % 254, 1000 + i);
  for (int i = 0; i < 238; ++i)
    source += fmt::format("{} n{} -> n{}\n", i % 3 ? "allow" : "deny", i, (i * 11 + 5) % 254);
  for (int i = 0; i < 8; ++i) source += fmt::format("allow {{l{}}} -> n{} : {}\n", i % selectors, i, 80 + i % 2);
  auto policy = policy_of(source);
  REQUIRE(policy.statements.size() == 500);
  const Numbering numbering{1, alphabet_of(policy)};
  REQUIRE(class_count(numbering.alphabet) == (kOptimised ? 65280 : 2040));
  const auto start = std::clock();  // this process's own time: the machine may be busy
  auto facts = compile(policy, numbering);
  const auto took = (std::clock() - start) * 1000 / CLOCKS_PER_SEC;
  REQUIRE(facts);
  MESSAGE("500 statements, ", class_count(numbering.alphabet), " classes: ", facts.value().size(), " facts in ", took,
          " ms");
  if (kOptimised) CHECK(took < 1000);
}
