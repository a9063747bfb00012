// What passes a segment and what does not, shown with real packets between containers.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/lab_packet.h"
#include "support/lab_segment.h"
#include "support/lab_traffic.h"

using namespace microseg;
using namespace microseg::lab;

namespace {

constexpr milliseconds kQuickly{300};  // an ICMP error or a reset, on a loaded machine
constexpr milliseconds kSoon{2000};

// web may speak to api, api to nobody; other is a bystander without any permission.
struct ThreeBoxes {
  Lab lab;
  NetworkId net;
  Box &web, &api, &other;

  explicit ThreeBoxes(const std::string& policy = "allow web -> api: 80, 80/udp, icmp", model::Options options = {})
      : net(lab.network({.options = with(std::move(options), policy)})),
        web(lab.run(net, "web", {"10.5.0.2/24", "fd05::2/64"})),
        api(lab.run(net, "api", {"10.5.0.3/24", "fd05::3/64"})),
        other(lab.run(net, "other", {"10.5.0.4/24", "fd05::4/64"})) {}

  static model::Options with(model::Options options, const std::string& policy) {
    options["microseg.policy"] = policy;
    return options;
  }

  // A frame as `box` sends it to its gateway, for forwarding.
  Bytes frame(const Box& box, const Bytes& packet) const {
    return ethernet(mac(lab.gateway_mac(box).str()), mac(box.endpoint.mac->str()),
                    packet[0] >> 4 == 4 ? kEtherIp4 : kEtherIp6, packet);
  }
  std::uint64_t count(const std::string& counter) const { return lab.counters(net).at(counter); }
};

// Whether a packet with `text`, sent before, was delivered: sends an allowed one after it on the same way and looks
// what came until that arrived.
bool came(ThreeBoxes& x, Tap& sender, const Box& from, Tap& receiver, const Box& to, std::string_view text) {
  static std::uint16_t port = 40000;
  const std::string marker = fresh_mark();
  sender.send(x.frame(from, ip(from.v4(), to.v4(), kUdp, udp(from.v4(), to.v4(), ++port, 80, bytes(marker)))));
  for (;;) {
    auto got = receiver.next(kSoon);
    REQUIRE_MESSAGE(got, "the marker, which is allowed, did not arrive");
    if (contains(got->frame, text)) return true;
    if (contains(got->frame, marker)) return false;
  }
}

}  // namespace

TEST_CASE("allowed connections are answered, all others refused quickly") {
  ThreeBoxes x;
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const Ip web = x.web.address(v4), api = x.api.address(v4), other = x.other.address(v4);
    CHECK(ask_tcp(x.web.netns, x.api.netns, api, 80) == "answered");
    CHECK(ask_udp(x.web.netns, x.api.netns, api, 80) == "answered");
    CHECK(ping(x.web.netns, api) == "answered");

    struct {
      std::string title;
      const Box &from, &to;
      Ip at;
      std::uint16_t port;
    } refused[] = {{"another port", x.web, x.api, api, 81},
                   {"the other way", x.api, x.web, web, 80},
                   {"from a bystander", x.other, x.api, api, 80},
                   {"to a bystander", x.web, x.other, other, 80}};
    for (auto& row : refused) {
      CAPTURE(row.title);
      auto began = std::chrono::steady_clock::now();
      CHECK(ask_tcp(row.from.netns, row.to.netns, row.at, row.port) == "ECONNREFUSED");
      // ICMP(v6) admin-prohibited, as Linux tells programs of it (icmp_err_convert, icmpv6_err_convert)
      CHECK(ask_udp(row.from.netns, row.to.netns, row.at, row.port) == (v4 ? "EHOSTUNREACH" : "EACCES"));
      CHECK(std::chrono::steady_clock::now() - began < kQuickly);
    }
    CHECK(ping(x.other.netns, api) == (v4 ? "EHOSTUNREACH" : "EACCES"));
    CHECK(ping(x.api.netns, web) == (v4 ? "EHOSTUNREACH" : "EACCES"));
  }
}

TEST_CASE("a refusal's answers are a reset for TCP and admin-prohibited for the rest") {
  ThreeBoxes x;
  Tap tap(x.other.netns);
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const Ip from = x.other.address(v4), to = x.api.address(v4);
    tap.send(x.frame(x.other, ip(from, to, kTcp, tcp(from, to, 41001, 80, 7, 0, kSyn))));
    bool reset = false;
    while (auto got = tap.next(reset ? milliseconds(0) : kSoon))
      if (auto v = view(got->frame); v && v->from == to && v->protocol == kTcp)
        reset = reset || (got->frame[v->transport + 13] & kRst);
    CHECK(reset);

    tap.send(x.frame(x.other, ip(from, to, kUdp, udp(from, to, 41002, 80, bytes("x")))));
    bool prohibited = false;
    while (auto got = tap.next(prohibited ? milliseconds(0) : kSoon))
      if (auto v = view(got->frame); v && v->protocol == (v4 ? kIcmp : kIcmpv6) && v->end > v->transport + 2) {
        const auto type = got->frame[v->transport], code = got->frame[v->transport + 1];
        prohibited = prohibited || (v4 ? type == 3 && code == 13 : type == 1 && code == 1);
      }
    CHECK(prohibited);
  }
}

TEST_CASE("deny=drop is silent") {
  ThreeBoxes x("allow web -> api: 80/udp", {{"microseg.deny", "drop"}});
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const auto before = x.count("refused");
    CHECK(ask_tcp(x.other.netns, x.api.netns, x.api.address(v4), 80, milliseconds(250)) == "no answer");
    CHECK(ask_udp(x.other.netns, x.api.netns, x.api.address(v4), 80, 32, milliseconds(250)) == "no question");
    CHECK(ping(x.other.netns, x.api.address(v4), 56, milliseconds(250)) == "no answer");
    CHECK(x.count("refused") >= before + 3);
  }
}

TEST_CASE("monitor lets pass what enforce refuses, and counts it") {
  ThreeBoxes x("allow web -> api: 80", {{"microseg.mode", "monitor"}});
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    auto before = x.lab.counters(x.net);
    CHECK(ask_udp(x.other.netns, x.api.netns, x.api.address(v4), 5353) == "answered");
    CHECK(ask_tcp(x.other.netns, x.web.netns, x.web.address(v4), 22) == "answered");
    auto after = x.lab.counters(x.net);
    CHECK(after["refused"] >= before["refused"] + 2);
    CHECK(after["allowed"] == before["allowed"]);
    before = after;
    CHECK(ask_tcp(x.web.netns, x.api.netns, x.api.address(v4), 80) == "answered");
    after = x.lab.counters(x.net);
    CHECK(after["refused"] == before["refused"]);
    CHECK(after["allowed"] == before["allowed"] + 1);
  }
}

TEST_CASE("counters tell refused, spoofed, quarantined, invalid and local packets apart") {
  ThreeBoxes x;
  auto& unknown = x.lab.run(x.net, "", {"10.5.0.9/24", "fd05::9/64"});
  Tap web(x.web.netns), other(x.other.netns), nobody(unknown.netns);
  for (bool v4 : {true, false}) {
    const Ip w = x.web.address(v4), a = x.api.address(v4), o = x.other.address(v4), u = unknown.address(v4);
    const Ip gateway = v4 ? Ip::v4({10, 5, 0, 1}) : need(Ip::parse("fd05::1"));
    auto datagram = [](const Ip& from, const Ip& to, std::uint16_t port) {
      return ip(from, to, kUdp, udp(from, to, 42000, port, bytes("counted")));
    };
    auto lone_ack = ip(w, a, kTcp, tcp(w, a, 42001, 80, 5, 5, kRst | kAck));
    struct {
      std::string counter;
      Tap& tap;
      const Box& sender;
      Bytes packet;
    } rows[] = {{"allowed", web, x.web, datagram(w, a, 80)},     {"refused", other, x.other, datagram(o, a, 80)},
                {"spoofed", other, x.other, datagram(w, a, 80)}, {"quarantined", nobody, unknown, datagram(u, a, 80)},
                {"quarantined", web, x.web, datagram(w, u, 80)}, {"invalid", web, x.web, lone_ack},
                {"local", web, x.web, datagram(w, gateway, 53)}};
    for (auto& row : rows) {
      CAPTURE(v4);
      CAPTURE(row.counter);
      auto before = x.lab.counters(x.net);
      row.tap.send(x.frame(row.sender, row.packet));
      std::map<std::string, std::uint64_t> after;
      for (const auto until = std::chrono::steady_clock::now() + kSoon; std::chrono::steady_clock::now() < until;)
        if (after = x.lab.counters(x.net); after != before) break;
      after.erase("linklocal");  // a kernel's own chatter
      before.erase("linklocal");
      ++before[row.counter];
      CHECK(after == before);
    }
  }
}

TEST_CASE("ICMP errors pass from a connection's own ends and from nobody else") {
  ThreeBoxes x;
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    const Ip w = x.web.address(v4), a = x.api.address(v4), o = x.other.address(v4);
    // Nobody listens at api's port 80: its kernel says so, and web's program hears it.
    const Address target(a, 80);
    auto socket = x.web.netns.socket(target.family(), SOCK_DGRAM, 0);
    must(::connect(socket.get(), target.get(), target.length) == 0, "connect");
    send_all(socket, "hello");
    CHECK(receive(socket) == "!ECONNREFUSED");

    // The bystander knows the connection and quotes it in an error of its own.
    const auto port = port_of(socket);
    const std::string forged = fresh_mark(), honest = fresh_mark();
    auto error = [&](const Ip& from, const std::string& mark) {
      const Bytes quoted = ip(w, a, kUdp, udp(w, a, port, 80, bytes(mark)));
      return ip(from, w, v4 ? kIcmp : kIcmpv6, icmp(from, w, v4 ? 3 : 1, v4 ? 3 : 4, 0, quoted));
    };
    Tap bystander(x.other.netns), web(x.web.netns), api(x.api.netns);
    const auto invalid = x.count("invalid"), spoofed = x.count("spoofed");
    bystander.send(x.frame(x.other, error(o, forged)));
    bystander.send(x.frame(x.other, error(a, forged)));  // and once under api's address
    api.send(x.frame(x.api, error(a, honest)));
    for (bool arrived = false; !arrived;) {
      auto got = web.next(kSoon);
      REQUIRE_MESSAGE(got, "the error from the connection's own end did not arrive");
      CHECK_FALSE(contains(got->frame, forged));
      arrived = contains(got->frame, honest);
    }
    CHECK(x.count("invalid") == invalid + 1);
    CHECK(x.count("spoofed") == spoofed + 1);
  }
}

TEST_CASE("datagrams in fragments: of an allowed flow they pass, of a refused one they do not") {
  ThreeBoxes x;
  for (bool v4 : {true, false})
    for (std::size_t size : {1472u, 1473u, 4000u, 9000u, 60000u}) {
      CAPTURE(v4);
      CAPTURE(size);
      CHECK(ask_udp(x.web.netns, x.api.netns, x.api.address(v4), 80, size) == "answered");
      CHECK(ask_udp(x.other.netns, x.api.netns, x.api.address(v4), 80, size) == (v4 ? "EHOSTUNREACH" : "EACCES"));
      CHECK(ask_udp(x.web.netns, x.api.netns, x.api.address(v4), 81, size) == (v4 ? "EHOSTUNREACH" : "EACCES"));
    }
}

TEST_CASE("hand-made fragments, in any order, are judged as the datagram that they are") {
  ThreeBoxes x;
  Tap web(x.web.netns), other(x.other.netns), api(x.api.netns);
  std::uint16_t id = 100;
  for (bool v4 : {true, false})
    for (bool last_first : {false, true})
      for (bool allowed : {true, false}) {
        CAPTURE(v4);
        CAPTURE(last_first);
        CAPTURE(allowed);
        auto& sender = allowed ? x.web : x.other;
        auto& tap = allowed ? web : other;
        const Ip from = sender.address(v4), to = x.api.address(v4);
        const std::string mark = fresh_mark();
        Bytes payload(64, '.');
        payload = payload + bytes(mark);
        const Bytes whole = udp(from, to, ++id, 80, payload);
        auto part = [&](std::size_t begin, std::size_t end, bool more) {
          const Bytes piece(whole.begin() + static_cast<long>(begin), whole.begin() + static_cast<long>(end));
          const auto offset = static_cast<std::uint16_t>(begin / 8);
          if (v4)
            return ip(from, to, kUdp, piece,
                      {.id = id, .fragment = static_cast<std::uint16_t>(offset | (more ? 0x2000 : 0))});
          return ip(from, to, 44,
                    Bytes{kUdp, 0} + be16(static_cast<std::uint32_t>(offset << 3 | (more ? 1 : 0))) + be32(id) + piece);
        };
        std::vector<Bytes> parts{part(0, 24, true), part(24, 48, true), part(48, whole.size(), false)};
        if (last_first) std::reverse(parts.begin(), parts.end());
        for (auto& p : parts) tap.send(x.frame(sender, p));
        if (allowed)
          CHECK(api.find(mark, kSoon));
        else
          CHECK_FALSE(came(x, web, x.web, api, x.api, mark));
      }
}

TEST_CASE("IPv6 extension headers hide no port") {
  ThreeBoxes x;
  Tap web(x.web.netns), other(x.other.netns), api(x.api.netns);
  const Bytes pad{1, 4, 0, 0, 0, 0};  // PadN over the rest of eight bytes
  struct {
    std::string title;
    std::uint8_t first;
    std::vector<std::uint8_t> chain;  // next headers after `first`, each eight bytes long
  } rows[] = {{"hop-by-hop options", 0, {kUdp}},
              {"destination options", 60, {kUdp}},
              {"both", 0, {60, kUdp}},
              {"destination options twice", 60, {60, kUdp}}};
  std::uint16_t source = 43000;
  for (auto& row : rows) {
    CAPTURE(row.title);
    auto packet = [&](const Box& from, std::uint16_t port, const std::string& mark) {
      Bytes headers;
      for (auto next : row.chain) headers = headers + Bytes{next, 0} + pad;
      return x.frame(from, ip(from.v6(), x.api.v6(), row.first,
                              headers + udp(from.v6(), x.api.v6(), ++source, port, bytes(mark))));
    };
    const auto allowed = fresh_mark(), wrong_port = fresh_mark(), wrong_sender = fresh_mark();
    web.send(packet(x.web, 80, allowed));
    CHECK(api.find(allowed, kSoon));
    web.send(packet(x.web, 81, wrong_port));
    CHECK_FALSE(came(x, web, x.web, api, x.api, wrong_port));
    other.send(packet(x.other, 80, wrong_sender));
    CHECK_FALSE(came(x, web, x.web, api, x.api, wrong_sender));
  }
}

TEST_CASE("ten megabytes over TCP arrive whole") {
  ThreeBoxes x;
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    auto listener = listen_tcp(x.api.netns, v4, 80);
    auto client = connect_tcp(x.web.netns, x.api.address(v4), 80);
    REQUIRE(client.outcome == "connected");
    auto served = accept_tcp(listener);
    std::string sent(10 << 20, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761U >> 24);
    std::string got;
    std::vector<char> part(1 << 20);
    for (std::size_t given = 0; got.size() < sent.size();) {
      const ssize_t out = ::send(client.socket.get(), sent.data() + given, sent.size() - given, MSG_DONTWAIT);
      if (out > 0) given += static_cast<std::size_t>(out);
      if (!readable(served, milliseconds(5000))) break;
      const ssize_t in = ::recv(served.get(), part.data(), part.size(), MSG_DONTWAIT);
      if (in <= 0) break;
      got.append(part.data(), static_cast<std::size_t>(in));
    }
    CHECK(got.size() == sent.size());
    CHECK(got == sent);
  }
}

TEST_CASE("nothing forged is delivered to anybody, whatever policy allows") {
  ThreeBoxes x("allow any -> any");
  Tap attacker(x.other.netns), web(x.web.netns), api(x.api.netns);
  const Bytes gateway = mac(x.lab.gateway_mac(x.other).str()), own = mac(x.other.endpoint.mac->str());
  const Bytes victim = mac(x.web.endpoint.mac->str()), target = mac(x.api.endpoint.mac->str());
  const Bytes everybody = mac("ff:ff:ff:ff:ff:ff"), made_up = mac("02:aa:bb:cc:dd:ee");
  const Ip w4 = x.web.v4(), a4 = x.api.v4(), o4 = x.other.v4(), w6 = x.web.v6(), a6 = x.api.v6(), o6 = x.other.v6();
  const Ip gateway4 = Ip::v4({10, 5, 0, 1}), stranger4 = Ip::v4({192, 0, 2, 7}),
           stranger6 = need(Ip::parse("2001:db8::7"));
  const Ip local6 = need(Ip::parse("fe80::1234"));
  const std::string mark = fresh_mark();
  auto from = [&](const Ip& source, const Ip& to) { return ip(source, to, kUdp, udp(source, to, 5, 80, bytes(mark))); };
  auto advertisement = [&](const Ip& source, const Ip& to, const Ip& claimed) {
    Bytes body(claimed.bytes().begin(), claimed.bytes().end());
    body = body + Bytes{2, 1} + own + bytes(mark);
    return ip(source, to, kIcmpv6, icmp(source, to, 136, 0, 0x20000000, body), {.ttl = 255});
  };
  auto multicast = [&](std::string_view to, std::string_view group_mac, const Ip& source) {
    return ethernet(mac(group_mac), own, source.is_v4() ? kEtherIp4 : kEtherIp6, from(source, need(Ip::parse(to))));
  };
  const Bytes honest = from(o4, a4);
  struct {
    std::string title;
    Bytes frame;
  } rows[] = {
      {"another's IPv4 source", ethernet(gateway, own, kEtherIp4, from(w4, a4))},
      {"another's IPv4 source and MAC", ethernet(gateway, victim, kEtherIp4, from(w4, a4))},
      {"the gateway's IPv4 source", ethernet(gateway, own, kEtherIp4, from(gateway4, a4))},
      {"a stranger's IPv4 source", ethernet(gateway, own, kEtherIp4, from(stranger4, a4))},
      {"IPv4 source 0.0.0.0", ethernet(gateway, own, kEtherIp4, from(Ip::v4({}), a4))},
      {"the receiver's own IPv4 source", ethernet(gateway, own, kEtherIp4, from(a4, a4))},
      {"IPv4 source 127.0.0.1", ethernet(gateway, own, kEtherIp4, from(Ip::v4({127, 0, 0, 1}), a4))},
      {"another's IPv6 source", ethernet(gateway, own, kEtherIp6, from(w6, a6))},
      {"a stranger's IPv6 source", ethernet(gateway, own, kEtherIp6, from(stranger6, a6))},
      {"a link-local IPv6 source", ethernet(gateway, own, kEtherIp6, from(local6, a6))},
      {"IPv6 source ::", ethernet(gateway, own, kEtherIp6, from(Ip::v6({}), a6))},
      {"to another's MAC", ethernet(target, own, kEtherIp4, honest)},
      {"to everybody's MAC", ethernet(everybody, own, kEtherIp4, honest)},
      {"IPv4 with IPv6's type", ethernet(gateway, own, kEtherIp6, honest)},
      {"ARP answer for the gateway",
       ethernet(everybody, own, kEtherArp, arp(2, own, gateway4, everybody, w4) + bytes(mark))},
      {"ARP answer for another", ethernet(target, own, kEtherArp, arp(2, own, w4, target, a4) + bytes(mark))},
      {"gratuitous ARP for another", ethernet(everybody, own, kEtherArp, arp(1, own, w4, everybody, w4) + bytes(mark))},
      {"neighbour advertisement for another", ethernet(gateway, own, kEtherIp6, advertisement(o6, a6, w6))},
      {"neighbour advertisement as another", ethernet(target, own, kEtherIp6, advertisement(w6, a6, w6))},
      {"neighbour advertisement to all",
       ethernet(mac("33:33:00:00:00:01"), own, kEtherIp6, advertisement(o6, need(Ip::parse("ff02::1")), w6))},
      {"VLAN tag", ethernet(gateway, own, kEtherVlan, be16(5) + be16(kEtherIp4) + honest)},
      {"VLAN priority tag with another's source",
       ethernet(gateway, own, kEtherVlan, be16(0) + be16(kEtherIp4) + from(w4, a4))},
      {"two VLAN tags",
       ethernet(gateway, own, 0x88a8, be16(5) + be16(kEtherVlan) + be16(5) + be16(kEtherIp4) + honest)},
      {"raw ethertype", ethernet(target, own, 0x88b5, bytes(mark))},
      {"raw ethertype to everybody", ethernet(everybody, own, 0x88b5, bytes(mark))},
      {"raw ethertype to the gateway", ethernet(gateway, own, 0x88b5, bytes(mark))},
      {"LLC", ethernet(mac("01:80:c2:00:00:00"), own, 38, Bytes{0x42, 0x42, 3} + bytes(mark))},
      {"MPLS", ethernet(gateway, own, 0x8847, Bytes{0, 0, 0x11, 64} + honest)},
      {"IPv4 multicast", multicast("224.0.0.251", "01:00:5e:00:00:fb", o4)},
      {"IPv4 multicast of wide scope", multicast("239.1.2.3", "01:00:5e:01:02:03", o4)},
      {"limited broadcast", ethernet(everybody, own, kEtherIp4, from(o4, Ip::v4({255, 255, 255, 255})))},
      {"the subnet's broadcast", ethernet(everybody, own, kEtherIp4, from(o4, Ip::v4({10, 5, 0, 255})))},
      {"the subnet's broadcast to the gateway", ethernet(gateway, own, kEtherIp4, from(o4, Ip::v4({10, 5, 0, 255})))},
      {"IPv6 multicast to all nodes", multicast("ff02::1", "33:33:00:00:00:01", o6)},
      {"IPv6 multicast of wide scope", multicast("ff0e::1:2", "33:33:00:01:00:02", o6)},
      {"IPv6 multicast to the gateway's MAC",
       ethernet(gateway, own, kEtherIp6, from(o6, need(Ip::parse("ff05::1:3"))))},
  };
  const auto neighbours = x.lab.segment(x.net).run("ip neigh show nud permanent");
  for (auto& row : rows) {
    CAPTURE(row.title);
    attacker.send(row.frame);
    CHECK_FALSE(came(x, attacker, x.other, api, x.api, mark));
    CHECK_FALSE(came(x, attacker, x.other, web, x.web, mark));
  }
  // A forged sender's MAC gets no further than the segment: it forwards under its own.
  const std::string passing = fresh_mark();
  attacker.send(ethernet(gateway, made_up, kEtherIp4, ip(o4, a4, kUdp, udp(o4, a4, 6, 80, bytes(passing)))));
  auto got = api.find(passing, kSoon);
  REQUIRE(got);
  CHECK(std::equal(gateway.begin(), gateway.end(), got->frame.begin() + 6));

  CHECK(x.lab.segment(x.net).run("ip neigh show nud permanent") == neighbours);
  for (auto* box : {&x.web, &x.api})
    CHECK(box->netns.run("ip neigh").find(x.other.endpoint.mac->str()) == std::string::npos);
  CHECK(ask_udp(x.api.netns, x.web.netns, w4, 80) == "answered");
  CHECK(ask_udp(x.api.netns, x.web.netns, w6, 80) == "answered");
}

TEST_CASE("the gateway answers who it is and nothing else") {
  ThreeBoxes x("allow any -> any");
  const Ip gateway4 = Ip::v4({10, 5, 0, 1}), gateway6 = need(Ip::parse("fd05::1"));
  CHECK(ping(x.web.netns, gateway4, 56, milliseconds(200)) == "no answer");
  CHECK(ping(x.web.netns, gateway6, 56, milliseconds(200)) == "no answer");
  for (auto& gateway : {gateway4, gateway6}) {
    CHECK(connect_tcp(x.web.netns, gateway, 22, milliseconds(200)).outcome == "no answer");
    // its own namespace's sockets are out of reach as well
    auto server = bind_udp(x.lab.segment(x.net), gateway.is_v4(), 53);
    const Address target(gateway, 53);
    auto asking = x.web.netns.socket(target.family(), SOCK_DGRAM, 0);
    must(::connect(asking.get(), target.get(), target.length) == 0, "connect");
    send_all(asking, "hello");
    CHECK(receive(server, milliseconds(200)) == "");
  }
  Tap web(x.web.netns);
  const Bytes own = mac(x.web.endpoint.mac->str()), nobody = mac("00:00:00:00:00:00");
  web.send(ethernet(mac("ff:ff:ff:ff:ff:ff"), own, kEtherArp, arp(1, own, x.web.v4(), nobody, gateway4)));
  bool answered = false;
  while (auto got = web.next(answered ? milliseconds(0) : kSoon))
    answered = answered || (number_at(got->frame, 12, 2) == kEtherArp && number_at(got->frame, 20, 2) == 2);
  CHECK(answered);

  const Ip group = need(Ip::parse("ff02::1:ff00:1"));
  Bytes body(gateway6.bytes().begin(), gateway6.bytes().end());
  body = body + Bytes{1, 1} + own;
  web.send(ethernet(mac("33:33:ff:00:00:01"), own, kEtherIp6,
                    ip(x.web.v6(), group, kIcmpv6, icmp(x.web.v6(), group, 135, 0, 0, body), {.ttl = 255})));
  answered = false;
  while (auto got = web.next(answered ? milliseconds(0) : kSoon))
    if (auto v = view(got->frame); v && v->protocol == kIcmpv6 && got->frame[v->transport] == 136)
      answered = answered || v->from == gateway6;
  CHECK(answered);
}

TEST_CASE("after a new generation a connection goes on, whichever end speaks first") {
  ThreeBoxes x("allow web -> api: 80, 80/udp");
  auto bump = [&] {  // something is taken away that concerns nobody here
    const auto before = x.lab.engine().networks().at(0).generation;
    x.lab.apply(x.net, "allow api -> web: 1");
    x.lab.apply(x.net, "");
    REQUIRE(x.lab.engine().networks().at(0).generation != before);
  };
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    auto listener = listen_tcp(x.api.netns, v4, 80);
    auto client = connect_tcp(x.web.netns, x.api.address(v4), 80);
    REQUIRE(client.outcome == "connected");
    auto served = accept_tcp(listener);
    for (auto* ends : {&served, &client.socket, &served}) {
      auto& other_end = ends == &served ? client.socket : served;
      bump();
      send_all(*ends, "again");
      CHECK(receive(other_end) == "again");
      send_all(other_end, "and back");
      CHECK(receive(*ends) == "and back");
    }
    auto server = bind_udp(x.api.netns, v4, 80);
    auto asking = bind_udp(x.web.netns, v4, 0);
    const Address to_api(x.api.address(v4), 80), to_web(x.web.address(v4), port_of(asking));
    must(::connect(asking.get(), to_api.get(), to_api.length) == 0, "connect");
    send_all(asking, "first");
    REQUIRE(receive(server) == "first");
    must(::connect(server.get(), to_web.get(), to_web.length) == 0, "connect");
    send_all(server, "answer");
    REQUIRE(receive(asking) == "answer");
    bump();
    send_all(server, "reply after a bump");
    CHECK(receive(asking) == "reply after a bump");
    bump();
    send_all(asking, "question after a bump");
    CHECK(receive(server) == "question after a bump");
  }
}

TEST_CASE("half-open TCP: a permission that goes takes the handshake along, any other change does not") {
  for (bool revoke : {false, true}) {
    CAPTURE(revoke);
    Lab lab;
    auto net = lab.network();
    auto& web = lab.run_mute(net, "web", {"10.5.0.2/24", "fd05::2/64"});
    auto& api = lab.run_mute(net, "api", {"10.5.0.3/24", "fd05::3/64"});
    Tap w(web.netns), a(api.netns);
    auto frame = [&](const Box& from, const Bytes& packet) {
      return ethernet(mac(lab.gateway_mac(from).str()), mac(from.endpoint.mac->str()),
                      packet[0] >> 4 == 4 ? kEtherIp4 : kEtherIp6, packet);
    };
    for (bool v4 : {true, false}) {
      CAPTURE(v4);
      lab.apply(net, "allow web -> api: 80\nallow x -> y: 1");
      const Ip from = web.address(v4), to = api.address(v4);
      const std::string data = fresh_mark();
      auto arrived = [](Tap& tap, std::uint8_t flags) {
        while (auto got = tap.next(milliseconds(250)))
          if (auto v = view(got->frame); v && v->protocol == kTcp && got->frame[v->transport + 13] == flags)
            return true;
        return false;
      };
      w.send(frame(web, ip(from, to, kTcp, tcp(from, to, 44000, 80, 100, 0, kSyn))));
      REQUIRE(arrived(a, kSyn));
      lab.apply(net, revoke ? "allow x -> y: 1" : "allow web -> api: 80");
      a.send(frame(api, ip(to, from, kTcp, tcp(to, from, 80, 44000, 900, 101, kSyn | kAck))));
      CHECK(arrived(w, kSyn | kAck) == !revoke);
      w.send(frame(web, ip(from, to, kTcp, tcp(from, to, 44000, 80, 101, 901, kAck))));
      CHECK(arrived(a, kAck) == !revoke);
      w.send(frame(web, ip(from, to, kTcp, tcp(from, to, 44000, 80, 101, 901, kAck, bytes(data)))));
      CHECK(a.find(data, milliseconds(250)).has_value() == !revoke);
    }
  }
}

TEST_CASE("two networks with the same subnets stay apart") {
  Lab lab;
  auto one = lab.network(), two = lab.network();
  for (auto& net : {one, two}) lab.apply(net, "allow any -> any");
  auto& web1 = lab.run(one, "web", {"10.5.0.2/24", "fd05::2/64"});
  auto& api1 = lab.run(one, "api", {"10.5.0.3/24", "fd05::3/64"});
  auto& web2 = lab.run(two, "web", {"10.5.0.2/24", "fd05::2/64"});
  auto& api2 = lab.run(two, "api", {"10.5.0.3/24", "fd05::3/64"});
  auto& only2 = lab.run(two, "only", {"10.5.0.4/24", "fd05::4/64"});
  Tap tap1(api1.netns), tap2(api2.netns);
  auto heard = [](Tap& tap) {  // beside what a kernel says on its own
    bool any = false;
    for (auto& got : tap.drain())
      if (auto v = view(got.frame); v) any = any || v->protocol == kTcp;
    return any;
  };
  for (bool v4 : {true, false}) {
    CAPTURE(v4);
    CHECK(ask_tcp(web1.netns, api1.netns, api1.address(v4), 80) == "answered");
    CHECK_FALSE(heard(tap2));
    CHECK(heard(tap1));
    CHECK(ask_tcp(web2.netns, api2.netns, api2.address(v4), 80) == "answered");
    CHECK_FALSE(heard(tap1));
    CHECK(heard(tap2));
    CHECK(ask_udp(web1.netns, only2.netns, only2.address(v4), 80, 32, milliseconds(200)) != "answered");
  }
}

TEST_CASE("pools of every shape") {
  struct {
    std::string title;
    std::vector<std::string> pools, one, other;
  } rows[] = {
      {"several pools",
       {"10.6.0.0/24 10.6.0.1", "10.7.0.0/16 10.7.0.1", "fd06::/64 fd06::1", "fd07::/48 fd07::1"},
       {"10.6.0.9/24", "fd06::9/64"},
       {"10.7.200.9/16", "fd07:0:0:9::9/48"}},
      {"/31 and /127 without gateways",
       {"10.8.0.0/31", "fd08::/127"},
       {"10.8.0.0/31", "fd08::/127"},
       {"10.8.0.1/31", "fd08::1/127"}},
      {"/30 and /126", {"10.8.0.0/30", "fd08::/126"}, {"10.8.0.1/30", "fd08::1/126"}, {"10.8.0.2/30", "fd08::2/126"}},
      {"without gateways", {"10.9.0.0/24", "fd09::/64"}, {"10.9.0.2/24", "fd09::2/64"}, {"10.9.0.3/24", "fd09::3/64"}},
      {"gateways at the end",
       {"10.9.0.0/24 10.9.0.254", "fd09::/64 fd09::ffff"},
       {"10.9.0.1/24", "fd09::1/64"},
       {"10.9.0.253/24", "fd09::fffe/64"}},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    Lab lab;
    auto net = lab.network({.pools = row.pools});
    lab.apply(net, "allow one -> other: 80, 80/udp");
    auto &one = lab.run(net, "one", row.one), &other = lab.run(net, "other", row.other);
    for (bool v4 : {true, false}) {
      CAPTURE(v4);
      CHECK(ask_tcp(one.netns, other.netns, other.address(v4), 80) == "answered");
      CHECK(ask_udp(one.netns, other.netns, other.address(v4), 80) == "answered");
      CHECK(ask_tcp(other.netns, one.netns, one.address(v4), 80) == "ECONNREFUSED");
    }
  }
}

TEST_CASE("one family alone, internal networks and a user's MAC") {
  const Mac chosen = need(Mac::parse("02:12:34:56:78:9a"));
  struct {
    std::string title;
    NetworkSpec spec;
    std::vector<std::string> one, other;
    std::optional<Mac> mac;
  } rows[] = {
      {"IPv4 alone", {.pools = {"10.5.0.0/24 10.5.0.1"}}, {"10.5.0.2/24"}, {"10.5.0.3/24"}, {}},
      {"IPv6 alone", {.pools = {"fd05::/64 fd05::1"}}, {"fd05::2/64"}, {"fd05::3/64"}, {}},
      {"internal", {.internal = true}, {"10.5.0.2/24", "fd05::2/64"}, {"10.5.0.3/24", "fd05::3/64"}, {}},
      {"a user's MAC", {}, {"10.5.0.2/24", "fd05::2/64"}, {"10.5.0.3/24", "fd05::3/64"}, chosen},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    Lab lab;
    auto net = lab.network(row.spec);
    lab.apply(net, "allow one -> other: 80");
    auto &one = lab.run(net, "one", row.one, row.mac), &other = lab.run(net, "other", row.other);
    if (row.mac) CHECK(one.netns.mac_of("eth0") == *row.mac);
    for (bool v4 : {true, false}) {
      if (v4 ? !one.endpoint.v4 : !one.endpoint.v6) continue;
      CAPTURE(v4);
      CHECK(ask_tcp(one.netns, other.netns, other.address(v4), 80) == "answered");
      CHECK(ask_tcp(other.netns, one.netns, one.address(v4), 80) == "ECONNREFUSED");
    }
    // The segment is the end of the world.
    if (one.endpoint.v4)
      CHECK(connect_tcp(one.netns, Ip::v4({192, 0, 2, 1}), 80, milliseconds(200)).outcome == "ENETUNREACH");
  }
}

TEST_CASE("the MTU option holds at both ends") {
  for (std::size_t mtu : {1280u, 1500u, 9000u, 65535u}) {
    CAPTURE(mtu);
    ThreeBoxes x("allow web -> api: 80, 80/udp, icmp", {{"com.docker.network.driver.mtu", std::to_string(mtu)}});
    const std::string wanted = " mtu " + std::to_string(mtu) + " ";
    CHECK(x.web.netns.run("ip link show eth0").find(wanted) != std::string::npos);
    CHECK(x.lab.segment(x.net).run("ip link show " + x.web.link()).find(wanted) != std::string::npos);
    CHECK(ping(x.web.netns, x.api.v4(), mtu - 28) == "answered");
    CHECK(ping(x.web.netns, x.api.v6(), std::min<std::size_t>(mtu, 65535) - 48) == "answered");
    CHECK(ask_udp(x.web.netns, x.api.netns, x.api.v4(), 80, mtu - 28) == "answered");
    CHECK(ask_tcp(x.web.netns, x.api.netns, x.api.v6(), 80) == "answered");
  }
}
