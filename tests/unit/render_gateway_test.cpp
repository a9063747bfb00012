// The gateway's part of the host's table as logic: which packet of whom passes, and what it is counted as.
#include <doctest/doctest.h>

#include <string>

#include "microseg/render/gateway.h"
#include "support/rule_vm.h"

using namespace microseg;
using namespace microseg::test;
using kstate::Hook;

namespace {

Ip ip(const std::string& s) { return Ip::parse(s).value(); }
Prefix prefix(const std::string& s) { return Prefix::parse(s).value(); }

constexpr std::uint32_t kDnat = 0x20;
const char* const kPolicy =
    "allow a -> 192.0.2.0/24 : 443, icmp; allow a -> 2001:db8::/64 : 443, icmp; deny a -> 192.0.2.9/32; allow a -> host : 9100;"
    "allow host -> a : 22; allow 198.51.100.0/24 -> a : 8080; allow 2001:db8:51::/64 -> a : 8080; deny any -> 192.0.2.77/32 : 53";

policy::North north_of(const std::string& service) {
  const auto policy = policy::parse(kPolicy, "test").value();
  const policy::Identity who{service, {}};
  const policy::Member member[] = {{&policy, &who}};
  return policy::north(member).value();
}

// Names for both families: "a" and "b" are ours, "c" somebody else's, "new" unknown, "host" the bridge's own.
Ip at(const std::string& name, bool six) {
  struct {
    const char *name, *four, *six;
  } rows[] = {{"a", "172.18.0.3", "fd18::3"},       {"b", "172.18.0.4", "fd18::4"},
              {"c", "172.18.0.5", "fd18::5"},       {"new", "172.18.0.6", "fd18::6"},
              {"host", "172.18.0.1", "fd18::1"},    {"dns", "192.0.2.53", "2001:db8:53::53"},
              {"mydns", "192.0.2.54", "2001:db8:53::54"},
              {"nodns", "192.0.2.77", "2001:db8:53::77"},
              {"server", "192.0.2.5", "2001:db8::5"}, {"denied", "192.0.2.9", "2001:db8:1::9"},
              {"client", "198.51.100.7", "2001:db8:51::7"}, {"elsewhere", "203.0.113.1", "2001:db8:ff::1"}};
  for (auto& row : rows)
    if (row.name == name) return ip(six ? row.six : row.four);
  throw std::logic_error("nobody is called " + name);
}

constexpr const char* kBridge = "docker_gwbridge";

// The link by which one is reached.
std::string link_of(const Ip& ip) {
  return prefix(ip.is_v4() ? "172.18.0.0/16" : "fd18::/64").contains(ip) ? kBridge : "eth";
}

render::Gateway gateway(bool holding = false) {
  render::Gateway out;
  out.holding = holding;
  out.link = kBridge;
  out.foreign = {at("c", false), at("c", true), at("host", false), at("host", true)};
  out.resolvers = {at("dns", false), at("dns", true), at("nodns", false)};
  render::GatewayMember a, b;
  a.v4 = at("a", false);
  a.v6 = at("a", true);
  a.north = north_of("a");
  a.published = {{kTcp, 80}};
  a.proxied = {{kTcp, 5000}};
  a.resolvers = {at("mydns", false), at("mydns", true)};
  b.v4 = at("b", false);
  b.v6 = at("b", true);
  b.north = north_of("b");
  out.members = {a, b};
  return out;
}

kstate::Table table(bool holding = false) {
  kstate::Table out;
  render::add_gateway(out, gateway(holding));
  return out;
}

struct Sent {
  Hook::Place place;
  const char *from, *to;
  int protocol = kTcp;
  std::uint16_t source_port = 40000, target_port = 443;
  std::uint32_t state = kNew;
  bool reply = false;
  std::uint32_t status = 0;
  // The connection's ends where they are not the packet's.
  const char *original_source = nullptr, *reply_source = nullptr;
  std::uint8_t tcp_flags = 0;
};

std::string judged(const kstate::Table& table, const Sent& s, bool six) {
  std::uint32_t mark = 0;
  Packet packet{.link = link_of(at(s.from, six)), .source = at(s.from, six), .target = at(s.to, six), .protocol = static_cast<std::uint8_t>(s.protocol),
                .source_port = s.source_port, .target_port = s.target_port, .track = {}};
  if (six && packet.protocol == kIcmp) packet.protocol = kIcmpv6;
  packet.out = link_of(at(s.to, six));
  packet.tcp_flags = s.tcp_flags;
  packet.track.state = s.state;
  packet.track.reply = s.reply;
  packet.track.mark = s.state == kInvalid ? nullptr : &mark;
  packet.track.status = s.status;
  packet.track.source = at(s.original_source ? s.original_source : s.reply ? s.to : s.from, six);
  packet.track.target = at(s.reply ? s.from : s.to, six);
  packet.track.reply_source = at(s.reply_source ? s.reply_source : s.reply ? s.from : s.to, six);
  return to_text(run(table, s.place, packet));
}

constexpr auto kForward = Hook::Place::forward, kIn = Hook::Place::input, kOut = Hook::Place::output;

struct Row {
  const char* title;
  Sent sent;
  const char* verdict;
};

void check(const kstate::Table& table, std::initializer_list<Row> rows) {
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CAPTURE(six);
      CHECK(judged(table, row.sent, six) == std::string(row.verdict));
    }
}

}  // namespace

TEST_CASE("between ours and the world") {
  check(table(),
        {
            {"allowed out", {kForward, "a", "server"}, "pass"},
            {"... goes on", {kForward, "a", "server", kTcp, 40000, 443, kEstablished}, "pass"},
            {"... and its answer", {kForward, "server", "a", kTcp, 443, 40000, kEstablished, true}, "pass"},
            {"... in ICMP", {kForward, "a", "server", kIcmp, 8 << 8, 0}, "pass"},
            {"another port", {kForward, "a", "server", kTcp, 40000, 444}, "reset egress"},
            {"another protocol", {kForward, "a", "server", kUdp, 40000, 443}, "prohibited egress"},
            {"another remote", {kForward, "a", "elsewhere"}, "reset egress"},
            {"denied", {kForward, "a", "denied"}, "reset egress"},
            {"somebody without permission", {kForward, "b", "server"}, "reset egress"},
            {"allowed once: no answer that would end it", {kForward, "a", "elsewhere", kTcp, 40000, 443, kEstablished}, "drop egress"},
            {"... nor is it answered", {kForward, "elsewhere", "a", kTcp, 443, 40000, kEstablished, true}, "drop ingress"},
            {"an answer's source port is no permission", {kForward, "server", "a", kTcp, 443, 40000}, "drop ingress"},
            {"a source port is no permission either", {kForward, "a", "server", kTcp, 8080, 40000}, "reset egress"},
            {"belonging to nothing", {kForward, "a", "server", kTcp, 40000, 443, kInvalid}, "drop egress"},
            {"belonging to nothing, in", {kForward, "client", "a", kTcp, 40000, 8080, kInvalid}, "drop ingress"},
            {"allowed in", {kForward, "client", "a", kTcp, 40000, 8080}, "pass"},
            {"... and its answer", {kForward, "a", "client", kTcp, 8080, 40000, kEstablished, true}, "pass"},
            {"in from elsewhere", {kForward, "elsewhere", "a", kTcp, 40000, 8080}, "drop ingress"},
            {"to who has nothing", {kForward, "client", "b", kTcp, 40000, 8080}, "drop ingress"},
            {"a published port", {kForward, "elsewhere", "a", kTcp, 50000, 80, kNew, false, kDnat}, "pass"},
            {"... goes on", {kForward, "elsewhere", "a", kTcp, 50000, 80, kEstablished, false, kDnat}, "pass"},
            {"... and its answer", {kForward, "a", "elsewhere", kTcp, 80, 50000, kEstablished, true, kDnat}, "pass"},
            {"... but not past the translation", {kForward, "elsewhere", "a", kTcp, 50000, 80}, "drop ingress"},
            {"a port that is not published", {kForward, "elsewhere", "a", kTcp, 50000, 81, kNew, false, kDnat}, "drop ingress"},
            {"another's published port", {kForward, "elsewhere", "b", kTcp, 50000, 80, kNew, false, kDnat}, "drop ingress"},
            {"from ours to ours", {kForward, "a", "b"}, "drop detour"},
            {"... also where it is published", {kForward, "b", "a", kTcp, 40000, 80, kNew, false, kDnat}, "drop detour"},
            {"others are not looked at", {kForward, "c", "elsewhere"}, "pass"},
            {"... whoever they are", {kForward, "new", "c", kTcp, 1, 1, kInvalid}, "pass"},
        });
}

TEST_CASE("resolvers") {
  check(table(), {
                     {"UDP", {kForward, "a", "dns", kUdp, 40000, 53}, "pass"},
                     {"... and its answer", {kForward, "dns", "a", kUdp, 53, 40000, kEstablished, true}, "pass"},
                     {"TCP", {kForward, "a", "dns", kTcp, 40000, 53}, "pass"},
                     {"another port", {kForward, "a", "dns", kTcp, 40000, 853}, "reset egress"},
                     {"one of its own", {kForward, "a", "mydns", kUdp, 40000, 53}, "pass"},
                     {"who goes nowhere does not ask", {kForward, "b", "dns", kUdp, 40000, 53}, "prohibited egress"},
                     {"at the host", {kIn, "a", "dns", kUdp, 40000, 53}, "pass"},
                     {"... and its answer", {kOut, "dns", "a", kUdp, 53, 40000, kEstablished, true}, "pass"},
                 });
  CHECK(judged(table(), {kForward, "a", "nodns", kTcp, 40000, 53}, false) == "reset egress");  // denied
  CHECK(judged(table(), {kForward, "a", "nodns", kUdp, 40000, 53}, false) == "pass");
}

TEST_CASE("between ours and the host") {
  check(table(),
        {
            {"allowed", {kIn, "a", "host", kTcp, 40000, 9100}, "pass"},
            {"... and its answer", {kOut, "host", "a", kTcp, 9100, 40000, kEstablished, true}, "pass"},
            {"another port", {kIn, "a", "host", kTcp, 40000, 22}, "reset to_host"},
            {"another protocol", {kIn, "a", "host", kUdp, 40000, 9100}, "prohibited to_host"},
            {"an address of the world that is the host's", {kIn, "a", "server", kTcp, 40000, 443}, "reset to_host"},
            {"somebody without permission", {kIn, "b", "host", kTcp, 40000, 9100}, "reset to_host"},
            {"another's published port", {kIn, "a", "host", kTcp, 40000, 5000}, "pass"},
            {"... and its answer", {kOut, "host", "a", kTcp, 5000, 40000, kEstablished, true}, "pass"},
            {"... is for who may", {kIn, "b", "host", kTcp, 40000, 5000}, "reset to_host"},
            {"allowed once", {kIn, "a", "host", kTcp, 40000, 22, kEstablished}, "drop to_host"},
            {"belonging to nothing", {kIn, "a", "host", kTcp, 40000, 9100, kInvalid}, "drop to_host"},
            {"from the host", {kOut, "host", "a", kTcp, 40000, 22}, "pass"},
            {"... and its answer", {kIn, "a", "host", kTcp, 22, 40000, kEstablished, true}, "pass"},
            {"from the host to a published port", {kOut, "host", "a", kTcp, 40000, 80}, "pass"},
            {"... and its answer", {kIn, "a", "host", kTcp, 80, 40000, kEstablished, true}, "pass"},
            {"from the host, another port", {kOut, "host", "a", kTcp, 40000, 23}, "drop from_host"},
            {"from the host, to who has nothing", {kOut, "host", "b", kTcp, 40000, 22}, "drop from_host"},
            {"an answer to what was never allowed", {kOut, "host", "a", kTcp, 22, 40000, kEstablished, true}, "drop from_host"},
            {"our refusal by TCP", {kOut, "elsewhere", "a", kTcp, 443, 40000, kRelated, true, 0, nullptr, nullptr, 0x14}, "pass"},
            {"... is a reset", {kOut, "elsewhere", "a", kTcp, 443, 40000, kRelated, true, 0, nullptr, nullptr, 0x12}, "drop from_host"},
            {"others are not looked at", {kIn, "c", "host", kTcp, 40000, 22}, "pass"},
            {"nor the host's own", {kOut, "host", "elsewhere", kTcp, 40000, 22}, "pass"},
        });
  // Our refusal by ICMP belongs to nothing; its type and code are told by it.
  CHECK(judged(table(), {kOut, "host", "a", kIcmp, 0x030d, 0, kInvalid}, false) == "pass");
  CHECK(judged(table(), {kOut, "host", "a", kIcmp, 0x0101, 0, kInvalid}, true) == "pass");
  CHECK(judged(table(), {kOut, "host", "a", kIcmp, 0x0800, 0, kNew}, false) == "drop from_host");
  CHECK(judged(table(), {kOut, "host", "a", kIcmp, 0x8000, 0, kNew}, true) == "drop from_host");
}

TEST_CASE("ICMP errors pass from who is an end of the connection, and to ours") {
  check(table(),
        {
            {"about what it opened", {kForward, "a", "server", kIcmp, 0x0303, 0, kRelated, false, 0, "a", "server"}, "pass"},
            {"about what was opened to it", {kForward, "a", "client", kIcmp, 0x0303, 0, kRelated, true, 0, "client", "a"}, "pass"},
            {"about another's", {kForward, "b", "server", kIcmp, 0x0303, 0, kRelated, false, 0, "a", "server"}, "drop egress"},
            {"about another's, to the host", {kIn, "b", "host", kIcmp, 0x0303, 0, kRelated, true, 0, "host", "a"}, "drop to_host"},
            {"about the host's, to the host", {kIn, "a", "host", kIcmp, 0x0303, 0, kRelated, true, 0, "host", "a"}, "pass"},
            {"to ours, from a router", {kForward, "elsewhere", "a", kIcmp, 0x0304, 0, kRelated, true, 0, "a", "server"}, "pass"},
            {"to ours, from the host", {kOut, "host", "a", kIcmp, 0x0304, 0, kRelated, true, 0, "a", "server"}, "pass"},
            {"related is not enough", {kForward, "elsewhere", "a", kTcp, 20, 40000, kRelated, false}, "drop ingress"},
            {"... the other way too", {kForward, "a", "elsewhere", kTcp, 20, 40000, kRelated, false}, "drop egress"},
        });
}

TEST_CASE("IPv6 neighbours find each other") {
  for (unsigned type : {135U, 136U})
    for (auto place : {kIn, kOut})
      for (bool holding : {false, true}) {
        const auto port = static_cast<std::uint16_t>(type << 8);
        CHECK(judged(table(holding), {place, "b", "host", kIcmp, port, 0, kInvalid}, true) == "pass");
        CHECK(judged(table(holding), {place, "host", "b", kIcmp, port, 0, kInvalid}, true) == "pass");
        CHECK(judged(table(holding), {place, "new", "host", kIcmp, port, 0, kInvalid}, true) == "pass");
      }
  CHECK(judged(table(), {kIn, "b", "host", kIcmp, 134 << 8, 0, kInvalid}, true) == "drop to_host");
}

TEST_CASE("while an address of ours is not known, unknown ones are held") {
  const Row rows[] = {
      {"from an unknown one", {kForward, "new", "elsewhere"}, "drop held"},
      {"to an unknown one", {kForward, "elsewhere", "new"}, "drop held"},
      {"from ours to an unknown one", {kForward, "a", "new"}, "drop held"},
      {"from an unknown one to the host", {kIn, "new", "host"}, "drop held"},
      {"from the host to an unknown one", {kOut, "host", "new"}, "drop held"},
  };
  for (auto& row : rows)
    for (bool six : {false, true}) {
      CAPTURE(row.title);
      CHECK(judged(table(true), row.sent, six) == std::string(row.verdict));
      if (std::string(row.sent.from) != "a") CHECK(judged(table(false), row.sent, six) == "pass");
    }
  check(table(true), {
                         {"somebody else's", {kForward, "c", "elsewhere"}, "pass"},
                         {"to somebody else's", {kForward, "elsewhere", "c"}, "pass"},
                         {"the bridge's own", {kIn, "host", "host"}, "pass"},
                         {"ours", {kForward, "a", "server"}, "pass"},
                         {"... is judged", {kForward, "b", "server"}, "reset egress"},
                         {"by other links", {kForward, "client", "elsewhere"}, "pass"},
                     });
}

TEST_CASE("chains do not depend on who is there, and an empty gateway looks at nobody") {
  kstate::Table empty;
  render::add_gateway(empty, {});
  CHECK(empty.chains == table(true).chains);
  CHECK(empty.counters == table(true).counters);
  for (auto& [name, set] : empty.sets) CHECK(set.elements->empty());
  for (auto& [name, set] : table(true).sets) {
    CAPTURE(name);
    CHECK(set.type == empty.sets.at(name).type);
    CHECK(!set.elements->empty());
  }
  check(empty, {{"nobody", {kForward, "a", "b"}, "pass"}, {"nobody at the host", {kIn, "a", "host"}, "pass"}});
}

TEST_CASE("elements, as nft would write them") {
  auto lines = [](const char* name) {
    const auto set = table(true).sets.at(name);
    std::string out;
    for (auto& element : *set.elements) out += to_text(set.type, element) + "\n";
    return out;
  };
  CHECK(lines("ours4") == "172.18.0.3\n172.18.0.4\n");
  CHECK(lines("held") == "docker_gwbridge\n");
  CHECK(lines("ends6") == "fd18::3 . fd18::3\nfd18::4 . fd18::4\n");
  CHECK(lines("in4") == "172.18.0.3 . 198.51.100.0-198.51.100.255 . 6 . 8080\n");
  CHECK(lines("out6") == "fd18::3 . 2001:db8::-2001:db8::ffff:ffff:ffff:ffff . 6 . 443\n"
                         "fd18::3 . 2001:db8::-2001:db8::ffff:ffff:ffff:ffff . 58 . 0-65535\n");
  CHECK(lines("to_host6") == "fd18::3 . 6 . 9100\n");
  CHECK(lines("published4") == "172.18.0.3 . 6 . 80\n");
  CHECK(lines("resolve4") == "172.18.0.3 . 192.0.2.53 . 6 . 53\n172.18.0.3 . 192.0.2.53 . 17 . 53\n"
                             "172.18.0.3 . 192.0.2.54 . 6 . 53\n172.18.0.3 . 192.0.2.54 . 17 . 53\n"
                             "172.18.0.3 . 192.0.2.77 . 17 . 53\n");
}
