// Four judges of the same connections: the statements themselves (explain), the facts compiled from them, the elements
// that the kernel holds, and what happens to a real packet. For random policies, endpoints and packets they must say
// the same. MICROSEG_SEED repeats a run, MICROSEG_TUPLES makes it longer.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "engine/core.h"
#include "microseg/store/store.h"
#include "support/lab_packet.h"
#include "support/lab_segment.h"

using namespace microseg;
using namespace microseg::lab;
using std::chrono::milliseconds, std::chrono::steady_clock;

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
  std::uint16_t port() { return static_cast<std::uint16_t>(1 + upto(65534)); }

 private:
  std::mt19937_64 engine_;
};

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  auto* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// ---- random policies and containers ----

const std::vector<std::string> kServices{"web", "api", "db", "cache"};
const std::vector<std::string> kKeys{"tier", "stage"};
const std::vector<std::string> kValues{"a", "b"};
const std::vector<unsigned> kPorts{1, 80, 443, 1024, 8000, 8080, 32768, 65535};

std::string random_selector(Dice& dice) {
  std::string terms;
  for (auto left = dice.upto(1) + 1; left > 0; --left) {
    const char* forms[] = {"{0}", "!{0}", "{0}={1}", "{0}!={1}"};
    terms +=
        (terms.empty() ? "" : ", ") + fmt::format(fmt::runtime(forms[dice.upto(3)]), dice.of(kKeys), dice.of(kValues));
  }
  return "{" + terms + "}";
}

std::string random_item(Dice& dice) {
  if (dice.one_in(5)) return "icmp";
  const char* suffix[] = {"", "/tcp", "/udp", "/udp", "/sctp"};
  const auto a = dice.of(kPorts), b = dice.of(kPorts);
  if (dice.one_in(2)) return fmt::format("{}{}", a, suffix[dice.upto(4)]);
  return fmt::format("{}-{}{}", std::min(a, b), std::max(a, b), suffix[dice.upto(4)]);
}

std::string random_policy(Dice& dice) {
  const std::vector<std::string> selectors{random_selector(dice), random_selector(dice)};
  auto peer = [&]() -> std::string {
    if (dice.one_in(4)) return "any";
    return dice.one_in(3) ? dice.of(selectors) : dice.of(kServices);
  };
  std::string out;
  for (auto left = dice.upto(8) + 1; left > 0; --left) {
    out += fmt::format("{} {} -> {}", dice.one_in(4) ? "deny" : "allow", peer(), peer());
    if (!dice.one_in(4)) {
      out += " : " + random_item(dice);
      for (auto more = dice.upto(3); more > 0; --more) out += ", " + random_item(dice);
    }
    out += '\n';
  }
  return out;
}

model::Container random_container(Dice& dice, std::size_t number) {
  model::Container out{fmt::format("{:064x}", number + 1), fmt::format("container-{}", number), {}};
  if (!dice.one_in(6)) out.labels["microseg.service"] = dice.of(kServices);  // else by its name, which no policy has
  for (auto& key : kKeys)
    if (dice.one_in(2)) out.labels[key] = dice.one_in(4) ? "" : dice.of(kValues);
  return out;
}

// ---- one connection's first packet ----

struct Tuple {
  std::uint32_t id = 0;
  std::size_t from = 0, to = 0;
  bool v4 = true;
  std::uint8_t protocol = kTcp;
  std::uint16_t source = 0, target = 0;  // where the protocol has ports
  bool expected = false;
  std::string str() const {
    return fmt::format("{} -> {} IPv{} protocol {} ports {} -> {}", from, to, v4 ? 4 : 6, protocol, source, target);
  }
};

bool has_ports(std::uint8_t protocol) { return protocol == kTcp || protocol == kUdp || protocol == kSctp; }

constexpr std::string_view kMark = "<oracle>";

Bytes packet_of(const Tuple& t, const Ip& from, const Ip& to) {
  const Bytes mark = bytes(kMark) + be32(t.id);
  const auto id = static_cast<std::uint16_t>(t.id);
  switch (t.protocol) {
    case kTcp: return ip(from, to, kTcp, tcp(from, to, t.source, t.target, t.id, 0, kSyn, mark));
    case kUdp: return ip(from, to, kUdp, udp(from, to, t.source, t.target, mark));
    case kSctp: return ip(from, to, kSctp, sctp_init(t.source, t.target, t.id + 1));
    case kIcmp: return ip(from, to, kIcmp, icmp(from, to, 8, 0, static_cast<std::uint32_t>(id) << 16 | 1, mark));
    case kIcmpv6: return ip(from, to, kIcmpv6, icmp(from, to, 128, 0, static_cast<std::uint32_t>(id) << 16 | 1, mark));
    default: return ip(from, to, t.protocol, be16(t.source) + be16(t.target) + mark);
  }
}

// The id of a tuple's packet; nothing for answers, errors and a kernel's own packets.
std::optional<std::uint32_t> id_in(const Bytes& frame) {
  auto v = view(frame);
  if (!v || !v->from || v->end < v->transport + 16) return std::nullopt;
  const std::size_t t = v->transport;
  std::size_t mark = 0;
  switch (v->protocol) {
    case kTcp: mark = frame[t + 13] == kSyn ? t + 20 : 0; break;
    case kUdp: mark = t + 8; break;
    case kSctp: return frame[t + 12] == 1 ? std::optional(number_at(frame, t + 16, 4) - 1) : std::nullopt;
    case kIcmp: mark = frame[t] == 8 ? t + 8 : 0; break;
    case kIcmpv6: mark = frame[t] == 128 ? t + 8 : 0; break;
    default: mark = t + 4;
  }
  if (mark == 0 || v->end < mark + kMark.size() + 4 ||
      !std::equal(kMark.begin(), kMark.end(), frame.begin() + static_cast<long>(mark)))
    return std::nullopt;
  return number_at(frame, mark + kMark.size(), 4);
}

// ---- the judges ----

bool within(std::uint32_t value, std::uint32_t first, std::uint32_t last) { return first <= value && value <= last; }
bool within(std::uint32_t value, policy::Range r) { return within(value, r.first, r.last); }

bool by_facts(const std::vector<policy::Fact>& facts, std::uint16_t from, std::uint16_t to, const Tuple& t) {
  return std::any_of(facts.begin(), facts.end(), [&](auto& f) {
    return within(from, f.from) && within(to, f.to) && within(t.protocol, f.protocol) && within(t.target, f.port);
  });
}

std::uint32_t in_order(const kstate::Bytes& b, std::size_t at, unsigned length) {
  return number_at(Bytes(b.begin(), b.end()), at, length);
}

// The class that a map's element holds for the key; nothing when there is no such element.
std::optional<std::uint32_t> class_in(const kstate::Table& table, const char* map, const kstate::Bytes& key) {
  for (auto& e : *table.sets.at(map).elements)
    if (e.key == key) {
      std::uint32_t number = 0;
      std::memcpy(&number, e.data.data(), 4);
      return number;
    }
  return std::nullopt;
}

bool by_elements(const kstate::Table& table, const Box& from, const Box& to, const Tuple& t) {
  auto raw = [](const Ip& ip) { return kstate::Bytes(ip.bytes().begin(), ip.bytes().end()); };
  auto sender = class_in(table, t.v4 ? "tag4" : "tag6",
                         kstate::bytes_of_ifname(from.link()) + raw(from.address(t.v4)));
  auto receiver = class_in(table, t.v4 ? "class4" : "class6", raw(to.address(t.v4)));
  if (!sender || !receiver || *sender == 0) return false;
  const auto generation = render::generation_in(table);
  if (!generation) fail("the table is not in force as a whole");
  auto& allow = *table.sets.at(render::kAllowSets[generation->allow]).elements;
  return std::any_of(allow.begin(), allow.end(), [&](auto& e) {  // class 4, class 4, protocol 1 of 4, port 2 of 4
    auto field = [&](std::uint32_t value, std::size_t at, unsigned length) {
      return within(value, in_order(e.key, at, length), in_order(e.key_end, at, length));
    };
    return field(*sender, 0, 4) && field(*receiver, 4, 4) && field(t.protocol, 8, 1) && field(t.target, 12, 2);
  });
}

struct World {
  std::unique_ptr<kernel::Kernel> kernel = need(kernel::make_linux_kernel("/tmp/oracle"));
  std::unique_ptr<store::Store> store = store::make_memory();
  std::int64_t now = 1'000'000;
  engine::Core core{*kernel, *store, [this] { return now; }, {}};
  engine::CreateNetwork request = network_request({.pools = {"10.5.0.0/24 10.5.0.1", "fd05::/64 fd05::1"}});
  std::vector<std::unique_ptr<Box>> boxes;
  std::vector<std::optional<policy::Identity>> identities;
  std::vector<std::unique_ptr<Tap>> taps;
  std::vector<Bytes> headers;  // Ethernet's, towards the segment, without the type

  explicit World(std::size_t count) {
    need(core.start());
    need(core.create_network(request));
    for (std::size_t i = 0; i < count; ++i) {
      auto& box = *boxes.emplace_back(std::make_unique<Box>(
          endpoint_request(request.id, {fmt::format("10.5.0.{}/24", i + 2), fmt::format("fd05::{:x}/64", i + 2)})));
      auto answered = need(core.create_endpoint(box.endpoint));
      engine::Facts facts{.network_name = "oracle", .network_labels = policy::Labels{}, .container = {}, .trouble = {}};
      plug(box, need(core.join({request.id, box.endpoint.id, box.sandbox}, facts)), answered);
      identities.emplace_back();
      taps.push_back(std::make_unique<Tap>(box.netns));
      const auto segment = Netns::open("/tmp/oracle/" + request.id.brief());
      segment.await(box.link());
      headers.push_back(mac(segment.mac_of(box.link()).str()) + mac(box.endpoint.mac->str()));
    }
  }

  void place(std::size_t i, const model::Container& container) {
    core.learn({request.id, boxes[i]->endpoint.id},
               {.network_name = {}, .network_labels = {}, .container = container, .trouble = {}});
    identities[i] = core.state().endpoints.at(boxes[i]->endpoint.id).identity->identity;
  }
  std::map<std::string, std::uint64_t> counters() { return need(kernel->counters(request.id.brief())); }
  void send(const Tuple& t) {
    taps[t.from]->send(headers[t.from] + be16(t.v4 ? kEtherIp4 : kEtherIp6) +
                       packet_of(t, boxes[t.from]->address(t.v4), boxes[t.to]->address(t.v4)));
  }
};

// Each tuple is a connection of its own, in both directions, for the whole run.
class Tuples {
 public:
  Tuple next(Dice& dice, std::size_t boxes) {
    const std::vector<std::uint8_t> protocols{kTcp, kTcp, kTcp, kUdp, kUdp, kUdp, kSctp, kIcmp, 0};
    for (;;) {
      Tuple t;
      t.from = dice.upto(boxes - 1);
      t.to = dice.upto(boxes - 1);
      if (t.from == t.to) continue;
      t.v4 = dice.one_in(2);
      t.protocol = dice.of(protocols);
      if (t.protocol == kIcmp && !t.v4) t.protocol = kIcmpv6;
      if (t.protocol == 0) t.protocol = static_cast<std::uint8_t>(143 + dice.upto(100));  // unassigned, without ports
      t.source = dice.port();
      const auto near = dice.of(kPorts) + static_cast<unsigned>(dice.upto(2));
      t.target = dice.one_in(4) ? dice.port() : static_cast<std::uint16_t>(std::clamp(near, 2U, 65536U) - 1);
      auto one = std::pair(t.from, t.source), other = std::pair(t.to, t.target);
      if (!has_ports(t.protocol)) one.second = other.second = 0;
      if (t.protocol == kIcmp || t.protocol == kIcmpv6) one.second = static_cast<std::uint16_t>(count_ + 1);
      if (!used_.insert({t.v4, t.protocol, std::min(one, other), std::max(one, other)}).second) continue;
      t.id = ++count_;
      return t;
    }
  }

 private:
  using End = std::pair<std::size_t, std::uint16_t>;
  std::set<std::tuple<bool, std::uint8_t, End, End>> used_;
  std::uint32_t count_ = 0;
};

}  // namespace

TEST_CASE("statements, facts, elements and packets agree") {
  const auto seed = number_from_environment("MICROSEG_SEED", std::random_device{}());
  const auto wanted = number_from_environment("MICROSEG_TUPLES", 10'000);
  constexpr std::size_t kBatch = 250, kBoxes = 8;
  fmt::print("oracle: MICROSEG_SEED={}\n", seed);
  std::fflush(stdout);
  CAPTURE(seed);

  Dice dice(seed);
  World world(kBoxes);
  Tuples tuples;
  std::size_t total = 0, allowed = 0, policies = 0, facts_differ = 0, elements_differ = 0, packets_differ = 0;
  std::string examples;
  auto differ = [&](std::size_t& count, const char* who, const Tuple& t, const std::string& text) {
    if (++count > 3) return;
    examples += fmt::format("{} differ: explain says {} of {}\npolicy:\n{}\n", who, t.expected ? "allowed" : "refused",
                            t.str(), text);
  };

  while (total < wanted) {
    // The last container stays unknown, and so in quarantine.
    for (std::size_t i = 0; i + 1 < kBoxes; ++i)
      if (!world.identities[i] || dice.one_in(2)) world.place(i, random_container(dice, i));
    const auto text = random_policy(dice);
    auto applied = world.core.apply_policy("oracle", text);
    if (!applied && applied.error().text.find("needs more than") != std::string::npos) continue;
    REQUIRE_MESSAGE(applied, applied.error().text);
    ++policies;
    world.now += 1000;

    const auto policy = need(policy::parse(text, "oracle"));
    const auto& numbering = *world.core.runtimes().at(world.request.id).verdict.judgement.numbering;
    const auto facts = need(policy::compile(policy, numbering));
    const auto table = *need(world.kernel->observe(world.request.id.brief(), {})).table;

    std::map<std::uint32_t, Tuple> batch;
    std::map<std::string, std::uint64_t> expected = world.counters();
    std::size_t missing = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(kBatch, wanted - total); ++i) {
      auto t = tuples.next(dice, kBoxes);
      auto &from = world.identities[t.from], &to = world.identities[t.to];
      t.expected = from && to && policy::explain(policy, *from, *to, t.protocol, t.target).allowed;
      const auto class_of = [&](auto& identity) {
        return identity ? policy::class_of(numbering, *identity) : std::uint16_t{0};
      };
      if (by_facts(facts, class_of(from), class_of(to), t) != t.expected) differ(facts_differ, "facts", t, text);
      if (by_elements(table, *world.boxes[t.from], *world.boxes[t.to], t) != t.expected)
        differ(elements_differ, "elements", t, text);
      ++expected[t.expected ? "allowed" : from && to ? "refused" : "quarantined"];
      missing += t.expected;
      batch.emplace(t.id, t);
    }
    for (auto& [id, t] : batch) world.send(t);

    // The segment has judged every one of them when its counters say so; what it let pass must arrive then.
    auto judged = [&](std::map<std::string, std::uint64_t> c) {
      return c["allowed"] + c["refused"] + c["quarantined"];
    };
    std::map<std::string, std::uint64_t> counters;
    for (const auto until = steady_clock::now() + milliseconds(5000); steady_clock::now() < until;)
      if (counters = world.counters(); judged(counters) >= judged(expected)) break;
    for (auto* name : {"allowed", "refused", "quarantined", "spoofed", "invalid"}) {
      CAPTURE(std::string(name));
      CHECK(counters[name] == expected[name]);
    }
    std::map<std::uint32_t, std::size_t> delivered;  // id -> box
    for (const auto until = steady_clock::now() + milliseconds(3000);;) {
      for (std::size_t i = 0; i < kBoxes; ++i)
        for (auto& got : world.taps[i]->drain())
          if (auto id = id_in(got.frame); id && batch.contains(*id)) {
            if (!delivered.emplace(*id, i).second)
              differ(packets_differ, "packets (delivered twice)", batch[*id], text);
            else if (batch[*id].expected)
              --missing;
          }
      if (missing == 0 || steady_clock::now() > until) break;
    }
    for (auto& [id, t] : batch) {
      auto got = delivered.find(id);
      const bool came = got != delivered.end();
      if (came != t.expected || (came && got->second != t.to)) differ(packets_differ, "packets", t, text);
      allowed += t.expected;
    }
    total += batch.size();
    if (facts_differ + elements_differ + packets_differ > 0) break;
  }
  fmt::print(
      "oracle: {} tuples under {} policies, {} of them allowed; differences: facts {}, elements {}, packets {}\n",
      total, policies, allowed, facts_differ, elements_differ, packets_differ);
  CHECK_MESSAGE(facts_differ + elements_differ + packets_differ == 0, examples);
  CHECK(allowed > total / 20);
  CHECK(allowed < total - total / 20);
}
