// Networks that span hosts, by packets: two or three hosts joined by VXLAN, real rules in every segment.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "support/lab_hosts.h"
#include "support/lab_packet.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;
using std::chrono::steady_clock;

namespace {

constexpr std::uint16_t kPort = render::kVxlanPort;
constexpr std::uint32_t kVni = 5000;
constexpr milliseconds kQuiet{150};      // nothing came in so long: nothing comes
constexpr milliseconds kAtOnce{500};     // far below any timeout of a program
const char* const kPolicy = "allow web -> api : 80, 80/udp, icmp; allow api -> db : 5432; allow db -> web : 9";

const char* prohibited(bool v4) { return v4 ? "EHOSTUNREACH" : "EACCES"; }

milliseconds timed(const std::function<void()>& f) {
  const auto began = steady_clock::now();
  f();
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
}

// One UDP packet to a port where nobody listens: what the sender is told.
std::string told(const Container& from, const Ip& to, std::uint16_t port) {
  const Address target(to, port);
  auto socket = from.netns.socket(target.family(), SOCK_DGRAM, 0);
  must(::connect(socket.get(), target.get(), target.length) == 0, "connect");
  send_all(socket, "question");
  const auto got = receive(socket);
  return got.starts_with('!') ? got.substr(1) : "nothing";
}

struct Conversation {
  Fd client, server;
};

Conversation converse(const Container& from, const Container& to, bool v4, std::uint16_t port = 80) {
  auto listener = listen_tcp(to.netns, v4, port);
  auto connection = connect_tcp(from.netns, to.address(v4), port);
  if (connection.outcome != "connected") fail("not connected: " + connection.outcome);
  auto served = accept_tcp(listener);
  return {std::move(connection.socket), std::move(served)};
}

bool heard(const Fd& from, const Fd& to) {
  const auto mark = fresh_mark();
  send_all(from, mark);
  return receive(to) == mark;
}

// A frame for the segment of `to`, in VXLAN, as if another segment had sent it. `group`: the first word's lower half.
Bytes vxlan(const Host& to, const Ip& from, std::uint32_t group, const Bytes& packet, std::uint32_t flags = 0x88000000U) {
  const Bytes inner = ethernet(mac(to.device_mac().str()), mac("02:00:00:00:00:77"), from.is_v4() ? kEtherIp4 : kEtherIp6,
                               packet);
  return be32(flags | group) + be32(kVni << 8) + inner;
}

void send_vxlan(const Host& from, const Host& to, const Bytes& payload) {
  const Address target(to.address(), kPort);
  auto socket = from.netns().socket(AF_INET, SOCK_DGRAM, 0);
  must(::sendto(socket.get(), payload.data(), payload.size(), 0, target.get(), target.length) ==
           static_cast<ssize_t>(payload.size()),
       "send VXLAN");
}

std::size_t arrivals(Tap& tap, std::string_view text) {
  std::size_t out = 0;
  while (auto got = tap.next(kQuiet))
    if (contains(got->frame, text)) ++out;
  return out;
}

}  // namespace

TEST_CASE("what policy allows passes between hosts, all else is refused, and the sender is told at once") {
  Hosts hosts(2, kPolicy);
  auto &web = hosts[0].start("web", 2), &unknown = hosts[0].start("", 9), &db = hosts[0].start("db", 4);
  auto &api = hosts[1].start("api", 13), &other = hosts[1].start("", 19);
  milliseconds slowest{0};
  auto refused = [&](const Container& from, const Container& to, bool v4, std::uint16_t port, const char* word) {
    std::string tcp, udp;
    slowest = std::max(slowest, timed([&] { tcp = ask_tcp(from.netns, to.netns, to.address(v4), port); }));
    slowest = std::max(slowest, timed([&] { udp = ask_udp(from.netns, to.netns, to.address(v4), port); }));
    CHECK(tcp == "ECONNREFUSED");
    CHECK(udp == word);
  };
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    CHECK(ask_tcp(web.netns, api.netns, api.address(v4), 80) == "answered");
    CHECK(ask_tcp(api.netns, db.netns, db.address(v4), 5432) == "answered");
    CHECK(ask_udp(web.netns, api.netns, api.address(v4), 80) == "answered");
    CHECK(ask_udp(web.netns, api.netns, api.address(v4), 80, 4000) == "answered");  // in fragments
    CHECK(ping(web.netns, api.address(v4)) == "answered");
    CHECK(ping(web.netns, api.address(v4), 4000) == "answered");
    // Allowed, and nobody listens: the container's own word, also of a connection that was never answered.
    CHECK(connect_tcp(web.netns, api.address(v4), 80).outcome == "ECONNREFUSED");
    CHECK(told(web, api.address(v4), 80) == "ECONNREFUSED");

    refused(web, api, v4, 81, prohibited(v4));
    refused(api, web, v4, 80, prohibited(v4));
    refused(db, api, v4, 80, prohibited(v4));
    refused(unknown, api, v4, 80, prohibited(v4));
    refused(web, other, v4, 80, prohibited(v4));
    for (auto& [from, to] : {std::pair{&api, &web}, {&db, &api}, {&web, &other}})
      slowest = std::max(slowest, timed([&] { CHECK(ping(from->netns, to->address(v4)) == prohibited(v4)); }));
    // Within a host as ever.
    CHECK(ask_tcp(db.netns, web.netns, web.address(v4), 9) == "answered");
    refused(web, db, v4, 5432, prohibited(v4));
  }
  fmt::print("span: the slowest refusal took {} ms\n", slowest.count());
  CHECK(slowest < kAtOnce);
  CHECK(hosts[0].counters()["spoofed"] == 0);
  CHECK(hosts[0].counters()["invalid"] == 0);
  CHECK(hosts[1].counters()["invalid"] == 0);
}

TEST_CASE("nft(8) prints the rules") {
  Hosts hosts(2, kPolicy);
  (void)hosts[0].start("web", 2);
  const auto text = hosts[0].segment().run("nft list ruleset");
  for (auto* word : {"chain inbound", "chain outbound", "chain stamp_kept", "@pairs", "goto from_segment"}) {
    CAPTURE(std::string(word));
    CHECK(text.find(word) != std::string::npos);
  }
}

TEST_CASE("silence where refusals are to be silent; nothing refused where policy only watches") {
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    Hosts silent(2, kPolicy, {{"microseg.deny", "drop"}});
    auto &web = silent[0].start("web", 2), &api = silent[1].start("api", 13);
    CHECK(ask_tcp(web.netns, api.netns, api.address(v4), 80) == "answered");
    CHECK(ask_tcp(web.netns, api.netns, api.address(v4), 81, kQuiet) == "no answer");

    Hosts watching(2, kPolicy, {{"microseg.mode", "monitor"}});
    auto &one = watching[0].start("web", 2), &two = watching[1].start("api", 13), &unknown = watching[1].start("", 19);
    CHECK(ask_tcp(one.netns, two.netns, two.address(v4), 81) == "answered");
    CHECK(ask_udp(two.netns, one.netns, one.address(v4), 81) == "answered");
    CHECK(ask_tcp(one.netns, unknown.netns, unknown.address(v4), 81) == "answered");
    CHECK(ask_udp(unknown.netns, one.netns, one.address(v4), 81) == "answered");
    CHECK(watching[1].counters()["refused"] > 0);
    CHECK(watching[0].counters()["quarantined"] > 0);
  }
}

TEST_CASE("a new generation at either end, or both, is not noticed by what is allowed") {
  Hosts hosts(2, kPolicy);
  auto &web = hosts[0].start("web", 2), &api = hosts[1].start("api", 13);
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const auto [client, server] = converse(web, api, v4);
    for (auto which : {1U, 2U, 3U})
      for (bool client_first : {true, false}) {
        CAPTURE(which);
        CAPTURE(client_first);
        if (which & 1) hosts[0].bump();
        if (which & 2) hosts[1].bump();
        CHECK(heard(client_first ? client : server, client_first ? server : client));
        CHECK(heard(client_first ? server : client, client_first ? client : server));
      }
  }
  CHECK(hosts[0].counters()["refused"] == 0);
  CHECK(hosts[1].counters()["refused"] == 0);
}

TEST_CASE("a permission that one end alone takes away ends there what lives on it, and both sides are told") {
  const std::string without = "allow web -> api : icmp; allow api -> db : 5432; allow db -> web : 9";
  milliseconds slowest{0};
  for (bool v4 : {true, false})
    for (bool at_caller : {true, false})
      for (bool caller_speaks : {true, false}) {
        CAPTURE(v4);
        CAPTURE(at_caller);
        CAPTURE(caller_speaks);
        Hosts hosts(2, kPolicy);
        auto &web = hosts[0].start("web", 2), &api = hosts[1].start("api", 13);
        auto [client, server] = converse(web, api, v4);
        REQUIRE(heard(client, server));
        REQUIRE(heard(server, client));
        Tap at_web(web.netns), at_api(api.netns);
        hosts[at_caller ? 0 : 1].enforce(without);
        const auto mark = fresh_mark();
        auto &speaker = caller_speaks ? client : server, &listener = caller_speaks ? server : client;
        slowest = std::max(slowest, timed([&] {
                             send_all(speaker, mark);
                             CHECK(receive(speaker) == "!ECONNRESET");
                           }));
        // An answer that the caller's own segment refuses has left the other host; it comes no further.
        CHECK(arrivals(caller_speaks ? at_api : at_web, mark) == 0);
        CHECK(receive(listener, milliseconds(0)).empty());
        // Whose host alone refuses the answer hears nothing: the refusal is told to the one who answered.
        CHECK(connect_tcp(web.netns, api.address(v4), 80, kQuiet).outcome == (at_caller ? "no answer" : "ECONNREFUSED"));
      }
  fmt::print("span: a revoked connection's speaker was told after {} ms at most\n", slowest.count());
  CHECK(slowest < kAtOnce);
}

// ---- an address that changed hands ----

namespace {

constexpr int kForged = 50;

// The last TCP segment that came in here: what continues it.
struct Place {
  std::uint16_t source = 0, target = 0;
  std::uint32_t next = 0, acknowledged = 0;
};
Place place_of(const Bytes& frame) {
  const auto v = *view(frame);
  const auto header = (frame[v.transport + 12] >> 4) * 4U;
  Place out{static_cast<std::uint16_t>(number_at(frame, v.transport, 2)),
            static_cast<std::uint16_t>(number_at(frame, v.transport + 2, 2)), number_at(frame, v.transport + 4, 4),
            number_at(frame, v.transport + 8, 4)};
  out.next += static_cast<std::uint32_t>(v.end - v.transport - header);
  return out;
}

// What the new owner of api's address can send of web's connections to the one before. Each has the mark in it.
struct Forger {
  const Host& host;
  const Container& heir;
  Tap tap;
  Bytes header4, header6;

  Forger(const Host& h, const Container& c) : host(h), heir(c), tap(c.netns) {
    const Bytes to = mac(host.segment().mac_of(heir.link()).str()), from = mac(heir.endpoint.mac.str());
    header4 = to + from + be16(kEtherIp4);
    header6 = to + from + be16(kEtherIp6);
  }
  void send(const Ip& to, std::uint8_t protocol, const Bytes& payload) {
    tap.send((to.is_v4() ? header4 : header6) + ip(heir.address(to.is_v4()), to, protocol, payload));
  }
  void forge(const Ip& web, const Place& at, std::uint16_t udp_port, const std::string& mark) {
    const Ip own = heir.address(web.is_v4());
    const Bytes text = bytes(mark);
    send(web, kTcp, tcp(own, web, at.source, at.target, at.next, at.acknowledged, 0x18, text));
    send(web, kTcp, tcp(own, web, at.source, at.target, at.next, at.acknowledged, kRst | kAck, text));
    send(web, kUdp, udp(own, web, 80, udp_port, text));
    const Bytes about = ip(web, own, kUdp, udp(web, own, udp_port, 80, text));
    if (web.is_v4()) send(web, kIcmp, icmp(own, web, 3, 3, 0, about));
    else send(web, kIcmpv6, icmp(own, web, 1, 4, 0, about));
  }
};

}  // namespace

TEST_CASE("who takes over an address inherits no connection") {
  struct {
    const char* title;
    const char* service;
    unsigned host;  // where the heir is; web is at 0, api was at 1
    bool passes;
  } rows[] = {
      {"another service at a third host", "db", 2, false},
      {"another service at the same host", "db", 1, false},
      {"another service at the other side's host", "db", 0, false},
      {"one that nobody knows", "", 2, false},
      // The same permissions, and the stamp is still good: what the rows above would see if nothing held them up.
      {"the same service", "api", 2, true},
  };
  std::size_t forged = 0, delivered = 0;
  for (auto& row : rows)
    for (bool v4 : {true, false}) {
      CAPTURE(row.title);
      CAPTURE(v4);
      Hosts hosts(3, kPolicy);
      auto& web = hosts[0].start("web", 2);
      auto* api = &hosts[1].start("api", 13);
      auto [client, server] = converse(web, *api, v4);
      auto asking = bind_udp(web.netns, v4, 0), answering = bind_udp(api->netns, v4, 80);
      const Address to_api(api->address(v4), 80), to_web(web.address(v4), port_of(asking));
      must(::connect(asking.get(), to_api.get(), to_api.length) == 0, "connect");
      must(::connect(answering.get(), to_web.get(), to_web.length) == 0, "connect");
      REQUIRE(heard(asking, answering));
      REQUIRE(heard(answering, asking));
      Tap at_web(web.netns);
      const auto last = fresh_mark();
      REQUIRE(heard(client, server));
      send_all(server, last);
      const auto seen = at_web.find(last, milliseconds(2000));
      REQUIRE(seen);
      const auto place = place_of(seen->frame);
      // The server falls silent first, as when its host dies: no end of the connection is seen.
      const auto cut = api->link();
      hosts[1].segment().run("ip link set " + cut + " down");
      server = Fd(), answering = Fd();
      hosts[1].stop(*api);

      auto& heir = hosts[row.host].start(row.service, 13);
      const auto mark = fresh_mark();
      Forger forger(hosts[row.host], heir);
      (void)at_web.drain();
      for (int i = 0; i < kForged; ++i) forger.forge(web.address(v4), place, port_of(asking), mark);
      const auto came = arrivals(at_web, mark);
      if (row.passes) {
        CHECK(came >= kForged);
      } else {
        CHECK(came == 0);
        delivered += came;
        forged += 4 * kForged;
      }
    }
  fmt::print("span: {} forged packets of live connections by the addresses' next owners, {} delivered\n", forged,
             delivered);
}

// ---- what another host's segment would never send ----

TEST_CASE("a class in a packet is worth what policy gives it, and none is worth nothing") {
  Hosts hosts(3, kPolicy);
  auto &web = hosts[0].start("web", 2), &api = hosts[0].start("api", 3), &far = hosts[2].start("api", 13);
  (void)web;
  const auto web_class = hosts[0].class_of("web"), db_class = hosts[0].class_of("db");
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const Ip from = Ip::parse(v4 ? "10.5.0.77" : "fd05::77").value();
    const Ip there = api.address(v4), beyond = far.address(v4);
    Tap at_api(api.netns), at_far(far.netns);
    // So that no packet waits for a neighbour.
    CHECK(ask_udp(web.netns, far.netns, beyond, 80) == "answered");
    struct {
      const char* title;
      std::uint32_t flags, group;
      Ip to;
      std::uint8_t protocol;
      Bytes payload;  // what has no mark of its own gets one
      bool passes;
    } rows[] = {
        {"allowed", 0x88000000U, web_class, there, kUdp, {}, true},
        {"allowed, with flags", 0x88480000U, web_class, there, kUdp, {}, true},
        {"another class", 0x88000000U, db_class, there, kUdp, {}, false},
        {"a class that nobody has", 0x88000000U, 4711, there, kUdp, {}, false},
        {"the last class", 0x88000000U, 65535, there, kUdp, {}, false},
        {"class 0", 0x88000000U, 0, there, kUdp, {}, false},
        {"no class", 0x08000000U, 0, there, kUdp, {}, false},
        {"no class, and a number where it would be", 0x08000000U, web_class, there, kUdp, {}, false},
        {"on to a third host", 0x88000000U, web_class, beyond, kUdp, {}, false},
        {"on to a third host without a class", 0x88000000U, 0, beyond, kUdp, {}, false},
    };
    std::uint16_t port = 30000;
    for (auto& row : rows) {
      CAPTURE(row.title);
      const auto mark = fresh_mark();
      const Bytes packet = ip(from, row.to, kUdp, udp(from, row.to, ++port, 80, bytes(mark)));
      send_vxlan(hosts[1], hosts[0], vxlan(hosts[0], from, row.group, packet, row.flags));
      CHECK(arrivals(row.to == beyond ? at_far : at_api, mark) == (row.passes ? 1 : 0));
    }
    // Without a class: whatever is not the end of a connection, or an error about one, that is there.
    for (std::uint8_t flags : {kSyn, kRst, kAck, static_cast<std::uint8_t>(kRst | kAck)}) {
      CAPTURE(static_cast<int>(flags));
      const auto mark = fresh_mark();
      const Bytes packet = ip(from, there, kTcp, tcp(from, there, ++port, 80, 1, 1, flags, bytes(mark)));
      send_vxlan(hosts[1], hosts[0], vxlan(hosts[0], from, 0, packet));
      CHECK(arrivals(at_api, mark) == 0);
    }
    for (bool echo : {true, false}) {
      CAPTURE(echo);
      const auto mark = fresh_mark();
      const Bytes about = ip(there, from, kUdp, udp(there, from, 80, ++port, bytes(mark)));
      const std::uint8_t type = v4 ? (echo ? 8 : 3) : (echo ? 128 : 1);
      const Bytes packet = ip(from, there, v4 ? kIcmp : kIcmpv6, icmp(from, there, type, 0, 0, echo ? bytes(mark) : about));
      send_vxlan(hosts[1], hosts[0], vxlan(hosts[0], from, 0, packet));
      CHECK(arrivals(at_api, mark) == 0);
    }
  }
}

TEST_CASE("a container's own mark and a borrowed source do not leave the host") {
  Hosts hosts(2, kPolicy);
  auto &db = hosts[0].start("db", 4), &web = hosts[0].start("web", 2), &api = hosts[1].start("api", 13);
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    Tap at_api(api.netns), at_db(db.netns);
    const Address target(api.address(v4), 80);
    auto send_marked = [&](const Container& from, int mark_number) {
      auto socket = from.netns.socket(target.family(), SOCK_DGRAM, 0);
      must(setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark_number, sizeof mark_number) == 0, "SO_MARK");
      const auto mark = fresh_mark();
      must(::sendto(socket.get(), mark.data(), mark.size(), 0, target.get(), target.length) > 0, "send");
      return arrivals(at_api, mark);
    };
    CHECK(send_marked(web, 4711) == 1);
    CHECK(send_marked(db, hosts[0].class_of("web")) == 0);

    const auto mark = fresh_mark();
    const Bytes header = mac(hosts[0].segment().mac_of(db.link()).str()) + mac(db.endpoint.mac.str()) +
                         be16(v4 ? kEtherIp4 : kEtherIp6);
    const Ip borrowed = web.address(v4), to = api.address(v4);
    at_db.send(header + ip(borrowed, to, kUdp, udp(borrowed, to, 4000, 80, bytes(mark))));
    CHECK(arrivals(at_api, mark) == 0);
  }
  CHECK(hosts[0].counters()["spoofed"] >= 2);
}
