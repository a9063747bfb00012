#include "microseg/render/ports_table.h"

#include <array>
#include <cstring>
#include <vector>

#include "fragments.h"

namespace microseg::render {
namespace {

using namespace kstate;

// A key  port . MAC . address  is put together in these registers.
constexpr unsigned kPort = 0, kMac = 1, kAddress = 3;
// Before whatever else looks at bridged frames (nft's names: dstnat -300, filter -200).
constexpr std::int32_t kPriority = -310;

constexpr std::uint16_t kIp = 0x0800, kArp = 0x0806, kIp6 = 0x86dd, kVlan = 0x8100, kServiceVlan = 0x88a8;
// Offsets: Ethernet; IPv4 (RFC 791), IPv6 (RFC 8200), ARP (RFC 826); the target in neighbour discovery (RFC 4861, 4.4).
constexpr unsigned kEtherSource = 6, kEtherType = 12, kTagControl = 14;
constexpr unsigned kSource4 = 12, kSource6 = 8, kArpMac = 8, kArpSender = 14, kTarget6 = 8;
// ICMPv6 types.
constexpr std::uint8_t kReport = 131, kDone = 132, kRouterSolicitation = 133, kRouterAdvertisement = 134,
                       kSolicitation = 135, kAdvertisement = 136, kRedirect = 137, kReport2 = 143;

Bytes be16(unsigned value) { return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)}; }

Fragment in(MetaKey port, const char* ports) { return {Meta{port, kScratch}, Lookup{ports, kScratch, std::nullopt}}; }
Fragment read_is(Base base, unsigned at, const Bytes& value) {
  return {Payload{base, at, static_cast<unsigned>(value.size()), kScratch}, Cmp{kScratch, true, value}};
}
// As it was sent: a tagged frame has its tag's type.
Fragment untagged(std::uint16_t type) { return read_is(Base::link, kEtherType, be16(type)); }
// What is inside the outer tag, where there is one.
Fragment carries(std::uint16_t type) { return {Meta{MetaKey::protocol, kScratch}, Cmp{kScratch, true, be16(type)}}; }
Fragment link_local(Base base, unsigned at) {
  return {Payload{base, at, 2, kScratch}, Mask{kScratch, kScratch, be16(0xffc0), be16(0)}, Cmp{kScratch, true, be16(0xfe80)}};
}
Fragment from_port_and_mac() { return {Meta{MetaKey::iif, kPort}, Payload{Base::link, kEtherSource, 6, kMac}}; }
// The address there is this port's, and is sent from its MAC.
Fragment bound(const char* set, Base base, unsigned at, unsigned length) {
  return rule({from_port_and_mac(), {Payload{base, at, length, kAddress}, Lookup{set, kPort, std::nullopt}}});
}
Fragment bound_mac() { return rule({from_port_and_mac(), {Lookup{kBoundMac, kPort, std::nullopt}}}); }
Rule borrowed(std::uint16_t type, unsigned at, unsigned length, const char* taken) {
  return rule({carries(type), {Payload{Base::network, at, length, kScratch}, Lookup{taken, kScratch, std::nullopt}},
               dropped("borrowed")});
}

// A stack of tags whose outer one is a mere priority is taken off whole, and what is inside is the host's to receive.
Rule priority_stack(std::uint16_t inner) {
  return rule({carries(inner),
               {Payload{Base::link, kTagControl, 2, kScratch}, Mask{kScratch, kScratch, be16(0x0fff), be16(0)},
                Cmp{kScratch, true, be16(0)}},
               dropped("borrowed")});
}

void add_chains(Table& table) {
  table.chains["ports"] = {
      Hook{Hook::Place::prerouting, kPriority, false},
      {rule({in(MetaKey::iif, kBoundPorts), go("bound")}), rule({in(MetaKey::iif, kElsewherePorts), accept()}),
       borrowed(kIp, kSource4, 4, kTaken4), borrowed(kArp, kArpSender, 4, kTaken4), borrowed(kIp6, kSource6, 16, kTaken6),
       rule({carries(kIp6), icmpv6_is(kAdvertisement),
             {Payload{Base::transport, kTarget6, 16, kScratch}, Lookup{kTaken6, kScratch, std::nullopt}},
             dropped("borrowed")}),
       priority_stack(kVlan), priority_stack(kServiceVlan)}};
  table.chains["bound"] = {
      std::nullopt,
      {rule({untagged(kIp), bound(kBound4, Base::network, kSource4, 4), accept()}),
       rule({untagged(kArp), bound(kBound4, Base::network, kArpSender, 4),
             {Payload{Base::network, kArpMac, 6, kMac}, Lookup{kBound4, kPort, std::nullopt}}, accept()}),
       rule({untagged(kIp6), go("bound_ipv6")}), dropped("spoofed")}};
  // A host must not take a container for a router, nor believe it about others.
  table.chains["bound_ipv6"] = {std::nullopt,
                                {rule({icmpv6_is(kRouterAdvertisement), dropped("spoofed")}),
                                 rule({icmpv6_is(kRedirect), dropped("spoofed")}),
                                 rule({icmpv6_is(kAdvertisement), go("advertised")}), go("bound_source")}};
  table.chains["advertised"] = {
      std::nullopt,
      {rule({bound(kBound6, Base::transport, kTarget6, 16), go("bound_source")}),
       rule({link_local(Base::transport, kTarget6), bound_mac(), go("bound_source")}), dropped("spoofed")}};
  table.chains["bound_source"] = {
      std::nullopt,
      {rule({bound(kBound6, Base::network, kSource6, 16), accept()}),
       rule({link_local(Base::network, kSource6), bound_mac(), go("neighbours")}),
       rule({read_is(Base::network, kSource6, Bytes(16, '\0')), bound_mac(), go("nameless")}), dropped("spoofed")}};
  // Nobody judges what comes from a link-local address: it must not be a way to the host's services.
  Chain neighbours, nameless;
  for (auto type : {kReport, kDone, kRouterSolicitation, kSolicitation, kAdvertisement, kReport2})
    neighbours.rules.push_back(rule({icmpv6_is(type), accept()}));
  for (auto type : {kSolicitation, kReport2}) nameless.rules.push_back(rule({icmpv6_is(type), accept()}));
  for (auto* chain : {&neighbours, &nameless}) chain->rules.push_back(dropped("spoofed"));
  table.chains["neighbours"] = std::move(neighbours);
  table.chains["nameless"] = std::move(nameless);
  table.chains["crossing"] = {Hook{Hook::Place::forward, kPriority, false},
                              {rule({in(MetaKey::iif, kBoundPorts), dropped("crossing")}),
                               rule({in(MetaKey::oif, kBoundPorts), dropped("crossing")})}};
}

Bytes raw(const Mac& mac) { return Bytes(mac.bytes().begin(), mac.bytes().end()) + Bytes(2, '\0'); }

PortIndex port_in(const Bytes& key) {
  PortIndex out = 0;
  std::memcpy(&out, key.data(), sizeof out);
  return out;
}

std::optional<Mac> mac_in(const Bytes& key) {
  static const SetType type{{Field::index, Field::mac}, std::nullopt, false};
  const auto text = to_text(type, {key.substr(0, 12), {}, {}});
  auto mac = Mac::parse(text.substr(text.rfind(' ') + 1));
  if (!mac) return std::nullopt;
  return mac.value();
}

}  // namespace

Table ports_table(const GatewayPorts& wanted, const std::set<PortIndex>& elsewhere) {
  std::set<Element> ports, others, bound4, bound6, macs, taken4, taken6;
  for (auto& port : elsewhere) others.insert({bytes_of_index(port), {}, {}});
  for (auto& ip : wanted.unplaced) (ip.is_v4() ? taken4 : taken6).insert({raw(ip), {}, {}});
  for (auto& [port, binding] : wanted.bound) {
    const Bytes sender = bytes_of_index(port) + raw(binding.mac);
    ports.insert({bytes_of_index(port), {}, {}});
    macs.insert({sender, {}, {}});
    for (auto& ip : binding.addresses) {
      (ip.is_v4() ? bound4 : bound6).insert({sender + raw(ip), {}, {}});
      (ip.is_v4() ? taken4 : taken6).insert({raw(ip), {}, {}});
    }
  }
  Table table;
  table.owner = Owner::us;
  auto set = [&](const char* name, std::vector<Field> key, std::set<Element>& elements) {
    table.sets[name] = {{std::move(key), std::nullopt, false}, make_elements(std::move(elements))};
  };
  set(kBoundPorts, {Field::index}, ports);
  set(kElsewherePorts, {Field::index}, others);
  set(kBoundMac, {Field::index, Field::mac}, macs);
  set(kBound4, {Field::index, Field::mac, Field::ipv4}, bound4);
  set(kBound6, {Field::index, Field::mac, Field::ipv6}, bound6);
  set(kTaken4, {Field::ipv4}, taken4);
  set(kTaken6, {Field::ipv6}, taken6);
  for (auto* counter : kPortCounters) table.counters.insert(counter);
  add_chains(table);
  return table;
}

std::set<Ip> taken_in(const Table& table) {
  std::set<Ip> out;
  auto each = [&](const char* name, auto bytes, auto make) {
    auto set = table.sets.find(name);
    if (set == table.sets.end()) return;
    for (auto& element : *set->second.elements) {
      if (element.key.size() != bytes.size()) continue;
      std::memcpy(bytes.data(), element.key.data(), bytes.size());
      out.insert(make(bytes));
    }
  };
  each(kTaken4, std::array<std::uint8_t, 4>{}, [](auto& bytes) { return Ip::v4(bytes); });
  each(kTaken6, std::array<std::uint8_t, 16>{}, [](auto& bytes) { return Ip::v6(bytes); });
  return out;
}

std::map<PortIndex, PortBinding> bindings_of(const Table& table) {
  std::map<PortIndex, PortBinding> out;
  auto each = [&](const char* name, std::size_t length, auto&& take) {
    auto set = table.sets.find(name);
    if (set == table.sets.end()) return;
    for (auto& element : *set->second.elements)
      if (element.key.size() == length) take(element.key);
  };
  each(kBoundMac, 12, [&](const Bytes& key) {
    if (auto mac = mac_in(key)) out.insert_or_assign(port_in(key), PortBinding{*mac, {}});
  });
  each(kBound4, 16, [&](const Bytes& key) {
    std::array<std::uint8_t, 4> ip{};
    std::memcpy(ip.data(), key.data() + 12, ip.size());
    if (auto port = out.find(port_in(key)); port != out.end()) port->second.addresses.insert(Ip::v4(ip));
  });
  each(kBound6, 28, [&](const Bytes& key) {
    std::array<std::uint8_t, 16> ip{};
    std::memcpy(ip.data(), key.data() + 12, ip.size());
    if (auto port = out.find(port_in(key)); port != out.end()) port->second.addresses.insert(Ip::v6(ip));
  });
  return out;
}

}  // namespace microseg::render
