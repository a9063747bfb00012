#include "microseg/render/host_table.h"

#include <utility>

#include "fragments.h"

namespace microseg::render {
namespace {

using namespace kstate;

// VXLAN's header follows the UDP header; its second word is the VNI and 8 reserved bits (RFC 7348, section 5).
constexpr unsigned kVniWord = 8 + 4;
// Before connection tracking and Docker's own chains.
constexpr std::int32_t kPriority = -300;

// IP protocols that carry packets: IPv4 and IPv6 in IP, GRE.
constexpr std::uint8_t kTunnelProtocols[] = {4, 41, 47};
// UDP ports that do: VXLAN, Geneve, VXLAN as Linux has it without a port.
constexpr std::uint16_t kTunnelPorts[] = {4789, 6081, 8472};

Fragment udp_to(std::uint16_t port) {
  return rule({transport_is(kUdp), {Payload{Base::transport, 2, 2, kScratch}, Cmp{kScratch, true, bytes_of_port(port).substr(0, 2)}}});
}
Fragment jump(const char* chain) { return {Verdict{Verdict::Kind::jump, chain}}; }

Rule from_peer(const Family& f, const char* peers) {
  return rule({is(f),
               {Payload{Base::network, f.source, f.length, 0}, Payload{Base::transport, kVniWord, 4, f.words()},
                ToNetworkOrder{f.words(), f.words()}, Lookup{peers, 0, std::nullopt}},
               accept()});
}

// The guard of the underlay: what comes to this host. Reassembly is done before the input hook, so fragments hide nothing;
// where it is not (IPv6, without connection tracking) the fragment with the UDP header has no word to find, or a wrong one.
void guard_underlay(Table& table, std::uint16_t port, const std::set<Tunnel>& tunnels) {
  std::set<Element> peers4, peers6;
  for (auto& [peer, vni] : tunnels)
    (peer.is_v4() ? peers4 : peers6)
        .insert({raw(peer) + bytes_of_mark(vni << 8), {}, {}});
  table.sets[kPeers4] = {{{Field::ipv4, Field::mark}, std::nullopt, false}, make_elements(std::move(peers4))};
  table.sets[kPeers6] = {{{Field::ipv6, Field::mark}, std::nullopt, false}, make_elements(std::move(peers6))};
  table.counters.insert("underlay");
  table.chains["underlay"] = {Hook{Hook::Place::input, kPriority, false},
                              {rule({came_by(kGatewayBridge), jump("tunnels")}),
                               rule({udp_to(port), go("vxlan")})}};
  // A container of this host can borrow a peer's address; its packets come in by another link than the peer's.
  const Rule borrowed = rule({{ReturnRoute{kScratch}, Cmp{kScratch, true, bytes_of_mark(0)}}, dropped("underlay")});
  table.chains["vxlan"] = {std::nullopt,
                           {borrowed, from_peer(kV4, kPeers4), from_peer(kV6, kPeers6), dropped("underlay")}};
}

// What containers send through this host, to others or to itself.
void guard_injection(Table& table, std::uint16_t port) {
  table.counters.insert("injected");
  table.chains["injected"] = {Hook{Hook::Place::forward, kPriority, false},
                              {rule({udp_to(port), dropped("injected")}),
                               rule({came_by(kGatewayBridge), jump("tunnels")})}};
  Chain tunnels;
  for (auto protocol : kTunnelProtocols) tunnels.rules.push_back(rule({transport_is(protocol), dropped("injected")}));
  tunnels.rules.push_back(rule({udp_to(port), dropped("injected")}));
  for (auto other : kTunnelPorts) tunnels.rules.push_back(rule({udp_to(other), dropped("injected")}));
  table.chains["tunnels"] = std::move(tunnels);
}

}  // namespace

Table host_table() {
  Table table;
  table.owner = Owner::us;
  return table;
}

void add_underlay(Table& table, std::uint16_t vxlan_port, const std::set<Tunnel>& tunnels) {
  guard_underlay(table, vxlan_port, tunnels);
  guard_injection(table, vxlan_port);
}

Table host_table(std::uint16_t vxlan_port, const std::set<Tunnel>& tunnels) {
  Table table = host_table();
  add_underlay(table, vxlan_port, tunnels);
  return table;
}

}  // namespace microseg::render
