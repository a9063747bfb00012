// flow serve PORT                          swallows streams and answers requests; prints "ready"
// flow stream ADDRESS PORT MILLISECONDS    one TCP stream as fast as it goes: {"mbit":941.2}
// flow ask ADDRESS PORT MILLISECONDS       one byte there and one back, again and again: {"per_second":11230.1}
// The first byte of a connection says which of the two it is.
#include <netinet/tcp.h>
#include <signal.h>

#include "common.h"

static char block[1 << 16];

static void serve(int port) {
  const int listener = socket(AF_INET6, SOCK_STREAM, 0), yes = 1, no = 0;
  const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (const struct sockaddr*)&any, sizeof any) != 0 || listen(listener, 8) != 0) die("port %d", port);
  puts("ready");
  fflush(stdout);
  signal(SIGPIPE, SIG_IGN);
  for (;;) {  // one at a time: so is what is measured
    const int fd = accept(listener, NULL, NULL);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    char kind = 0;
    if (read(fd, &kind, 1) == 1) {
      ssize_t n;
      long long total = 0;
      if (kind == 's')
        while ((n = read(fd, block, sizeof block)) > 0) total += n;
      else
        while (read(fd, &kind, 1) == 1 && write(fd, &kind, 1) == 1) continue;
      if (total) write(fd, &total, sizeof total) > 0 ? (void)0 : (void)errno;
    }
    close(fd);
  }
}

int main(int argc, char** argv) {
  errno = 0;
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(atoi(argv[2]));
  if (argc != 5) die("usage: flow serve PORT, or flow stream|ask ADDRESS PORT MILLISECONDS");
  const bool stream = strcmp(argv[1], "stream") == 0;
  struct sockaddr_storage to;
  const socklen_t length = parse_address(argv[2], atoi(argv[3]), &to);
  const int fd = socket(to.ss_family, SOCK_STREAM, 0), yes = 1;
  if (connect(fd, (struct sockaddr*)&to, length) != 0) die("connect %s:%s", argv[2], argv[3]);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (write(fd, stream ? "s" : "r", 1) != 1) die("write");
  const int64_t start = now_ns(), until = start + atoll(argv[4]) * 1000000;
  long long total = 0;
  char answer;
  while (now_ns() < until) {
    const ssize_t n = stream ? write(fd, block, sizeof block) : write(fd, "x", 1);
    if (n <= 0 || (!stream && read(fd, &answer, 1) != 1)) die("the connection ended");
    total += stream ? n : 1;
  }
  if (stream) {  // counted where it arrives
    shutdown(fd, SHUT_WR);
    if (read(fd, &total, sizeof total) != sizeof total) die("the connection ended");
  }
  const double seconds = (double)(now_ns() - start) / 1e9;
  if (stream)
    printf("{\"mbit\":%.1f}\n", (double)total * 8 / 1e6 / seconds);
  else
    printf("{\"per_second\":%.1f}\n", (double)total / seconds);
  return 0;
}
