// The gateway bridge with real frames: who can use which address, and what a flushed firewall opens.
#include <doctest/doctest.h>

#include <net/if.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "microseg/kernel/kernel.h"
#include "microseg/reconcile/ports.h"
#include "support/lab_packet.h"
#include "support/lab_traffic.h"
#include "support/scenario.h"

using namespace microseg;
using namespace microseg::lab;
using microseg::kernel::kHostPorts;
using microseg::test::ip;
using kstate::GatewayPorts, kstate::PortIndex;

namespace {

const IfName kBridge = IfName::parse("docker_gwbridge").value();

struct Container {
  Container(const std::string& bridge, std::string port, unsigned n, const std::string& net4, const std::string& net6)
      : link(std::move(port)), v4(ip(net4 + "." + std::to_string(n))), v6(ip(net6 + "::" + std::to_string(n))),
        shown_("container " + link, [this] { return describe(netns); }) {
    host().run("ip link add " + link + " type veth peer name eth1 netns " + netns.path() + " && ip link set " + link +
               " master " + bridge + " up");
    netns.run("ip link set eth1 up && ip address add " + v4.str() + "/24 dev eth1 && ip -6 address add " + v6.str() +
              "/64 dev eth1 nodad && ip route add default via " + net4 + ".1");
    host().await(link);
    host().await(bridge);
    index = if_nametoindex(link.c_str());
    tap = std::make_unique<Tap>(netns, "eth1");
  }
  ~Container() { (void)host().output_of("ip link del " + link); }
  kstate::PortBinding binding() const { return {netns.mac_of("eth1"), {v4, v6}}; }
  Bytes mac() const { return lab::mac(netns.mac_of("eth1").str()); }

  Netns netns;
  std::string link;
  Ip v4, v6;
  PortIndex index = 0;
  std::unique_ptr<Tap> tap;

 private:
  Shown shown_;
};

// A host with Docker's gateway bridge and another bridge that has the same addresses.
struct Setting {
  struct Bridges {
    Bridges() {
      for (auto* name : {"docker_gwbridge", "br-other"})
        host().run(std::string("ip link add ") + name + " type bridge && ip link set " + name + " up");
      host().run("ip address add 172.18.0.1/24 dev docker_gwbridge && "
                 "ip -6 address add fd18::1/64 dev docker_gwbridge nodad");
    }
    ~Bridges() { (void)host().output_of("ip link del docker_gwbridge; ip link del br-other; nft delete table bridge microseg"); }
  } bridges;
  Container a{"docker_gwbridge", "vetha", 3, "172.18.0", "fd18"}, b{"docker_gwbridge", "vethb", 4, "172.18.0", "fd18"},
      f{"docker_gwbridge", "vethf", 5, "172.18.0", "fd18"}, g{"docker_gwbridge", "vethg", 6, "172.18.0", "fd18"},
      p{"br-other", "vethp", 3, "172.18.0", "fd18"}, q{"br-other", "vethq", 4, "172.18.0", "fd18"};
  Tap at_host{host(), "docker_gwbridge"};
  Shown shown{"host", [] { return describe(host()); }};
  std::unique_ptr<kernel::Kernel> kernel = kernel::make_linux_kernel("/tmp/segments").value();

  GatewayPorts wanted() const { return {kBridge, {{a.index, a.binding()}, {b.index, b.binding()}}, {ip("172.18.0.9")}}; }
  kstate::Segment observed() {
    auto out = kernel->observe(kHostPorts, {});
    if (!out) fail(out.error().text);
    return std::move(out).value();
  }
  void become(const std::optional<GatewayPorts>& ports) {
    for (auto& op : reconcile::plan_ports(ports, observed()))
      if (auto done = kernel->apply(kHostPorts, op); !done) fail(done.error().text);
  }
  std::map<std::string, Tap*> taps() {
    return {{"host", &at_host}, {"a", a.tap.get()}, {"b", b.tap.get()}, {"f", f.tap.get()}, {"g", g.tap.get()},
            {"p", p.tap.get()}, {"q", q.tap.get()}};
  }
};

const Bytes kEverybody = mac("ff:ff:ff:ff:ff:ff"), kAllNodes = mac("33:33:00:00:00:01"), kLldp = mac("01:80:c2:00:00:0e");

struct Forged {
  std::string title;
  Bytes frame;           // with its mark as text
  bool borrows = true;   // an address of another's: no foreign port may send it either
  bool thieves = false;  // the MAC of another's: the bridge may believe it
};

class Forger {
 public:
  Forger(Setting& s, Container& from, Container& like) : s_(s), from_(from), like_(like) {}

  // What lies, one way or the other: nobody should get any of it when `from` is a port of ours.
  std::vector<Forged> lies() {
    std::vector<Forged> out;
    const Ip gate4 = ip("172.18.0.1"), gate6 = ip("fd18::1"), ll = ip("fe80::99"), all = ip("ff02::1");
    bool borrows = true;
    const Bytes own = from_.mac(), theirs = like_.mac(), gate = lab::mac(host().mac_of("docker_gwbridge").str());
    auto add = [&](const std::string& title, const Bytes& to, const Bytes& source, std::uint16_t type, auto&& payload) {
      if (to == source) return;  // no bridge sends that back
      const auto mark = bytes(fresh_mark());
      out.push_back({title, ethernet(to, source, type, payload(mark)), borrows, source == theirs});
      marks_.emplace_back(title, std::string(mark.begin(), mark.end()));
    };
    auto packet = [](const Ip& from, const Ip& to) {
      return [=](const Bytes& mark) { return lab::ip(from, to, kUdp, udp(from, to, 4000, 6000, mark)); };
    };
    auto tagged = [](std::vector<std::uint32_t> tags, std::uint16_t type, auto payload) {
      return [=](const Bytes& mark) {
        Bytes head;
        for (auto tag : tags) head = head + be32(tag);
        head.erase(head.begin(), head.begin() + 2);  // the first tag's type is the frame's
        return head + be16(type) + payload(mark);
      };
    };
    auto claim = [](std::uint16_t operation, const Bytes& who, const Ip& sender, const Ip& target) {
      return [=](const Bytes& mark) { return arp(operation, who, sender, mac("00:00:00:00:00:00"), target) + mark; };
    };
    auto nd = [](const Ip& from, const Ip& to, std::uint8_t type, const Ip& target) {
      return [=](const Bytes& mark) {
        const Bytes body = Bytes(target.bytes().begin(), target.bytes().end()) + mark;
        return lab::ip(from, to, kIcmpv6, icmp(from, to, type, 0, type == 136 ? 0x20000000U : 0U, body), {.ttl = 255});
      };
    };
    for (auto& [place, to] : {std::pair<std::string, Bytes>{"gateway", gate}, {"everybody", kEverybody}, {"peer", theirs}}) {
      add("ipv4 another's to " + place, to, own, kEtherIp4, packet(like_.v4, gate4));
      add("ipv4 another's with its MAC to " + place, to, theirs, kEtherIp4, packet(like_.v4, gate4));
      add("ipv4 unplaced to " + place, to, own, kEtherIp4, packet(ip("172.18.0.9"), gate4));
      add("ipv6 another's to " + place, to, own, kEtherIp6, packet(like_.v6, gate6));
      add("ipv6 another's with its MAC to " + place, to, theirs, kEtherIp6, packet(like_.v6, gate6));
      add("arp request another's to " + place, to, own, kEtherArp, claim(1, own, like_.v4, gate4));
      add("arp reply another's to " + place, to, own, kEtherArp, claim(2, own, like_.v4, gate4));
      add("arp reply another's MAC to " + place, to, theirs, kEtherArp, claim(2, theirs, like_.v4, gate4));
      add("na another's to " + place, to, own, kEtherIp6, nd(from_.v6, all, 136, like_.v6));
      add("na from another's to " + place, to, own, kEtherIp6, nd(like_.v6, all, 136, like_.v6));
      add("na link-local source to " + place, to, own, kEtherIp6, nd(ll, all, 136, like_.v6));
      add("ns from another's to " + place, to, own, kEtherIp6, nd(like_.v6, all, 135, gate6));
      add("vlan 0 another's to " + place, to, own, kEtherVlan, tagged({0x81000000}, kEtherIp4, packet(like_.v4, gate4)));
      add("vlan 0 twice another's to " + place, to, own, kEtherVlan,
          tagged({0x81000000, 0x81000000}, kEtherIp4, packet(like_.v4, gate4)));
      add("vlan 0 arp another's to " + place, to, own, kEtherVlan,
          tagged({0x81000000}, kEtherArp, claim(2, own, like_.v4, gate4)));
      add("vlan 0 na another's to " + place, to, own, kEtherVlan,
          tagged({0x81000000}, kEtherIp6, nd(from_.v6, all, 136, like_.v6)));
    }
    borrows = false;
    for (auto& [place, to] : {std::pair<std::string, Bytes>{"gateway", gate}, {"everybody", kEverybody}, {"peer", theirs}}) {
      add("ipv4 outside to " + place, to, own, kEtherIp4, packet(ip("192.0.2.9"), gate4));
      add("ipv4 gateway's to " + place, to, own, kEtherIp4, packet(gate4, from_.v4));
      add("ipv4 nobody's to " + place, to, own, kEtherIp4, packet(ip("0.0.0.0"), gate4));
      add("ipv4 own, another MAC to " + place, to, theirs, kEtherIp4, packet(from_.v4, gate4));
      add("ipv6 outside to " + place, to, own, kEtherIp6, packet(ip("2001:db8::9"), gate6));
      add("ipv6 link-local udp to " + place, to, own, kEtherIp6, packet(ll, gate6));
      add("ipv6 nobody's udp to " + place, to, own, kEtherIp6, packet(ip("::"), gate6));
      add("ipv6 own, another MAC to " + place, to, theirs, kEtherIp6, packet(from_.v6, gate6));
      add("arp gateway's to " + place, to, own, kEtherArp, claim(2, own, gate4, gate4));
      add("arp own address, another MAC inside to " + place, to, own, kEtherArp, claim(2, theirs, from_.v4, gate4));
      add("na gateway's to " + place, to, own, kEtherIp6, nd(from_.v6, all, 136, gate6));
      add("ra to " + place, to, own, kEtherIp6, nd(ll, all, 134, gate6));
      add("ra own to " + place, to, own, kEtherIp6, nd(from_.v6, all, 134, gate6));
      add("redirect to " + place, to, own, kEtherIp6, nd(from_.v6, all, 137, gate6));
      add("vlan 5 own to " + place, to, own, kEtherVlan, tagged({0x81000005}, kEtherIp4, packet(from_.v4, gate4)));
      add("vlan 0 own to " + place, to, own, kEtherVlan, tagged({0x81000000}, kEtherIp4, packet(from_.v4, gate4)));
      add("qinq to " + place, to, own, 0x88a8, tagged({0x88a80064, 0x81000005}, kEtherIp4, packet(from_.v4, gate4)));
      for (auto type : {0x88b5, 0x8863, 0x8847, 0x888e, 0x22f0, 0x6558, 0x0026 /* an 802.3 length */})
        add("ethertype " + std::to_string(type) + " to " + place, to, own, static_cast<std::uint16_t>(type),
            [](const Bytes& mark) { return mark + Bytes(24, 0); });
    }
    std::stable_partition(out.begin(), out.end(), [](const Forged& f) { return !f.thieves; });
    return out;
  }
  std::vector<Forged> borrowings() {
    auto out = lies();
    std::erase_if(out, [](const Forged& f) { return !f.borrows; });
    return out;
  }

  // Sends all from `from`; by title, who got it. An honest frame at the end tells that all before it were dealt with.
  std::map<std::string, std::set<std::string>> send(const std::vector<Forged>& frames) {
    for (auto& [_, tap] : s_.taps()) (void)tap->drain();
    for (auto& forged : frames) from_.tap->send(forged.frame);
    const auto last = fresh_mark();
    const Bytes gate = lab::mac(host().mac_of("docker_gwbridge").str());
    from_.tap->send(ethernet(gate, from_.mac(), kEtherIp4,
                             lab::ip(from_.v4, ip("172.18.0.1"), kUdp,
                                     udp(from_.v4, ip("172.18.0.1"), 4000, 6000, bytes(last)))));
    std::map<std::string, std::set<std::string>> out;
    auto taps = s_.taps();
    // The host's own word that nobody listens there quotes what it is about.
    auto is_error = [](const Bytes& frame) {
      const auto seen = view(frame);
      return seen && ((seen->protocol == kIcmp && frame.at(seen->transport) == 3) ||
                      (seen->protocol == kIcmpv6 && frame.at(seen->transport) == 1));
    };
    auto note = [&](const std::string& who, const Bytes& frame) {
      if (is_error(frame)) return;
      for (auto& [title, mark] : marks_)
        if (contains(frame, mark)) out[title].insert(who);
    };
    for (bool done = false; !done;) {
      auto got = s_.at_host.next(milliseconds(5000));
      if (!got) fail("the honest frame did not arrive");
      note("host", got->frame);
      done = contains(got->frame, last);
    }
    for (auto& [who, tap] : taps)
      for (auto& got : tap->drain()) note(who, got.frame);
    return out;
  }

 private:
  Setting& s_;
  Container &from_, &like_;
  std::vector<std::pair<std::string, std::string>> marks_;
};

std::string text(const std::map<std::string, std::set<std::string>>& got) {
  std::string out;
  for (auto& [title, who] : got) {
    out += title + ":";
    for (auto& w : who) out += " " + w;
    out += "\n";
  }
  return out;
}

// An echo of IPv4 and of IPv6.
std::string reach(const Container& from, const Container& to) {
  return ping(from.netns, to.v4, 56, milliseconds(300)) + " " + ping(from.netns, to.v6, 56, milliseconds(300));
}

}  // namespace

TEST_CASE("nothing forged leaves a port of ours") {
  Setting s;
  // Without us all of it goes somewhere, or the zero below would say nothing.
  {
    Forger forger(s, s.a, s.b);
    const auto frames = forger.lies();
    const auto got = forger.send(frames);
    CHECK_MESSAGE(got.size() == frames.size(), text(got));
  }
  host().run("ip neigh flush dev docker_gwbridge");  // the host has believed it
  s.become(s.wanted());
  for (auto [from, like] : {std::pair{&s.a, &s.b}, {&s.b, &s.a}, {&s.a, &s.f}}) {
    Forger forger(s, *from, *like);
    const auto got = forger.send(forger.lies());
    CHECK_MESSAGE(got.empty(), text(got));
  }
  CHECK(s.kernel->counters(kHostPorts)->at("spoofed") > 200);
  // And honest traffic is as before.
  for (auto* from : {&s.a, &s.b}) {
    CHECK(ping(from->netns, ip("172.18.0.1")) == "answered");
    CHECK(ping(from->netns, ip("fd18::1")) == "answered");
    CHECK(ping(host(), from->v4) == "answered");
    CHECK(ping(host(), from->v6) == "answered");
  }
}

TEST_CASE("no other port uses an address of ours, and foreign frames are as without us") {
  Setting s;
  // Honest and dishonest frames among foreign containers.
  auto foreign = [&] {
    Forger forger(s, s.f, s.g);
    auto got = forger.send(forger.lies());
    // But for these: the address that is ours at an unknown port, and a stack of priority tags, which hides what it carries.
    std::erase_if(got, [](auto& entry) {
      return entry.first.starts_with("ipv4 unplaced") || entry.first.starts_with("vlan 0 twice");
    });
    // Ours hear nothing of it any more.
    for (auto& [_, who] : got)
      for (auto* ours : {"a", "b"}) who.erase(ours);
    host().run("ip neigh flush dev docker_gwbridge");
    return text(got) + reach(s.f, s.g) + reach(s.g, s.f) + reach(s.p, s.q);
  };
  const auto before = foreign();
  s.become(s.wanted());
  CHECK(foreign() == before);
  CHECK(s.kernel->counters(kHostPorts)->at("borrowed") == 6);  // those two, thrice
  {
    Forger forger(s, s.f, s.a);
    const auto got = forger.send(forger.borrowings());
    CHECK_MESSAGE(got.empty(), text(got));
  }
  // The other bridge has containers with the same addresses.
  CHECK(reach(s.p, s.q) == "answered answered");
  // A port that nobody has told us of yet cannot either.
  Container late("docker_gwbridge", "vethz", 7, "172.18.0", "fd18");
  Forger forger(s, late, s.a);
  const auto got = forger.send(forger.borrowings());
  CHECK_MESSAGE(got.empty(), text(got));
}

TEST_CASE("the bridge is not told that a container's MAC is elsewhere") {
  Setting s;
  // A new link tells of its IPv6 addresses and groups for seconds, and with each such frame its bridge learns anew where it is.
  for (auto* c : {&s.a, &s.b, &s.f}) c->netns.run("sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1");
  auto steal = [&](Container& thief, const Container& victim) -> std::string {
    // Of all frames these alone pass no hook on their way to the bridge's memory.
    for (int i = 0; i < 3; ++i) thief.tap->send(ethernet(kLldp, victim.mac(), 0x88cc, bytes(fresh_mark()) + Bytes(46, 0)));
    const auto table = host().run("bridge fdb show br docker_gwbridge");
    const auto at = table.find(victim.netns.mac_of("eth1").str());
    if (at == std::string::npos) return "nowhere";
    return table.substr(at, table.find('\n', at) - at).find(victim.link) != std::string::npos ? "home" : "stolen";
  };
  CHECK(ping(host(), s.b.v4) == "answered");
  CHECK(steal(s.a, s.b) == "stolen");
  CHECK(ping(s.b.netns, ip("172.18.0.1")) == "answered");
  s.become(s.wanted());
  CHECK(ping(host(), s.f.v4) == "answered");
  CHECK(steal(s.a, s.b) == "home");
  CHECK(steal(s.f, s.b) == "home");
  CHECK(steal(s.a, s.f) == "home");
  CHECK(ping(host(), s.b.v4) == "answered");
}

TEST_CASE("ports of ours reach nobody past the host, and a flushed firewall opens nothing between them") {
  Setting s;
  CHECK(reach(s.a, s.b) == "answered answered");
  s.become(s.wanted());
  for (auto [from, to] : {std::pair{&s.a, &s.b}, {&s.b, &s.a}, {&s.a, &s.f}, {&s.f, &s.a}})
    CHECK(reach(*from, *to) != "answered answered");
  CHECK(reach(s.f, s.g) == "answered answered");
  auto closed = [&] {
    for (auto [from, to] : {std::pair{&s.a, &s.b}, {&s.b, &s.a}}) {
      const auto got = reach(*from, *to);
      CHECK(got.find("answered") != 0);
      CHECK(got.find(" answered") == std::string::npos);
    }
    CHECK(reach(s.f, s.g) == "answered answered");
    CHECK(ping(s.a.netns, ip("172.18.0.1")) == "answered");
  };
  host().run("nft flush ruleset; iptables -F 2>/dev/null; ip6tables -F 2>/dev/null; true");
  closed();
  CHECK(reconcile::plan_ports(s.wanted(), s.observed()).empty());
  s.kernel.reset();  // nobody owns the table now
  host().run("nft flush ruleset; iptables -F 2>/dev/null; ip6tables -F 2>/dev/null; true");
  REQUIRE(host().run("nft list tables bridge").empty());
  closed();
  s.kernel = kernel::make_linux_kernel("/tmp/segments").value();
  s.become(s.wanted());
  s.become(std::nullopt);
  CHECK(reach(s.a, s.b) == "answered answered");
}
