// encap REPEAT FROM TO INNERFROM INNERTO INNERPORT INNERMAC VNIS CLASSES FORM ...
//   VNIS, CLASSES = N or N-N, tried in every combination; FORM as below; e.g.
//   encap 3 10.0.0.9 10.0.0.2 10.1.0.5 10.1.0.6 7000 02:00:00:00:00:01 4096-4196 0-3 vxlan:4799 plain:9999
//
// Packets within packets, from FROM (true or not) to a host's address TO. The inner packet is a UDP datagram to
// INNERPORT that carries a mark with the name of its form, in a frame to INNERMAC where the form has frames.
//   vxlan:PORT    VXLAN with a class (Group Based Policy)      bare:PORT   VXLAN without one
//   pieces:PORT   the same as vxlan, in two IP fragments       arp:PORT    an ARP answer in VXLAN with a class
//   geneve:PORT   Geneve                                       plain:PORT  the mark alone, in UDP: no tunnel at all
//   ipip, 6in4, gre, gretap
// Prints {"form":sent, ...}.
#include <linux/if_ether.h>

#include "packet.h"

static const char *inner_from, *inner_to;
static unsigned inner_port;
static uint8_t inner_mac[6];
static char mark[48];

static void inner_packet(struct Packet* p) {
  const size_t at = begin_ip4(p, inner_from, inner_to, IPPROTO_UDP);
  put16(p, 40000);
  put16(p, inner_port);
  put16(p, 8 + (unsigned)strlen(mark));
  put16(p, 0);
  put(p, mark, strlen(mark));
  end_ip4(p, at);
}

static void inner_frame(struct Packet* p, bool arp) {
  static const uint8_t source[6] = {0x02, 0x4d, 0x53, 0, 0, 1}, everybody[6] = {255, 255, 255, 255, 255, 255};
  struct in_addr a;
  put(p, arp ? everybody : inner_mac, 6);
  put(p, source, 6);
  put16(p, arp ? ETH_P_ARP : ETH_P_IP);
  if (!arp) return inner_packet(p);
  put16(p, 1);
  put16(p, ETH_P_IP);
  put16(p, 0x0604);
  put16(p, 2);
  put(p, source, 6);
  inet_pton(AF_INET, inner_from, &a);
  put(p, &a, 4);
  put(p, everybody, 6);
  inet_pton(AF_INET, inner_to, &a);
  put(p, &a, 4);
  put(p, mark, strlen(mark));  // in the trailer
}

struct Form {
  char name[16];
  unsigned port;
};

static void outer_udp(struct Packet* p, unsigned port) {
  put16(p, 50000);
  put16(p, port);
  put16(p, 0);  // the length, once it is known
  put16(p, 0);
}

// False where the form is not known.
static bool write_form(struct Packet* p, const struct Form* form, const char* from, const char* to, unsigned vni,
                       unsigned class) {
  const char* name = form->name;
  p->size = 0;
  const struct {
    const char* name;
    unsigned protocol;
  } tunnels[] = {{"ipip", 4}, {"6in4", 41}, {"gre", 47}, {"gretap", 47}};
  for (size_t i = 0; i < sizeof tunnels / sizeof *tunnels; ++i) {
    if (strcmp(name, tunnels[i].name) != 0) continue;
    const size_t at = begin_ip4(p, from, to, tunnels[i].protocol);
    if (strncmp(name, "gre", 3) == 0) put32(p, name[3] ? 0x6558 : ETH_P_IP);
    if (strcmp(name, "gretap") == 0)
      inner_frame(p, false);
    else if (strcmp(name, "6in4") == 0)
      put32(p, 0x60000000), put(p, mark, strlen(mark));  // no more than its first word: nobody is to look at it
    else
      inner_packet(p);
    end_ip4(p, at);
    return true;
  }
  const size_t at = begin_ip4(p, from, to, IPPROTO_UDP);
  outer_udp(p, form->port);
  if (strcmp(name, "plain") == 0) {
    put(p, mark, strlen(mark));
  } else if (strcmp(name, "geneve") == 0) {
    put32(p, 0x00006558);
    put32(p, vni << 8);
    inner_frame(p, false);
  } else if (strcmp(name, "vxlan") == 0 || strcmp(name, "pieces") == 0 || strcmp(name, "arp") == 0) {
    put32(p, 0x88000000 | class);
    put32(p, vni << 8);
    inner_frame(p, name[0] == 'a');
  } else if (strcmp(name, "bare") == 0) {
    put32(p, 0x08000000);
    put32(p, vni << 8);
    inner_frame(p, false);
  } else {
    return false;
  }
  set16(p, at + 24, (unsigned)(p->size - at - 20));
  end_ip4(p, at);
  return true;
}

// The packet in two fragments: the second begins within the inner frame.
static bool send_pieces(int fd, const struct Packet* whole) {
  enum { kSplit = 32 };
  struct Packet p = *whole;
  p.size = 20 + kSplit;
  set16(&p, 6, 0x2000);
  set16(&p, 10, 0);
  end_ip4(&p, 0);
  if (!send_ip4(fd, &p)) return false;
  p.size = 20;
  put(&p, whole->data + 20 + kSplit, whole->size - 20 - kSplit);
  set16(&p, 6, kSplit / 8);
  set16(&p, 10, 0);
  end_ip4(&p, 0);
  return send_ip4(fd, &p);
}

static void range(const char* text, unsigned* first, unsigned* last) {
  errno = 0;
  if (sscanf(text, "%u-%u", first, last) == 2) return;
  if (sscanf(text, "%u", first) != 1) die("%s: expected N or N-N", text);
  *last = *first;
}

int main(int argc, char** argv) {
  errno = 0;
  if (argc < 11) die("usage: see the head of encap.c");
  unsigned b[6], vni[2], class[2];
  if (sscanf(argv[7], "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6) die("%s: not a MAC", argv[7]);
  for (int i = 0; i < 6; ++i) inner_mac[i] = (uint8_t)b[i];
  inner_from = argv[4];
  inner_to = argv[5];
  inner_port = (unsigned)atoi(argv[6]);
  range(argv[8], vni, vni + 1);
  range(argv[9], class, class + 1);
  const int fd = raw_socket();
  for (int i = 10; i < argc; ++i) {
    struct Form form = {.port = 0};
    struct Packet p;
    long sent = 0;
    if (sscanf(argv[i], "%15[a-z0-9]:%u", form.name, &form.port) < 1) die("%s: not a form", argv[i]);
    snprintf(mark, sizeof mark, form.port ? "MSFORGED:%s-%u\n" : "MSFORGED:%s\n", form.name, form.port);
    for (unsigned v = vni[0]; v <= vni[1]; ++v)
      for (unsigned c = class[0]; c <= class[1]; ++c) {
        errno = 0;
        if (!write_form(&p, &form, argv[2], argv[3], v, c)) die("%s: not a form", argv[i]);
        for (int r = atoi(argv[1]); r > 0; --r)
          sent += strcmp(form.name, "pieces") == 0 ? send_pieces(fd, &p) : send_ip4(fd, &p);
      }
    printf("%s\"%s\":%ld", i == 10 ? "{" : ",", argv[i], sent);
  }
  puts("}");
  return 0;
}
