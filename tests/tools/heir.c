// heir REPEAT OWN OTHER OWNPORT OTHERPORT
//
// Packets of connections that somebody else had at our address: OWN:OWNPORT <-> OTHER:OTHERPORT, of every kind that a
// connection carries, each with a mark that names it. Prints {"kind":sent, ...}. Sequence numbers are by lot: where
// they are to be believed, the tracker has to be told to be liberal.
#include "packet.h"

static int fd, repeat;
static bool first = true;
static char mark[48];

static void fire(const char* kind, const struct Packet* p) {
  int sent = 0;
  for (int i = 0; i < repeat; ++i) sent += send_ip4(fd, p);
  printf("%s\"%s\":%d", first ? "{" : ",", kind, sent);
  first = false;
}

int main(int argc, char** argv) {
  errno = 0;
  if (argc != 6) die("usage: heir REPEAT OWN OTHER OWNPORT OTHERPORT");
  repeat = atoi(argv[1]);
  const char *own = argv[2], *other = argv[3];
  const unsigned own_port = (unsigned)atoi(argv[4]), other_port = (unsigned)atoi(argv[5]);
  fd = raw_socket();
  srand((unsigned)now_ns());

  struct Packet p = {.size = 0};
  snprintf(mark, sizeof mark, "MSFORGED:udp\n");
  size_t at = begin_ip4(&p, own, other, IPPROTO_UDP);
  put16(&p, own_port);
  put16(&p, other_port);
  put16(&p, 8 + (unsigned)strlen(mark));
  put16(&p, 0);
  put(&p, mark, strlen(mark));
  end_ip4(&p, at);
  fire("udp", &p);

  const struct {
    const char* kind;
    unsigned flags;
  } segments[] = {{"tcp-data", 0x18}, {"tcp-fin", 0x19}, {"tcp-reset", 0x14}, {"tcp-syn-ack", 0x12}, {"tcp-syn", 0x02}};
  for (size_t i = 0; i < sizeof segments / sizeof *segments; ++i) {
    p.size = 0;
    snprintf(mark, sizeof mark, "MSFORGED:%s\n", segments[i].kind);
    at = begin_ip4(&p, own, other, IPPROTO_TCP);
    put16(&p, own_port);
    put16(&p, other_port);
    put32(&p, (uint32_t)rand());
    put32(&p, (uint32_t)rand());
    put16(&p, 0x5000 | segments[i].flags);
    put16(&p, 65535);
    put32(&p, 0);
    put(&p, mark, strlen(mark));
    end_ip4(&p, at);
    sum_transport(&p, at, 16);
    fire(segments[i].kind, &p);
  }

  // An error about a datagram that the other sent us.
  const struct {
    const char* kind;
    unsigned protocol;
  } errors[] = {{"error-udp", IPPROTO_UDP}, {"error-tcp", IPPROTO_TCP}};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i) {
    p.size = 0;
    snprintf(mark, sizeof mark, "MSFORGED:%s\n", errors[i].kind);
    at = begin_ip4(&p, own, other, IPPROTO_ICMP);
    put16(&p, 0x0303);
    put16(&p, 0);
    put32(&p, 0);
    const size_t inner = begin_ip4(&p, other, own, errors[i].protocol);
    put16(&p, other_port);
    put16(&p, own_port);
    put32(&p, (uint32_t)rand());
    put(&p, mark, strlen(mark));
    end_ip4(&p, inner);
    set16(&p, at + 22, folded(sum_of(p.data + at + 20, p.size - at - 20, 0)));
    end_ip4(&p, at);
    fire(errors[i].kind, &p);
  }
  puts("}");
  return 0;
}
