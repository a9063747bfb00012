// compile() against explain(): for random policies, facts and statements must say the same of every connection.
// MICROSEG_SEED repeats a run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "microseg/policy/compile.h"

using namespace microseg;
using namespace microseg::policy;

namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::size_t upto(std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(engine_); }
  bool one_in(std::size_t n) { return upto(n - 1) == 0; }
  template <class T>
  const T& of(const std::vector<T>& all) {
    return all[upto(all.size() - 1)];
  }
  template <class T>
  void shuffle(std::vector<T>& all) {
    std::ranges::shuffle(all, engine_);
  }

 private:
  std::mt19937_64 engine_;
};

const std::vector<std::string> kServices{"web", "api", "db", "cache", "\"any\"", "\"_job\""};
const std::vector<std::string> kKeys{"tier", "stage", "team"};
const std::vector<std::string> kValues{"a", "b", "\"\""};
const std::vector<int> kPorts{1, 79, 80, 81, 443, 8000, 8001, 65534, 65535};

std::string random_selector(Dice& dice) {
  std::string terms;
  for (auto left = dice.upto(1) + 1; left > 0; --left) {
    if (!terms.empty()) terms += ", ";
    const auto key = dice.of(kKeys);
    const char* forms[] = {"{0}", "!{0}", "{0}={1}", "{0}!={1}"};
    terms += fmt::format(fmt::runtime(forms[dice.upto(3)]), key, dice.of(kValues));
  }
  return "{" + terms + "}";
}

// Three selectors a policy: more of them, crossed with one another, need more facts than fit.
std::string random_peer(Dice& dice, const std::vector<std::string>& selectors) {
  if (dice.one_in(5)) return "any";
  return dice.one_in(3) ? dice.of(selectors) : dice.of(kServices);
}

std::string random_item(Dice& dice) {
  if (dice.one_in(6)) return "icmp";
  auto a = dice.of(kPorts), b = dice.of(kPorts);
  const char* suffix[] = {"", "", "/tcp", "/udp", "/sctp"};
  if (dice.one_in(2)) return fmt::format("{}{}", a, suffix[dice.upto(4)]);
  return fmt::format("{}-{}{}", std::min(a, b), std::max(a, b), suffix[dice.upto(4)]);
}

std::string random_source(Dice& dice) {
  const std::vector<std::string> selectors{random_selector(dice), random_selector(dice), random_selector(dice)};
  std::string out;
  for (auto left = dice.upto(12); left > 0; --left) {
    out += fmt::format("{} {} -> {}", dice.one_in(3) ? "deny" : "allow", random_peer(dice, selectors),
                       random_peer(dice, selectors));
    if (!dice.one_in(3)) {
      out += " : " + random_item(dice);
      for (auto more = dice.upto(3); more > 0; --more) out += ", " + random_item(dice);
    }
    out += '\n';
  }
  return out;
}

Identity random_identity(Dice& dice) {
  Identity out;
  const std::vector<std::string> services{"web", "api", "db", "cache", "any", "_job", "other", ""};
  const std::vector<std::string> values{"a", "b", "c", ""};
  out.service = dice.of(services);
  for (auto& key : kKeys)
    if (dice.one_in(2)) out.labels[key] = dice.of(values);
  return out;
}

struct Packet {
  Identity from, to;
  std::uint8_t protocol;
  std::uint16_t port;
};

Packet random_packet(Dice& dice) {
  const std::vector<int> protocols{6, 6, 6, 17, 17, 132, 1, 58, 0, 2, 33, 47, 136, 255};
  const auto protocol = static_cast<std::uint8_t>(dice.of(protocols));
  const int port = dice.of(kPorts) + static_cast<int>(dice.upto(2)) - 1;
  return {random_identity(dice), random_identity(dice), protocol, static_cast<std::uint16_t>(std::min(port, 65535))};
}

bool within(std::uint16_t value, Range range) { return range.first <= value && value <= range.last; }
bool meet(Range a, Range b) { return a.first <= b.last && b.first <= a.last; }
bool meet(const Fact& a, const Fact& b) {
  return meet(a.from, b.from) && meet(a.to, b.to) && meet(a.protocol, b.protocol) && meet(a.port, b.port);
}

bool allowed(const std::vector<Fact>& facts, std::uint16_t from, std::uint16_t to, const Packet& packet) {
  return std::ranges::any_of(facts, [&](auto& f) {
    return within(from, f.from) && within(to, f.to) && within(packet.protocol, f.protocol) &&
           within(packet.port, f.port);
  });
}

// A numbering that tells more apart, elsewhere among the numbers.
Numbering larger(const Policy& policy, Dice& dice) {
  auto more = parse(dice.one_in(2) ? "allow aaa -> {aaa=0}" : "allow zzz -> {zzz}", "test").value();
  const auto alphabet = alphabet_of(merge({policy, more}));
  const auto room = kMaxClass - class_count(alphabet);
  return {static_cast<std::uint32_t>(1 + dice.upto(room)), alphabet};
}

std::uint64_t seed() {
  if (const char* given = std::getenv("MICROSEG_SEED")) return std::strtoull(given, nullptr, 10);
  return std::random_device{}();
}

}  // namespace

TEST_CASE("facts and statements agree") {
  const auto run = seed();
  MESSAGE("MICROSEG_SEED=", run);
  constexpr int kPolicies = 300, kPackets = 200;
  std::size_t judged = 0, passed = 0, facts_seen = 0;
  for (std::uint64_t i = 0; i < kPolicies; ++i) {
    Dice dice(run + i);
    const auto source = random_source(dice);
    CAPTURE(run);
    CAPTURE(source);
    auto policy = parse(source, "test").value();
    const Numbering tight{1, alphabet_of(policy)};
    const auto wide = larger(policy, dice);
    const auto facts = compile(policy, tight).value();
    const auto wide_facts = compile(policy, wide).value();
    facts_seen += facts.size();

    std::size_t overlaps = 0, out_of_order = 0, outside = 0;
    for (std::size_t a = 0; a < facts.size(); ++a) {
      const auto& f = facts[a];
      outside += f.from.first < tight.base || f.to.first < tight.base || f.from.last > tight.last() ||
                 f.to.last > tight.last() || f.protocol.last > 255;
      out_of_order += a > 0 && !(facts[a - 1] < facts[a]);
      for (std::size_t b = a + 1; b < facts.size() && facts[b].from.first <= f.from.last; ++b)
        overlaps += meet(f, facts[b]);
    }
    CHECK(outside == 0);
    CHECK(out_of_order == 0);
    CHECK(overlaps == 0);

    auto reordered = parse(print(policy), "test").value();
    dice.shuffle(reordered.statements);
    CHECK(compile(reordered, tight).value() == facts);

    for (int n = 0; n < kPackets; ++n) {
      const auto packet = random_packet(dice);
      const auto said = explain(policy, packet.from, packet.to, packet.protocol, packet.port);
      const bool tightly = allowed(facts, class_of(tight, packet.from), class_of(tight, packet.to), packet);
      const bool widely = allowed(wide_facts, class_of(wide, packet.from), class_of(wide, packet.to), packet);
      if (tightly != said.allowed || widely != said.allowed) {
        FAIL_CHECK(fmt::format("{} -> {} {}:{}: explain {}, facts {}, facts in larger numbers {}", packet.from.service,
                               packet.to.service, packet.protocol, packet.port, said.allowed, tightly, widely));
      }
      ++judged;
      passed += said.allowed;
    }
    for (auto& f : facts) {
      CHECK(f.from.first > 0);  // quarantine is allowed nothing
      CHECK(f.to.first > 0);
    }
  }
  MESSAGE(kPolicies, " policies, ", facts_seen, " facts, ", judged, " connections judged, ", passed, " allowed");
  CHECK(passed > judged / 20);  // the dice are of use only if both verdicts come up
  CHECK(passed < judged * 19 / 20);
}
