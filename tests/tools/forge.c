// forge REPEAT IFACE OWN4 FRIEND4 VICTIM4 GATEWAY4 OWN6 FRIEND6 VICTIM6 GATEWAY6 OWNMAC FRIENDMAC VICTIMMAC GATEWAYMAC
//
// What a container with NET_RAW can put on its wire: every frame lies about something, and each carries a mark with
// the name of the lie. Port 5000/udp at the victim is open to us, port 6000 only to the friend. The kinds that begin
// with "honest" do not lie; they prove that what is true arrives. Prints {"kind":frames sent, ...}.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include "common.h"

static uint8_t own_mac[6], friend_mac[6], victim_mac[6], gateway_mac[6];
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255}, all_nodes6[6] = {0x33, 0x33, 0, 0, 0, 1},
                     multicast4[6] = {1, 0, 0x5e, 0, 0, 1}, bridges[6] = {1, 0x80, 0xc2, 0, 0, 0};
static uint8_t frame[1600];
static size_t size;
static int fd, repeat;
static struct sockaddr_ll to;
static bool first_kind = true;
static char mark[64];

static void bytes(const void* data, size_t n) {
  memcpy(frame + size, data, n);
  size += n;
}
static void u8(unsigned v) { frame[size++] = (uint8_t)v; }
static void u16(unsigned v) {
  u8(v >> 8);
  u8(v & 255);
}

static uint32_t sum(const uint8_t* p, size_t n, uint32_t start) {
  for (size_t i = 0; i < n; ++i) start += i & 1 ? p[i] : (uint32_t)p[i] << 8;
  return start;
}
static unsigned fold(uint32_t s) {
  while (s >> 16) s = (s & 0xffff) + (s >> 16);
  return ~s & 0xffff;
}
static void put_sum(size_t at, unsigned value) {
  frame[at] = (uint8_t)(value >> 8);
  frame[at + 1] = (uint8_t)value;
}

static void eth(const uint8_t* dst, const uint8_t* src) {
  size = 0;
  bytes(dst, 6);
  bytes(src, 6);
}
static void start(const char* kind) { snprintf(mark, sizeof mark, "MSFORGED:%s\n", kind); }
static void say(void) { bytes(mark, strlen(mark)); }

static void fire(void) {
  while (size < 60) u8(0);
  int sent = 0;
  for (int i = 0; i < repeat; ++i) {
    memcpy(to.sll_addr, frame, 6);
    sent += sendto(fd, frame, size, 0, (struct sockaddr*)&to, sizeof to) == (ssize_t)size;
    usleep(50);
  }
  char kind[64];
  sscanf(mark, "MSFORGED:%63[^\n]", kind);
  printf("%s\"%s\":%d", first_kind ? "{" : ",", kind, sent);
  first_kind = false;
}

// An IPv4 header; close4 fills in length and checksum.
static size_t ip4(const char* src, const char* dst, unsigned protocol, unsigned fragment, const uint8_t* options,
                  size_t option_size) {
  const size_t at = size;
  u8(0x45 + (unsigned)option_size / 4);
  u8(0);
  u16(0);
  u16(0x4d53);
  u16(fragment);
  u8(64);
  u8(protocol);
  u16(0);
  struct in_addr a;
  inet_pton(AF_INET, src, &a);
  bytes(&a, 4);
  inet_pton(AF_INET, dst, &a);
  bytes(&a, 4);
  bytes(options, option_size);
  return at;
}
static void close4(size_t at) {
  put_sum(at + 2, (unsigned)(size - at));
  put_sum(at + 10, fold(sum(frame + at, (frame[at] & 15u) * 4, 0)));
}
static size_t ip6(const char* src, const char* dst, unsigned next) {
  const size_t at = size;
  u8(0x60);
  u8(0);
  u16(0);
  u16(0);
  u8(next);
  u8(255);
  struct in6_addr a;
  inet_pton(AF_INET6, src, &a);
  bytes(&a, 16);
  inet_pton(AF_INET6, dst, &a);
  bytes(&a, 16);
  return at;
}
// Length, and the checksum of the transport header at `transport`, whose checksum field is at `field`.
static void close6(size_t at, size_t transport, size_t field, unsigned protocol) {
  put_sum(at + 4, (unsigned)(size - at - 40));
  put_sum(field, fold(sum(frame + transport, size - transport,
                          sum(frame + at + 8, 32, protocol + (uint32_t)(size - transport)))));
}
static void udp(unsigned port) {  // without a checksum, as IPv4 permits
  const unsigned length = 8 + (unsigned)strlen(mark);
  u16(40000);
  u16(port);
  u16(length);
  u16(0);
  say();
}

static void udp4(const char* kind, const uint8_t* dst_mac, const uint8_t* src_mac, const char* src, const char* dst,
                 unsigned port) {
  start(kind);
  eth(dst_mac, src_mac);
  u16(ETH_P_IP);
  const size_t at = ip4(src, dst, IPPROTO_UDP, 0, NULL, 0);
  udp(port);
  close4(at);
  fire();
}
static void udp6(const char* kind, const uint8_t* dst_mac, const uint8_t* src_mac, const char* src, const char* dst,
                 unsigned port, const uint8_t* extension, size_t extension_size, unsigned first_header) {
  start(kind);
  eth(dst_mac, src_mac);
  u16(ETH_P_IPV6);
  const size_t at = ip6(src, dst, extension_size ? first_header : IPPROTO_UDP);
  bytes(extension, extension_size);
  const size_t transport = size;
  udp(port);
  close6(at, transport, transport + 6, IPPROTO_UDP);
  fire();
}
static void tagged(const char* kind, const unsigned* tags, int count, const uint8_t* dst_mac, const char* src,
                   const char* dst, unsigned port) {
  start(kind);
  eth(dst_mac, own_mac);
  for (int i = 0; i < count; ++i) {
    u16(tags[2 * i]);
    u16(tags[2 * i + 1]);
  }
  u16(ETH_P_IP);
  const size_t at = ip4(src, dst, IPPROTO_UDP, 0, NULL, 0);
  udp(port);
  close4(at);
  fire();
}
static void arp(const char* kind, const uint8_t* dst_mac, unsigned op, const uint8_t* sender_mac, const char* sender,
                const char* target) {
  struct in_addr a;
  start(kind);
  eth(dst_mac, sender_mac);
  u16(ETH_P_ARP);
  u16(1);
  u16(ETH_P_IP);
  u8(6);
  u8(4);
  u16(op);
  bytes(sender_mac, 6);
  inet_pton(AF_INET, sender, &a);
  bytes(&a, 4);
  bytes(dst_mac, 6);
  inet_pton(AF_INET, target, &a);
  bytes(&a, 4);
  say();  // in the trailer: a bridge would carry it along
  fire();
}
static void icmp6(const char* kind, const uint8_t* dst_mac, const char* src, const char* dst, unsigned type,
                  unsigned flags, const char* target, unsigned address_option) {
  struct in6_addr a;
  start(kind);
  eth(dst_mac, own_mac);
  u16(ETH_P_IPV6);
  const size_t at = ip6(src, dst, IPPROTO_ICMPV6), transport = size;
  u8(type);
  u8(0);
  u16(0);
  u8(flags);
  u8(0);
  u16(type == 134 ? 1800 : 0);
  if (type == 134) {
    u16(0);
    u16(0);
    u16(0);
    u16(0);
  } else {
    inet_pton(AF_INET6, target, &a);
    bytes(&a, 16);
    if (type == 137) bytes(&a, 16);
  }
  u8(address_option);
  u8(1);
  bytes(own_mac, 6);
  u8(253);
  u8((unsigned)(2 + strlen(mark) + 7) / 8);  // an option nobody knows carries the mark
  const size_t end = size - 2 + (2 + strlen(mark) + 7) / 8 * 8;
  say();
  while (size < end) u8(0);
  close6(at, transport, transport + 2, IPPROTO_ICMPV6);
  fire();
}
static void raw(const char* kind, const uint8_t* dst_mac, unsigned ethertype) {
  start(kind);
  eth(dst_mac, own_mac);
  u16(ethertype);
  say();
  fire();
}
static void tunnel4(const char* kind, unsigned protocol, const char* outer_src, const char* outer_dst, const char* src,
                    const char* dst) {
  start(kind);
  eth(gateway_mac, own_mac);
  u16(ETH_P_IP);
  const size_t outer = ip4(outer_src, outer_dst, protocol, 0, NULL, 0);
  if (protocol == 47) {
    u16(0);
    u16(ETH_P_IP);
  }
  const size_t at = ip4(src, dst, IPPROTO_UDP, 0, NULL, 0);
  udp(6000);
  close4(at);
  close4(outer);
  fire();
}
static void icmp4(const char* kind, const char* src, const char* dst, unsigned type, unsigned code,
                  const char* about_src, const char* about_dst) {
  struct in_addr a;
  start(kind);
  eth(gateway_mac, own_mac);
  u16(ETH_P_IP);
  const size_t at = ip4(src, dst, IPPROTO_ICMP, 0, NULL, 0), transport = size;
  u8(type);
  u8(code);
  u16(0);
  inet_pton(AF_INET, src, &a);
  bytes(&a, 4);
  const size_t inner = ip4(about_src, about_dst, IPPROTO_UDP, 0, NULL, 0);
  udp(6000);
  close4(inner);
  put_sum(transport + 2, fold(sum(frame + transport, size - transport, 0)));
  close4(at);
  fire();
}
static void fragment4(const char* kind, const char* src, const char* dst, unsigned fragment) {
  start(kind);
  eth(gateway_mac, own_mac);
  u16(ETH_P_IP);
  const size_t at = ip4(src, dst, IPPROTO_UDP, fragment, NULL, 0);
  if ((fragment & 0x1fff) == 0)
    udp(6000);
  else
    say();
  while ((size - at) % 8 != 4) u8(0);
  close4(at);
  fire();
}

static void mac(const char* text, uint8_t* out) {
  unsigned b[6];
  errno = 0;
  if (sscanf(text, "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6) die("%s: not a MAC", text);
  for (int i = 0; i < 6; ++i) out[i] = (uint8_t)b[i];
}

int main(int argc, char** argv) {
  errno = 0;
  if (argc != 15) die("usage: see the head of forge.c");
  repeat = atoi(argv[1]);
  const char *own4 = argv[3], *friend4 = argv[4], *victim4 = argv[5], *gw4 = argv[6];
  const char *own6 = argv[7], *friend6 = argv[8], *victim6 = argv[9], *gw6 = argv[10];
  mac(argv[11], own_mac);
  mac(argv[12], friend_mac);
  mac(argv[13], victim_mac);
  mac(argv[14], gateway_mac);
  fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) die("AF_PACKET");
  to = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[2]), .sll_halen = 6};
  if (!to.sll_ifindex) die("%s", argv[2]);
  const uint8_t *g = gateway_mac, *o = own_mac;

  udp4("honest-4", g, o, own4, victim4, 5000);
  udp6("honest-6", g, o, own6, victim6, 5000, NULL, 0, 0);

  // Who am I: addresses that are not ours.
  struct {
    const char *kind, *src;
  } sources4[] = {{"src4-friend", friend4},        {"src4-victim", victim4},      {"src4-gateway", gw4},
                  {"src4-loopback", "127.0.0.1"},  {"src4-zero", "0.0.0.0"},      {"src4-broadcast", "255.255.255.255"},
                  {"src4-multicast", "224.0.0.1"}, {"src4-outside", "192.0.2.9"}, {"src4-linklocal", "169.254.1.1"}};
  for (size_t i = 0; i < sizeof sources4 / sizeof *sources4; ++i) {
    char kind[48];
    udp4(sources4[i].kind, g, o, sources4[i].src, victim4, 6000);
    snprintf(kind, sizeof kind, "%s-open", sources4[i].kind);  // to the port that is open to us
    udp4(kind, g, o, sources4[i].src, victim4, 5000);
    snprintf(kind, sizeof kind, "%s-direct", sources4[i].kind);  // past the gateway
    udp4(kind, victim_mac, o, sources4[i].src, victim4, 6000);
  }
  struct {
    const char *kind, *src;
  } sources6[] = {{"src6-friend", friend6},
                  {"src6-victim", victim6},
                  {"src6-gateway", gw6},
                  {"src6-loopback", "::1"},
                  {"src6-zero", "::"},
                  {"src6-linklocal", "fe80::1"},
                  {"src6-multicast", "ff02::1"},
                  {"src6-outside", "2001:db8::9"},
                  {"src6-mapped", "::ffff:10.0.0.1"}};
  for (size_t i = 0; i < sizeof sources6 / sizeof *sources6; ++i) {
    char kind[48];
    udp6(sources6[i].kind, g, o, sources6[i].src, victim6, 6000, NULL, 0, 0);
    snprintf(kind, sizeof kind, "%s-open", sources6[i].kind);
    udp6(kind, g, o, sources6[i].src, victim6, 5000, NULL, 0, 0);
    snprintf(kind, sizeof kind, "%s-direct", sources6[i].kind);
    udp6(kind, victim_mac, o, sources6[i].src, victim6, 6000, NULL, 0, 0);
  }

  // MAC addresses that are not ours, or not the gateway's.
  udp4("mac-friend", g, friend_mac, friend4, victim4, 6000);
  udp4("mac-friend-own4", g, friend_mac, own4, victim4, 6000);
  udp4("mac-gateway", g, gateway_mac, friend4, victim4, 6000);
  udp4("mac-multicast", g, multicast4, friend4, victim4, 6000);
  udp4("dst-victim", victim_mac, o, own4, victim4, 5000);
  udp4("dst-broadcast", broadcast, o, own4, victim4, 5000);
  udp4("dst-multicast", multicast4, o, own4, victim4, 5000);
  udp6("dst6-victim", victim_mac, o, own6, victim6, 5000, NULL, 0, 0);
  udp6("dst6-broadcast", broadcast, o, own6, victim6, 5000, NULL, 0, 0);

  // ARP and neighbour discovery, claiming the gateway and the friend.
  arp("arp-reply-gateway", broadcast, 2, o, gw4, victim4);
  arp("arp-reply-friend", broadcast, 2, o, friend4, victim4);
  arp("arp-reply-victim-direct", victim_mac, 2, o, gw4, victim4);
  arp("arp-reply-to-gateway", g, 2, o, friend4, gw4);
  arp("arp-gratuitous", broadcast, 1, o, friend4, friend4);
  arp("arp-request", broadcast, 1, o, own4, victim4);
  arp("arp-friend-mac", broadcast, 2, friend_mac, friend4, gw4);
  icmp6("na-gateway", all_nodes6, gw6, "ff02::1", 136, 0xa0, gw6, 2);
  icmp6("na-friend", all_nodes6, friend6, "ff02::1", 136, 0x20, friend6, 2);
  icmp6("na-own", all_nodes6, own6, "ff02::1", 136, 0x20, friend6, 2);
  icmp6("na-unicast", victim_mac, friend6, victim6, 136, 0x60, friend6, 2);
  icmp6("na-by-gateway", g, friend6, victim6, 136, 0x60, friend6, 2);
  icmp6("na-own-by-gateway", g, own6, victim6, 136, 0x60, friend6, 2);
  icmp6("ns-victim", all_nodes6, own6, "ff02::1", 135, 0, victim6, 1);
  icmp6("ra", all_nodes6, "fe80::1", "ff02::1", 134, 0, gw6, 1);
  icmp6("ra-by-gateway", g, own6, victim6, 134, 0, gw6, 1);
  icmp6("redirect6", g, gw6, victim6, 137, 0, friend6, 2);
  icmp6("redirect6-own", g, own6, victim6, 137, 0, friend6, 2);

  // Broadcast and multicast.
  char net[32];
  snprintf(net, sizeof net, "%s", gw4);
  snprintf(strrchr(net, '.'), 5, ".255");
  udp4("broadcast-all", broadcast, o, own4, "255.255.255.255", 6000);
  udp4("broadcast-net", broadcast, o, own4, net, 6000);
  udp4("broadcast-net-gateway", g, o, own4, net, 6000);
  udp4("multicast-4", multicast4, o, own4, "224.0.0.1", 6000);
  udp4("multicast-4-gateway", g, o, own4, "239.1.2.3", 6000);
  udp6("multicast-6", all_nodes6, o, own6, "ff02::1", 6000, NULL, 0, 0);
  udp6("multicast-6-gateway", g, o, own6, "ff05::1", 6000, NULL, 0, 0);
  udp4("loopback-destination", g, o, own4, "127.0.0.1", 6000);

  // VLAN tags. VLAN 0 is a priority tag: the kernel takes it for no tag, and what is inside is judged like any packet.
  const unsigned tag5[] = {0x8100, 5}, tag0[] = {0x8100, 0xe000}, tag4094[] = {0x8100, 4094},
                 qinq[] = {0x88a8, 100, 0x8100, 5}, old_qinq[] = {0x9100, 100, 0x8100, 5},
                 twice[] = {0x8100, 5, 0x8100, 5}, zero_then[] = {0x8100, 0, 0x8100, 5};
  struct {
    const char* kind;
    const unsigned* tags;
    int count;
  } tags[] = {{"vlan-5", tag5, 1},        {"vlan-4094", tag4094, 1}, {"qinq", qinq, 2},
              {"qinq-9100", old_qinq, 2}, {"vlan-twice", twice, 2},  {"vlan-0-then-5", zero_then, 2}};
  for (size_t i = 0; i < sizeof tags / sizeof *tags; ++i) {
    char kind[48];
    tagged(tags[i].kind, tags[i].tags, tags[i].count, g, own4, victim4, 5000);
    snprintf(kind, sizeof kind, "%s-broadcast", tags[i].kind);
    tagged(kind, tags[i].tags, tags[i].count, broadcast, own4, victim4, 5000);
    snprintf(kind, sizeof kind, "%s-friend", tags[i].kind);
    tagged(kind, tags[i].tags, tags[i].count, g, friend4, victim4, 6000);
  }
  tagged("vlan-0-closed", tag0, 1, g, own4, victim4, 6000);
  tagged("vlan-0-friend", tag0, 1, g, friend4, victim4, 6000);

  // Other protocols of the link layer.
  const unsigned types[] = {
      0x88b5, 0x88b6, 0x88cc, 0x888e, 0x8863, 0x8864, 0x8847, 0x88e5, 0x88f7, 0x8808, 0x8809,
      0x0842, 0x8137, 0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x22f0, 0x6558, 0x0026 /* an 802.3 length */};
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i) {
    char kind[48];
    struct {
      const char* name;
      const uint8_t* mac;
    } places[] = {{"gateway", g}, {"broadcast", broadcast}, {"victim", victim_mac}, {"bridges", bridges}};
    for (size_t p = 0; p < 4; ++p) {
      snprintf(kind, sizeof kind, "ether-%04x-%s", types[i], places[p].name);
      raw(kind, places[p].mac, types[i]);
    }
  }

  // Packets within packets, source routes, fragments, and errors about connections that are not ours.
  tunnel4("ipip", 4, own4, victim4, friend4, victim4);
  tunnel4("ipip-gateway", 4, own4, gw4, friend4, victim4);
  tunnel4("gre", 47, own4, victim4, friend4, victim4);
  tunnel4("gre-gateway", 47, own4, gw4, friend4, victim4);
  tunnel4("esp", 50, own4, victim4, friend4, victim4);
  {
    uint8_t route[8] = {0x83, 7, 4, 0, 0, 0, 0, 0};  // loose source route to the victim by way of the gateway
    inet_pton(AF_INET, victim4, route + 3);
    start("source-route");
    eth(g, o);
    u16(ETH_P_IP);
    const size_t at = ip4(friend4, gw4, IPPROTO_UDP, 0, route, sizeof route);
    udp(6000);
    close4(at);
    fire();
    start("source-route-own");
    eth(g, o);
    u16(ETH_P_IP);
    const size_t at2 = ip4(own4, gw4, IPPROTO_UDP, 0, route, sizeof route);
    udp(6000);
    close4(at2);
    fire();
  }
  fragment4("fragment-friend-first", friend4, victim4, 0x2000);
  fragment4("fragment-friend-later", friend4, victim4, 0x0008);
  fragment4("fragment-own-later", own4, victim4, 0x0008);
  fragment4("fragment-own-first", own4, victim4, 0x2000);
  icmp4("redirect4", gw4, victim4, 5, 1, victim4, friend4);
  icmp4("redirect4-own", own4, victim4, 5, 1, victim4, friend4);
  icmp4("unreachable-friend", own4, victim4, 3, 3, victim4, friend4);
  icmp4("unreachable-gateway", gw4, victim4, 3, 3, victim4, friend4);
  icmp4("too-big-friend", own4, victim4, 3, 4, victim4, friend4);

  // IPv6 extension headers in front of a lie, and in front of a port that is closed to us.
  const uint8_t options[8] = {IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0};
  const uint8_t fragment[8] = {IPPROTO_UDP, 0, 0, 1, 0, 0, 0x4d, 0x53},
                later[8] = {IPPROTO_UDP, 0, 0, 8, 0, 0, 0x4d, 0x53};
  uint8_t routing[24] = {IPPROTO_UDP, 2, 0, 1};
  inet_pton(AF_INET6, victim6, routing + 8);
  struct {
    const char* kind;
    unsigned header;
    const uint8_t* data;
    size_t size;
  } headers[] = {{"hop", 0, options, 8},
                 {"destopt", 60, options, 8},
                 {"routing", 43, routing, 24},
                 {"frag6", 44, fragment, 8},
                 {"frag6-later", 44, later, 8}};
  for (size_t i = 0; i < sizeof headers / sizeof *headers; ++i) {
    char kind[48];
    snprintf(kind, sizeof kind, "%s-friend", headers[i].kind);
    udp6(kind, g, o, friend6, victim6, 6000, headers[i].data, headers[i].size, headers[i].header);
    snprintf(kind, sizeof kind, "%s-closed", headers[i].kind);
    udp6(kind, g, o, own6, victim6, 6000, headers[i].data, headers[i].size, headers[i].header);
    snprintf(kind, sizeof kind, "%s-by-gateway", headers[i].kind);
    udp6(kind, g, o, own6, gw6, 6000, headers[i].data, headers[i].size, headers[i].header);
  }
  puts("}");
  return 0;
}
