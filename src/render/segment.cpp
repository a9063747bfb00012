#include "microseg/render/segment.h"

#include <algorithm>

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

Bytes raw(const Ip& ip) { return Bytes(ip.bytes().begin(), ip.bytes().end()); }

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
  link.mtu = network.settings.mtu;
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
      {kTag4, {{{Field::ifname, Field::ipv4}, Field::mark, false}, make_elements(std::move(tag4))}},
      {kTag6, {{{Field::ifname, Field::ipv6}, Field::mark, false}, make_elements(std::move(tag6))}},
      {kClass4, {{{Field::ipv4}, Field::mark, false}, make_elements(std::move(class4))}},
      {kClass6, {{{Field::ipv6}, Field::mark, false}, make_elements(std::move(class6))}},
      {kAllow, {{{Field::number, Field::number, Field::protocol, Field::port}, std::nullopt, true}, judgement.allow}},
  };
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
                const Judgement& judgement) {
  Segment out;
  out.sysctls = kSysctls;
  for (auto* endpoint : endpoints)
    if (endpoint->phase == model::Endpoint::Phase::joined)
      out.links.emplace(link_name(endpoint->id), link_of(network, *endpoint));
  out.table = table_of(network, endpoints, judgement);
  return out;
}

}  // namespace microseg::render
