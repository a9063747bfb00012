// serve [-o FILE] PROTO:PORT[-PORT] ...   e.g. serve -o /lab/db.log tcp:5432 udp:53 tcp:1-1024
//
// TCP and UDP echo servers on many ports, in one process. Every accepted connection and every datagram becomes one
// line, so that what a receiver was delivered can be counted at the receiver:
//   {"t":123,"proto":"tcp","port":5432,"from":"10.5.0.2","sport":40000}
// Prints "ready" when all sockets are bound.
#include <sys/epoll.h>
#include <sys/resource.h>

#include "common.h"

enum Kind { kListener, kStream, kDatagram };

struct Socket {
  enum Kind kind;
  int fd, port;
};

static int poll_fd;
static FILE* out;

static void watch(enum Kind kind, int fd, int port) {
  struct Socket* s = malloc(sizeof *s);
  if (!s) die("out of memory");
  *s = (struct Socket){kind, fd, port};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

static void open_port(bool tcp, int port) {
  const int fd = socket(AF_INET6, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
  const int no = 0, yes = 1;
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr*)&any, sizeof any) != 0) die("bind %s port %d", tcp ? "tcp" : "udp", port);
  if (tcp && listen(fd, 4096) != 0) die("listen on %d", port);
  watch(tcp ? kListener : kDatagram, fd, port);
}

static void note(const char* proto, int port, const struct sockaddr_storage* from) {
  char text[INET6_ADDRSTRLEN];
  fprintf(out, "{\"t\":%lld,\"proto\":\"%s\",\"port\":%d,\"from\":\"%s\",\"sport\":%d}\n", (long long)now_ns(), proto,
          port, address_text(from, text, sizeof text), address_port(from));
}

static void accept_all(const struct Socket* s) {
  struct sockaddr_storage from;
  socklen_t length = sizeof from;
  int fd;
  while ((fd = accept4(s->fd, (struct sockaddr*)&from, &length, SOCK_NONBLOCK)) >= 0) {
    note("tcp", s->port, &from);
    watch(kStream, fd, s->port);
    length = sizeof from;
  }
}

static void echo_stream(struct Socket* s) {
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(s->fd, buffer, sizeof buffer);
    if (n > 0 && write(s->fd, buffer, (size_t)n) == n) continue;
    if (n < 0 && errno == EAGAIN) return;
    close(s->fd);
    free(s);
    return;
  }
}

static void echo_datagrams(const struct Socket* s) {
  char buffer[2048];
  struct sockaddr_storage from;
  for (;;) {
    socklen_t length = sizeof from;
    const ssize_t n = recvfrom(s->fd, buffer, sizeof buffer, 0, (struct sockaddr*)&from, &length);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) continue;  // an ICMP error about an earlier answer
    note("udp", s->port, &from);
    sendto(s->fd, buffer, (size_t)n, 0, (struct sockaddr*)&from, length);
  }
}

int main(int argc, char** argv) {
  out = stdout;
  const struct rlimit many = {1 << 20, 1 << 20};
  setrlimit(RLIMIT_NOFILE, &many);
  poll_fd = epoll_create1(0);
  for (int i = 1; i < argc; ++i) {
    char proto[4];
    int first, last;
    if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) {
      out = fopen(argv[++i], "a");
      if (!out) die("%s", argv[i]);
      continue;
    }
    const int fields = sscanf(argv[i], "%3[a-z]:%d-%d", proto, &first, &last);
    errno = 0;
    if (fields < 2) die("usage: serve [-o FILE] tcp:PORT udp:PORT-PORT ...");
    for (int port = first; port <= (fields == 3 ? last : first); ++port) open_port(strcmp(proto, "tcp") == 0, port);
  }
  setvbuf(out, NULL, _IOFBF, 1 << 16);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[256];
    const int n = epoll_wait(poll_fd, events, 256, -1);
    for (int i = 0; i < n; ++i) {
      struct Socket* s = events[i].data.ptr;
      if (s->kind == kListener) accept_all(s);
      if (s->kind == kStream) echo_stream(s);
      if (s->kind == kDatagram) echo_datagrams(s);
    }
    fflush(out);
  }
}
