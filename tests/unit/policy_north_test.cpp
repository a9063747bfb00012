// Policy beyond the network: the boxes of a container's permissions, written as a person can read them, and north()
// against explain() for random policies. MICROSEG_SEED repeats a run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include "microseg/policy/north.h"

using namespace microseg;
using namespace microseg::policy;

namespace {

std::string text(Range range) {
  return range.first == range.last ? fmt::format("{}", range.first) : fmt::format("{}-{}", range.first, range.last);
}
std::string text(const AddressRange& range) {
  if (range.first == range.last) return range.first.str();
  return range.first.str() + "-" + range.last.str();
}
std::string text(const std::vector<Beyond>& boxes) {
  std::string out;
  for (auto& b : boxes) out += fmt::format("{} {}:{}\n", text(b.remote), text(b.protocol), text(b.port));
  return out;
}
std::string text(const std::vector<ToHost>& boxes) {
  std::string out;
  for (auto& b : boxes) out += fmt::format("{}:{}\n", text(b.protocol), text(b.port));
  return out;
}

Ip ip(const std::string& s) { return Ip::parse(s).value(); }
Policy policy_of(const std::string& source) { return parse(source, "test").value(); }

Result<North> north_of(const std::vector<std::string>& sources, const Identity& who) {
  std::vector<Policy> policies;
  for (auto& source : sources) policies.push_back(policy_of(source));
  std::vector<Member> members;
  for (auto& policy : policies) members.push_back({&policy, &who});
  return north(members);
}
North north_of(const std::string& source) { return north_of({source}, {"a", {{"x", "1"}}}).value(); }

const std::string kAll4 = "0.0.0.0-255.255.255.255", kAll6 = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

std::uint64_t seed() {
  if (const char* given = std::getenv("MICROSEG_SEED")) return std::strtoull(given, nullptr, 10);
  return std::random_device{}();
}

#ifdef __OPTIMIZE__
constexpr bool kOptimised = true;
#else
constexpr bool kOptimised = false;
#endif

}  // namespace

TEST_CASE("where a container may go") {
  struct {
    std::string title, policy, out;
  } rows[] = {
      {"nothing said", "allow a -> b; allow any -> any", ""},
      {"the world is both families", "allow a -> world : 443", kAll4 + " 6:443\n" + kAll6 + " 6:443\n"},
      {"any is every endpoint", "allow any -> 10.0.0.0/8 : 1", "10.0.0.0-10.255.255.255 6:1\n"},
      {"labels", "allow {x=1} -> 10.0.0.0/8 : 1; allow {x=2} -> world", "10.0.0.0-10.255.255.255 6:1\n"},
      {"other endpoints", "allow b -> world; deny b -> world; allow a -> 192.0.2.7/32", "192.0.2.7 0-255:0-65535\n"},
      {"icmp is the family's own", "allow a -> 192.0.2.0/31 : icmp; allow a -> 2001:db8::/127 : icmp",
       "192.0.2.0-192.0.2.1 1:0-65535\n2001:db8::-2001:db8::1 58:0-65535\n"},
      {"everything but icmp", "allow a -> 192.0.2.0/32; deny a -> world : icmp",
       "192.0.2.0 0:0-65535\n192.0.2.0 2-255:0-65535\n"},
      {"exceptions", "allow a -> 10.0.0.0/8 except 10.0.0.0/16, 10.2.0.0/15, 10.3.0.0/16, 10.255.0.0/16 : 80",
       "10.1.0.0-10.1.255.255 6:80\n10.4.0.0-10.254.255.255 6:80\n"},
      {"everything excepted", "allow a -> 10.0.0.0/8 except 10.0.0.0/9, 10.128.0.0/9", ""},
      {"the ends of the address space",
       "allow a -> 0.0.0.0/0 except 0.0.0.0/32, 255.255.255.255/32 : 1; allow a -> ::/0 except ::/1 : 1",
       "0.0.0.1-255.255.255.254 6:1\n8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 6:1\n"},
      {"adjacent ranges join", "allow a -> 10.0.0.0/9 : 80; allow a -> 10.128.0.0/9 : 80",
       "10.0.0.0-10.255.255.255 6:80\n"},
      {"... also over an order of families", "allow a -> 255.0.0.0/8 : 80; allow a -> ::/8 : 80",
       "255.0.0.0-255.255.255.255 6:80\n::-ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 6:80\n"},
      {"what is shared joins, the rest does not", "allow a -> 10.0.0.0/8 : 80; allow a -> 10.1.0.0/16 : 443",
       "10.0.0.0-10.255.255.255 6:80\n10.1.0.0-10.1.255.255 6:443\n"},
      {"deny beats allow, also inside", "deny a -> 10.1.0.0/16; allow a -> 10.0.0.0/14 : 80",
       "10.0.0.0-10.0.255.255 6:80\n10.2.0.0-10.3.255.255 6:80\n"},
      {"a deny of a port cuts what it covers", "allow a -> 10.0.0.0/15; deny any -> 10.1.0.0/16 : 25",
       "10.0.0.0-10.0.255.255 0-255:0-65535\n10.1.0.0-10.1.255.255 0-5:0-65535\n10.1.0.0-10.1.255.255 6:0-24\n"
       "10.1.0.0-10.1.255.255 6:26-65535\n10.1.0.0-10.1.255.255 7-255:0-65535\n"},
      {"world denied", "allow a -> 10.0.0.0/8; deny a -> world", ""},
      {"the host is not the world", "allow a -> host; deny a -> host; allow host -> a", ""},
      {"the other way is another thing", "allow world -> a : 80; deny world -> a", ""},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    CHECK(text(north_of(row.policy).out) == row.out);
  }
}

TEST_CASE("who may come in, and the host") {
  const auto all = north_of(
      "allow 192.0.2.0/24 -> a : 22, 53/udp; allow a -> host : 53/udp, icmp; deny a -> host : 53; allow host -> any;"
      "deny host -> a : 22; deny world -> b");
  CHECK(text(all.out) == "");
  CHECK(!all.goes_beyond());
  CHECK(text(all.in) == "192.0.2.0-192.0.2.255 6:22\n192.0.2.0-192.0.2.255 17:53\n");
  CHECK(text(all.to_host) == "1:0-65535\n17:53\n58:0-65535\n");
  CHECK(text(all.from_host) == "0-5:0-65535\n6:0-21\n6:23-65535\n7-255:0-65535\n");
}

TEST_CASE("a container of several networks may do what any of them allows") {
  const Identity a{"a", {}};
  auto out = [&](const std::vector<std::string>& sources) { return text(north_of(sources, a).value().out); };
  CHECK(out({}) == "");
  CHECK(out({"allow a -> 10.0.0.0/8 : 80", "allow a -> 10.0.0.0/8 : 81"}) == "10.0.0.0-10.255.255.255 6:80-81\n");
  CHECK(out({"allow a -> 10.0.0.0/8 : 80", "deny a -> world"}) == "10.0.0.0-10.255.255.255 6:80\n");
  CHECK(out({"allow a -> 10.0.0.0/8 : 80-90; deny a -> 10.0.0.0/8 : 85", "allow a -> 10.0.0.0/9 : 84-85"}) ==
        "10.0.0.0-10.127.255.255 6:80-90\n10.128.0.0-10.255.255.255 6:80-84\n10.128.0.0-10.255.255.255 6:86-90\n");
  const Policy one = policy_of("allow a -> world : 1"), two = policy_of("allow b -> 10.0.0.0/8 : 2");
  const Identity b{"b", {}};
  const Member members[] = {{&one, &b}, {&two, &b}};
  CHECK(text(north(members).value().out) == "10.0.0.0-10.255.255.255 6:2\n");
}

TEST_CASE("who goes beyond may ask resolvers, unless it is denied") {
  struct {
    std::vector<std::string> policies;
    std::string resolve;
  } rows[] = {
      {{"allow a -> host; allow world -> a"}, ""},
      {{"allow a -> 192.0.2.0/24 : 443"}, kAll4 + " 6:53\n" + kAll4 + " 17:53\n" + kAll6 + " 6:53\n" + kAll6 + " 17:53\n"},
      {{"allow a -> world : 443; deny a -> world : 50-60, 1-52/udp"}, kAll4 + " 17:53\n" + kAll6 + " 17:53\n"},
      {{"allow a -> world : 443; deny a -> 0.0.0.0/1; deny a -> ::/0"}, "128.0.0.0-255.255.255.255 6:53\n"
                                                                      "128.0.0.0-255.255.255.255 17:53\n"},
      {{"allow a -> world : 443; deny any -> world : 53, 53/udp"}, ""},
      {{"allow a -> world : 443; deny any -> world : 53, 53/udp", "allow a -> 10.0.0.0/8; deny a -> ::/0; deny a -> world : 53"},
       kAll4 + " 17:53\n"},
      {{"allow a -> world : 443; deny any -> world : 53, 53/udp", "allow b -> world"}, ""},
      {{"allow a -> world; deny a -> world"}, ""},
  };
  for (auto& row : rows) {
    CAPTURE(row.policies[0]);
    CHECK(text(north_of(row.policies, {"a", {}}).value().resolve) == row.resolve);
  }
}

TEST_CASE("the order of statements has no meaning") {
  auto policy = policy_of("allow a -> 10.0.0.0/8 : 80; deny a -> 10.1.0.0/16; allow a -> world : 443; allow host -> a");
  const Identity a{"a", {}};
  const Member member[] = {{&policy, &a}};
  const auto before = north(member).value();
  std::ranges::reverse(policy.statements);
  CHECK(north(member).value() == before);
}

TEST_CASE("explain names the statement that decides, for the world and the host") {
  const auto policy = policy_of("allow a -> 10.0.0.0/8 except 10.1.0.0/16 : 80, icmp; deny a -> 10.2.0.0/16; allow world -> a : 443;"
                                "allow a -> host : 53/udp; allow any -> any");
  const Party a = Identity{"a", {}}, host = Host{};
  struct {
    Party from, to;
    int protocol, port;
    std::string decides;
  } rows[] = {
      {a, ip("10.0.0.1"), kTcp, 80, "allow a -> 10.0.0.0/8 except 10.1.0.0/16 : icmp, 80"},
      {a, ip("10.0.0.1"), kTcp, 81, "none"},
      {a, ip("10.1.0.1"), kTcp, 80, "none"},
      {a, ip("10.2.0.1"), kTcp, 80, "deny a -> 10.2.0.0/16"},
      {a, ip("10.0.0.1"), kIcmp, 0, "allow a -> 10.0.0.0/8 except 10.1.0.0/16 : icmp, 80"},
      {a, ip("10.0.0.1"), kIcmpv6, 0, "none"},
      {a, ip("::ffff:10.0.0.1"), kTcp, 80, "none"},
      {ip("10.2.0.1"), a, kTcp, 443, "allow world -> a : 443"},
      {ip("2001:db8::1"), a, kTcp, 443, "allow world -> a : 443"},
      {host, a, kTcp, 443, "none"},
      {a, host, kUdp, 53, "allow a -> host : 53/udp"},
      {host, host, kUdp, 53, "none"},
      {ip("10.0.0.1"), host, kUdp, 53, "none"},
      {a, a, kTcp, 1, "allow any -> any"},
  };
  for (auto& row : rows) {
    auto why = explain(policy, row.from, row.to, static_cast<std::uint8_t>(row.protocol), static_cast<std::uint16_t>(row.port));
    CHECK((why.decides ? why.decides->str() : "none") == row.decides);
    CHECK(why.allowed == row.decides.starts_with("allow"));
  }
}

TEST_CASE("policies that come to too much are refused") {
  std::string ports = "allow a -> world : 1";
  for (int i = 1; i < 100; ++i) ports += fmt::format(", {}", 2 * i + 1);
  std::string source = ports + "\n";
  for (int i = 0; i < 250; ++i) source += fmt::format("deny a -> 10.{}.0.0/16\n", i);
  CHECK(north_of({source}, {"a", {}}));  // 250 adjacent ranges are one
  source = ports + "\n";
  for (int i = 0; i < 250; ++i) source += fmt::format("deny a -> 10.{}.0.0/17\n", i);
  CHECK(north_of({source}, {"b", {}}).value() == North{});
  auto many = north_of({source}, {"a", {}});
  REQUIRE(!many);
  CHECK(many.error().code == Errc::invalid);
  CHECK(many.error().text == "policy needs more than 20000 rules in the kernel for what one container may do beyond the "
                             "network: use fewer CIDRs, or fewer ports");
  if (!kOptimised) return;
  source = "allow a -> 10.255.255.255/32 : 1\n";
  for (int i = 0; i < 1500; ++i)
    source += fmt::format("deny a -> world : {}\ndeny a -> 10.{}.{}.0/25 : 9\n", 1000 + 2 * i, i / 250, i % 250);
  // Two sources: one holds at most kMaxStatements.
  Policy policy;
  for (std::size_t at = 0; at < source.size();) {
    const auto end = source.find('\n', at);
    policy = merge({std::move(policy), policy_of(source.substr(at, end - at))});
    at = end + 1;
  }
  const Identity a{"a", {}};
  const Member member[] = {{&policy, &a}};
  const auto start = std::clock();
  auto work = north(member);
  const auto took = (std::clock() - start) * 1000 / CLOCKS_PER_SEC;
  REQUIRE(!work);
  CHECK(work.error().text ==
        "policy combines its CIDRs and ports in too many ways: use fewer CIDRs, or fewer exceptions");
  MESSAGE("refused for its work after ", took, " ms");
  CHECK(took < 2000);
}

TEST_CASE("1000 statements and 50 CIDRs are worked out at once") {
  std::string source;
  for (int i = 0; i < 1000; ++i)
    source += fmt::format("{} {} -> {}{}\n", i % 4 ? "allow" : "deny", i % 3 ? "any" : "a",
                          i % 5 ? fmt::format("10.{}.0.0/16", i % 50 * 2) : "world", fmt::format(" : {}", 1 + i * 7 % 3000));
  auto policy = policy_of(source);
  const Identity a{"a", {}};
  const Member member[] = {{&policy, &a}};
  const auto start = std::clock();
  auto boxes = north(member);
  const auto took = (std::clock() - start) * 1000 / CLOCKS_PER_SEC;
  REQUIRE(boxes);
  MESSAGE("1000 statements, 50 CIDRs: ", boxes->out.size(), " boxes in ", took, " ms");
  if (kOptimised) CHECK(took < 200);
}

// ---- north() against explain() ----
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

 private:
  std::mt19937_64 engine_;
};

const std::vector<std::string> kInside{"a", "b", "any", "{x}", "{x=1}", "{!x}"};
const std::vector<std::string> kOutside{"world", "world", "host", "0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.0/30",
                                        "10.0.0.4/32 except 10.0.0.4/32", "10.0.0.0/29 except 10.0.0.2/31, 10.0.0.3/32",
                                        "255.255.255.252/30", "0.0.0.0/31", "2001:db8::/126 except 2001:db8::1/128",
                                        "2001:db8::/32", "ffff::/16 except ffff:8000::/17"};
const std::vector<std::string> kAddresses{
    "0.0.0.0", "0.0.0.1", "0.0.0.2", "9.255.255.255", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5",
    "10.0.0.7", "10.0.0.8", "10.255.255.255", "11.0.0.0", "255.255.255.251", "255.255.255.252", "255.255.255.255",
    "::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::4", "2001:db9::",
    "ffff::", "ffff:7fff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
const std::vector<int> kPorts{1, 52, 53, 54, 80, 81, 443, 65535};

std::string random_source(Dice& dice) {
  std::string out;
  for (auto left = dice.upto(10); left > 0; --left) {
    auto from = dice.of(kInside), to = dice.one_in(8) ? dice.of(kInside) : dice.of(kOutside);
    if (dice.one_in(2)) std::swap(from, to);
    out += fmt::format("{} {} -> {}", dice.one_in(3) ? "deny" : "allow", from, to);
    const char* before = " : ";
    for (auto items = dice.upto(3); items > 0; --items) {
      const int first = dice.of(kPorts), second = dice.of(kPorts);
      const char* suffix[] = {"", "/tcp", "/udp", "/sctp"};
      out += before;
      out += dice.one_in(5) ? std::string("icmp")
                            : fmt::format("{}-{}{}", std::min(first, second), std::max(first, second), suffix[dice.upto(3)]);
      before = ", ";
    }
    out += '\n';
  }
  return out;
}

bool within(unsigned value, Range range) { return range.first <= value && value <= range.last; }
bool meet(Range a, Range b) { return a.first <= b.last && b.first <= a.last; }
bool covers(const Beyond& box, const Ip& remote, unsigned protocol, unsigned port) {
  return box.remote.first <= remote && remote <= box.remote.last && within(protocol, box.protocol) && within(port, box.port);
}
bool covers(const ToHost& box, Host, unsigned protocol, unsigned port) {
  return within(protocol, box.protocol) && within(port, box.port);
}
bool meet(const Beyond& a, const Beyond& b) {
  return a.remote.first <= b.remote.last && b.remote.first <= a.remote.last && meet(a.protocol, b.protocol) && meet(a.port, b.port);
}
bool meet(const ToHost& a, const ToHost& b) { return meet(a.protocol, b.protocol) && meet(a.port, b.port); }

// Boxes that overlap, are out of order, empty or of two families.
template <class Box>
int faults(const std::vector<Box>& boxes) {
  int out = 0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    if constexpr (std::is_same_v<Box, Beyond>) {
      out += boxes[i].remote.last < boxes[i].remote.first;
      out += boxes[i].remote.first.is_v4() != boxes[i].remote.last.is_v4();
    }
    out += boxes[i].protocol.last < boxes[i].protocol.first || boxes[i].port.last < boxes[i].port.first;
    for (std::size_t j = i + 1; j < boxes.size(); ++j) out += meet(boxes[i], boxes[j]) || !(boxes[i] < boxes[j]);
  }
  return out;
}

}  // namespace

TEST_CASE("boxes and statements agree") {
  const auto run = seed();
  MESSAGE("MICROSEG_SEED=", run);
  constexpr int kPolicies = 200, kTuples = 100;
  int judged = 0, passed = 0;
  for (std::uint64_t i = 0; i < kPolicies; ++i) {
    Dice dice(run + i);
    std::vector<Policy> policies;
    std::vector<Identity> identities;
    std::string shown;
    for (auto n = dice.upto(2) + 1; n > 0; --n) {
      const auto source = random_source(dice);
      shown += source + "---\n";
      policies.push_back(policy_of(source));
      identities.push_back({dice.of<std::string>({"a", "b", "c", ""}), {}});
      if (dice.one_in(2)) identities.back().labels["x"] = dice.of<std::string>({"1", "2"});
    }
    std::vector<Member> members;
    for (std::size_t n = 0; n < policies.size(); ++n) members.push_back({&policies[n], &identities[n]});
    CAPTURE(run);
    CAPTURE(i);
    CAPTURE(shown);
    const auto boxes = north(members).value();
    CHECK(faults(boxes.out) + faults(boxes.in) + faults(boxes.to_host) + faults(boxes.from_host) + faults(boxes.resolve) == 0);

    for (int n = 0; n < kTuples; ++n) {
      const bool out = dice.one_in(2), to_host = dice.one_in(4);
      const auto protocol = static_cast<std::uint8_t>(dice.of<int>({6, 6, 6, 17, 17, 132, 1, 58, 0, 2, 47, 255}));
      const auto port = static_cast<std::uint16_t>(std::min(65535, dice.of(kPorts) + static_cast<int>(dice.upto(1))));
      const auto remote = ip(dice.of(kAddresses));
      const Party other = to_host ? Party(Host{}) : Party(remote);
      bool said = false;
      for (auto& member : members)
        said |= (out ? explain(*member.policy, *member.identity, other, protocol, port)
                     : explain(*member.policy, other, *member.identity, protocol, port))
                    .allowed;
      auto boxed = [&](auto& all, auto&& end) {
        return std::ranges::any_of(all, [&](auto& box) { return covers(box, end, protocol, port); });
      };
      const bool held = to_host ? boxed(out ? boxes.to_host : boxes.from_host, Host{}) : boxed(out ? boxes.out : boxes.in, remote);
      if (held != said)
        FAIL_CHECK(fmt::format("{} {} {}:{}: explain {}, north {}", out ? "to" : "from", to_host ? "host" : remote.str(), protocol,
                               port, said, held));
      ++judged;
      passed += said;
    }
  }
  MESSAGE(judged, " connections judged, ", passed, " allowed");
  CHECK(passed > judged / 20);
  CHECK(passed < judged * 19 / 20);
}
