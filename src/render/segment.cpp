#include "microseg/render/segment.h"

#include <algorithm>

#include "fragments.h"

namespace microseg::render {
namespace {

using namespace kstate;

// Where a pool has no gateway (Docker 28 can leave it out), the segment's end answers at these instead.
const Ip kNoGateway4 = Ip::v4({169, 254, 109, 115});
const Ip kNoGateway6 = Ip::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x6d, 0x73});

// The gateway of the pool that `address` is from.
Ip gateway_of(const model::Network& network, const Ip& address) {
  for (auto& subnet : network.subnets)
    if (subnet.gateway && subnet.pool.contains(address)) return *subnet.gateway;
  return address.is_v4() ? kNoGateway4 : kNoGateway6;
}

// FNV-1a: the same id gives the same number everywhere.
std::uint32_t hash_of(const std::string& id) {
  std::uint32_t h = 2166136261U;
  for (unsigned char c : id) h = (h ^ c) * 16777619U;
  return h;
}

// 32 bits that tell hosts apart: an IPv4 address, or an IPv6 one's hash.
std::uint32_t number_of(const Ip& host) {
  if (!host.is_v4()) return hash_of(host.str());
  std::uint32_t out = 0;
  for (auto byte : host.bytes()) out = out << 8 | byte;
  return out;
}


std::vector<Prefix> addresses_of(const model::Endpoint& endpoint) {
  std::vector<Prefix> out;
  if (endpoint.v4) out.push_back(*endpoint.v4);
  if (endpoint.v6) out.push_back(*endpoint.v6);
  return out;
}

Link link_of(const model::Network& network, const model::Endpoint& endpoint) {
  Link link;
  link.alias = "microseg:" + endpoint.id.str();
  link.mac = Mac::local(hash_of(network.id.str()));  // one gateway MAC per network: a restored link keeps it
  link.mtu = model::mtu_of(network);
  link.peer.mac = endpoint.mac;
  link.peer.sandbox = endpoint.sandbox;
  link.peer.prefix = network.settings.interface_prefix;
  link.peer.addresses = addresses_of(endpoint);
  link.peer.routes = container_routes(network, endpoint);
  for (auto& address : link.peer.addresses) {
    link.addresses.insert(Prefix::host(gateway_of(network, address.ip())));
    link.routes.insert(Prefix::host(address.ip()));
    link.neighbours.emplace(address.ip(), endpoint.mac);
  }
  return link;
}

// An element for every class, whoever is here: the remote side may be of any.
Set pairs_of(const Judgement& judgement) {
  std::set<Element> out;
  if (judgement.numbering)
    for (std::uint32_t n = judgement.numbering->base; n <= judgement.numbering->last(); ++n)
      out.insert(out.end(), {bytes_of_mark(n << 16) + bytes_of_mark(n), {}, {}});
  return {{{Field::mark, Field::mark}, std::nullopt, false}, make_elements(std::move(out))};
}

Table table_of(const model::Network& network, std::span<const model::Endpoint* const> endpoints,
               const Judgement& judgement) {
  std::set<Element> tag4, tag6, class4, class6;
  for (auto* endpoint : endpoints) {
    if (endpoint->phase != model::Endpoint::Phase::joined) continue;
    const std::uint16_t number = class_of(*endpoint, judgement);
    const Bytes link = bytes_of_ifname(link_name(endpoint->id).str());
    for (auto& address : addresses_of(*endpoint)) {
      const Bytes ip = raw(address.ip());
      (address.ip().is_v4() ? tag4 : tag6).insert({link + ip, {}, bytes_of_mark(number)});
      (address.ip().is_v4() ? class4 : class6).insert({ip, {}, bytes_of_mark(number)});
    }
  }
  Table table;
  table.sets = {
      {kV4.set(kTag), {{{Field::ifname, Field::ipv4}, Field::mark, false}, make_elements(std::move(tag4))}},
      {kV6.set(kTag), {{{Field::ifname, Field::ipv6}, Field::mark, false}, make_elements(std::move(tag6))}},
      {kV4.set(kClass), {{{Field::ipv4}, Field::mark, false}, make_elements(std::move(class4))}},
      {kV6.set(kClass), {{{Field::ipv6}, Field::mark, false}, make_elements(std::move(class6))}},
      {kAllow, {{{Field::number, Field::number, Field::protocol, Field::port}, std::nullopt, true}, judgement.allow}},
  };
  if (network.settings.spans_hosts()) table.sets[kPairs] = pairs_of(judgement);
  table.chains = chains(network.settings);
  for (auto* counter : kCounters) table.counters.insert(counter);
  return table;
}

// A segment routes and does nothing else: no redirects, no source routes, no autoconfiguration, and reverse-path
// filtering off because the tag map checks sources more strictly.
const std::map<std::string, std::string> kSysctls = {
    {"net/ipv4/ip_forward", "1"},
    {"net/ipv4/conf/all/rp_filter", "0"},
    {"net/ipv4/conf/default/rp_filter", "0"},
    {"net/ipv4/conf/all/send_redirects", "0"},
    {"net/ipv4/conf/default/send_redirects", "0"},
    {"net/ipv4/conf/all/accept_redirects", "0"},
    {"net/ipv4/conf/default/accept_redirects", "0"},
    {"net/ipv4/conf/all/accept_source_route", "0"},
    {"net/ipv4/conf/default/accept_source_route", "0"},
    // The tag map has proved the source already: asking whether it is one of ours is in vain as well.
    {"net/ipv4/conf/all/accept_local", "1"},
    {"net/ipv4/ip_forward_update_priority", "0"},
    // Nobody listens here, so looking for a local socket for every packet is in vain.
    {"net/ipv4/ip_early_demux", "0"},
    {"net/ipv4/tcp_early_demux", "0"},
    {"net/ipv4/udp_early_demux", "0"},
    // An answer for every refusal: at the default of one ICMP error a second a refused program waits for its timeout.
    {"net/ipv4/icmp_ratelimit", "0"},
    {"net/ipv6/icmp/ratelimit", "0"},
    {"net/ipv6/conf/all/disable_ipv6", "0"},
    {"net/ipv6/conf/default/disable_ipv6", "0"},
    {"net/ipv6/conf/all/forwarding", "1"},
    {"net/ipv6/conf/default/forwarding", "1"},
    {"net/ipv6/conf/default/accept_ra", "0"},
    {"net/ipv6/conf/default/accept_redirects", "0"},
    {"net/ipv6/conf/default/autoconf", "0"},
    {"net/ipv6/conf/default/addr_gen_mode", "1"},  // no link-local address: the gateway's is the only one
};

// Where a network spans hosts.
const std::map<std::string, std::string> kSpanningSysctls = {
    // The segment answers the other hosts' neighbour requests for its endpoints.
    {"net/ipv6/conf/all/proxy_ndp", "1"},
    {"net/ipv6/conf/default/proxy_ndp", "1"},
    // What a segment says itself must never bear a container's class.
    {"net/ipv4/fwmark_reflect", "0"},
    {"net/ipv6/fwmark_reflect", "0"},
    // The rest of a datagram that is still missing after so long, seconds, must not come from an address's next owner.
    {"net/ipv4/ipfrag_time", "2"},
    {"net/netfilter/nf_conntrack_frag6_timeout", "2"},
};

// The device's own addresses: other hosts must be able to tell who asks for a neighbour. IPv4 is this host's on the
// underlay, unless a container may have that one.
std::set<Prefix> own_addresses(const model::Network& network, const Ip& self) {
  const std::uint32_t number = number_of(self);
  auto octet = [&](int i) { return static_cast<std::uint8_t>(number >> (24 - 8 * i)); };
  bool usable = self.is_v4();
  for (auto& subnet : network.subnets) usable = usable && !subnet.pool.contains(self);
  const std::uint32_t folded = number ^ number >> 16;
  const Ip v4 = usable ? self
                       : Ip::v4({169, 254, static_cast<std::uint8_t>(folded >> 8), static_cast<std::uint8_t>(folded)});
  const Ip v6 = Ip::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0x6d, 0x73, octet(0), octet(1), octet(2), octet(3)});
  return {Prefix::host(v4), Prefix::host(v6)};
}

std::optional<Vxlan> vxlan_of(const model::Network& network, std::span<const model::Endpoint* const> endpoints,
                              std::uint16_t port) {
  auto& [self, peers] = network.underlay;
  if (!network.settings.spans_hosts() || !network.settings.vni || !self) return std::nullopt;
  Vxlan out;
  out.alias = "microseg:" + network.id.str();
  out.vni = *network.settings.vni;
  out.port = port;
  out.local = *self;
  out.mac = Mac::local(number_of(*self));
  out.mtu = model::mtu_of(network);
  out.addresses = own_addresses(network, *self);
  for (auto& subnet : network.subnets) out.routes.insert(subnet.pool.network());
  // A tunnel is of one family: a peer of the other one cannot be reached by it.
  for (auto& peer : peers)
    if (peer != *self && peer.is_v4() == self->is_v4()) out.peers.insert(peer);
  for (auto* endpoint : endpoints)
    if (endpoint->phase == model::Endpoint::Phase::joined)
      for (auto& address : addresses_of(*endpoint)) out.proxies.insert(address.ip());
  return out;
}

}  // namespace

Elements allow_elements(const std::vector<policy::Fact>& facts) {
  std::set<Element> out;
  auto key = [](std::uint16_t from, std::uint16_t to, std::uint16_t protocol, std::uint16_t port) {
    return bytes_of_number(from) + bytes_of_number(to) + bytes_of_protocol(static_cast<std::uint8_t>(protocol)) +
           bytes_of_port(port);
  };
  for (auto& f : facts)
    out.insert({key(f.from.first, f.to.first, f.protocol.first, f.port.first),
                key(f.from.last, f.to.last, f.protocol.last, f.port.last),
                {}});
  return make_elements(std::move(out));
}

std::uint16_t class_of(const model::Endpoint& endpoint, const Judgement& judgement) {
  if (!endpoint.identity || !judgement.numbering) return 0;
  if (judgement.needs_labels && endpoint.identity->container_id.empty()) return 0;
  return policy::class_of(*judgement.numbering, endpoint.identity->identity);
}

IfName link_name(const EndpointId& id) { return IfName::parse("ms" + id.brief()).value(); }

std::vector<PeerEnd::Route> container_routes(const model::Network& network, const model::Endpoint& endpoint) {
  std::vector<PeerEnd::Route> out;
  for (auto& address : addresses_of(endpoint)) {
    const Ip gateway = gateway_of(network, address.ip());
    out.push_back({Prefix::host(gateway), std::nullopt});
    for (auto& subnet : network.subnets) {
      if (subnet.pool.ip().is_v4() != address.ip().is_v4() || subnet.pool.length() >= address.ip().bits()) continue;
      for (auto& half : subnet.pool.halves()) {
        if (half == Prefix::host(address.ip()) || half == Prefix::host(gateway)) continue;  // of a /31 or /127
        out.push_back({half, gateway});
      }
    }
  }
  return out;
}

Mac default_mac(const EndpointId& id, const std::optional<Prefix>& v4) {
  if (!v4) return Mac::local(hash_of(id.str()));
  auto b = v4->ip().bytes();
  return Mac::local(static_cast<std::uint32_t>(b[0]) << 24 | static_cast<std::uint32_t>(b[1]) << 16 |
                    static_cast<std::uint32_t>(b[2]) << 8 | b[3]);
}

Segment segment(const model::Network& network, std::span<const model::Endpoint* const> endpoints,
                const Judgement& judgement, std::uint16_t vxlan_port) {
  Segment out;
  out.sysctls = kSysctls;
  if (network.settings.spans_hosts()) out.sysctls.insert(kSpanningSysctls.begin(), kSpanningSysctls.end());
  for (auto* endpoint : endpoints)
    if (endpoint->phase == model::Endpoint::Phase::joined)
      out.links.emplace(link_name(endpoint->id), link_of(network, *endpoint));
  out.vxlan = vxlan_of(network, endpoints, vxlan_port);
  out.table = table_of(network, endpoints, judgement);
  return out;
}

}  // namespace microseg::render
