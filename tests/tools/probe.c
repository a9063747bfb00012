// probe [-t MILLISECONDS] [-s] TARGET ...
//   TARGET = tcp:ADDRESS:PORT[-PORT] | udp:ADDRESS:PORT[-PORT] | icmp:ADDRESS      (IPv6 addresses in brackets)
//
// Tries every target, many at a time, and prints one line each, or with -s only those that were answered and a count:
//   {"target":"tcp:10.5.0.3:5432","verdict":"accepted","ms":0.4}
// accepted: an answer came back, or the connection was established, which for TCP is enough, whatever the server does
// with it afterwards; refused: a reset, or an ICMP error about the port; unreachable: another ICMP error,
// administratively prohibited among them; timeout: nothing came back.
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "common.h"

enum { kAtOnce = 256 };
static const char kToken[] = "are you there";

struct Try {
  char target[80];
  char proto;  // t, u, i
  struct sockaddr_storage address;
  socklen_t length;
  int fd;
  bool connected;
  int64_t started, deadline;
};

static int poll_fd, timeout_ms = 1000;
static bool summary;
static long counts[5];
static const char* const kVerdicts[] = {"accepted", "refused", "unreachable", "timeout", "error"};

static void done(struct Try* t, int verdict, int error) {
  if (t->connected) verdict = 0;
  ++counts[verdict];
  if (!summary || verdict == 0 || verdict == 4) {
    printf("{\"target\":\"%s\",\"verdict\":\"%s\",\"ms\":%.2f", t->target, kVerdicts[verdict],
           (double)(now_ns() - t->started) / 1e6);
    printf(error ? ",\"error\":\"%s\"}\n" : "}\n", strerror(error));
  }
  if (t->fd >= 0) {
    const struct linger reset = {1, 0};
    if (t->proto == 't') setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(t->fd);
  }
  free(t);
}

static int verdict_of(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE: return 1;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
    case EPERM:
    case ENOPROTOOPT: return 2;
    case ETIMEDOUT: return 3;
    default: return 4;
  }
}

// True while an answer is awaited.
static bool begin(struct Try* t) {
  const int family = t->address.ss_family;
  t->started = now_ns();
  t->deadline = t->started + (int64_t)timeout_ms * 1000000;
  const int type = t->proto == 't' ? SOCK_STREAM : t->proto == 'u' ? SOCK_DGRAM : SOCK_RAW;
  const int protocol = t->proto != 'i' ? 0 : family == AF_INET ? IPPROTO_ICMP : (int)IPPROTO_ICMPV6;
  t->fd = socket(family, type | SOCK_NONBLOCK, protocol);
  if (t->fd < 0) return done(t, 4, errno), false;
  if (connect(t->fd, (struct sockaddr*)&t->address, t->length) != 0 && errno != EINPROGRESS)
    return done(t, verdict_of(errno), errno), false;
  ssize_t sent = 0;
  if (t->proto == 'u') sent = send(t->fd, kToken, sizeof kToken, 0);
  if (t->proto == 'i') {
    struct {
      uint8_t type, code;
      uint16_t sum, id, seq;
    } echo = {.type = family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
    echo.id = htons((uint16_t)getpid());
    echo.seq = htons((uint16_t)t->fd);
    uint32_t sum = (uint32_t)echo.type + echo.id + echo.seq;  // the type is the low byte: little endian
    echo.sum = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
    sent = send(t->fd, &echo, sizeof echo, 0);
  }
  if (sent < 0) return done(t, verdict_of(errno), errno), false;
  struct epoll_event event = {.events = t->proto == 't' ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = t};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, t->fd, &event);
  return true;
}

// True when the answer is in and the try is over.
static bool step(struct Try* t) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) return done(t, verdict_of(error), error), true;
  if (t->proto == 't' && !t->connected) {
    t->connected = true;
    if (send(t->fd, kToken, sizeof kToken, MSG_NOSIGNAL) < 0) return done(t, verdict_of(errno), errno), true;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = t};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, t->fd, &event);
  }
  char buffer[512];
  const ssize_t n = recv(t->fd, buffer, sizeof buffer, 0);
  if (n < 0 && errno == EAGAIN) return false;
  if (n < 0) return done(t, verdict_of(errno), errno), true;
  if (n == 0) return done(t, 1, 0), true;
  if (t->proto == 'i') {
    const bool v4 = t->address.ss_family == AF_INET;
    const uint8_t* icmp = (uint8_t*)buffer + (v4 ? (buffer[0] & 15) * 4 : 0);
    if (icmp[0] == (v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH)) return done(t, 2, 0), true;
    uint16_t seq;
    memcpy(&seq, icmp + 6, 2);
    if (icmp[0] != (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) || ntohs(seq) != t->fd) return false;
  }
  done(t, 0, 0);
  return true;
}

static struct Try* live[kAtOnce];
static int live_count;

// Waits until there is room for one more, or for the last one.
static void turn(bool drain) {
  while (drain ? live_count > 0 : live_count == kAtOnce) {
    struct epoll_event events[kAtOnce];
    int64_t first = INT64_MAX;
    for (int i = 0; i < live_count; ++i)
      if (live[i]->deadline < first) first = live[i]->deadline;
    const int64_t wait = live_count ? (first - now_ns()) / 1000000 + 1 : 0;
    const int n = epoll_wait(poll_fd, events, kAtOnce, wait > 0 ? (int)wait : 0);
    for (int e = 0; e < n; ++e)
      for (int i = 0; i < live_count; ++i)
        if (live[i] == events[e].data.ptr) {
          if (step(live[i])) live[i] = live[--live_count];
          break;
        }
    for (int i = 0; i < live_count;) {
      if (live[i]->deadline <= now_ns()) {
        done(live[i], 3, 0);
        live[i] = live[--live_count];
      } else {
        ++i;
      }
    }
  }
}

int main(int argc, char** argv) {
  const struct rlimit files = {4096, 4096};
  setrlimit(RLIMIT_NOFILE, &files);
  poll_fd = epoll_create1(0);
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "-t") == 0 && i + 1 < argc) {
      timeout_ms = atoi(argv[++i]);
      continue;
    }
    if (strcmp(argv[i], "-s") == 0) {
      summary = true;
      continue;
    }
    char proto[5], address[64];
    int first = 0, last = 0, fields = sscanf(argv[i], "%4[a-z]:[%63[^]]]:%d-%d", proto, address, &first, &last);
    if (fields < 2) fields = sscanf(argv[i], "%4[a-z]:%63[^:]:%d-%d", proto, address, &first, &last);
    errno = 0;
    if (fields < 2) die("usage: probe [-t MS] [-s] tcp:ADDRESS:PORT[-PORT] udp:[ADDRESS]:PORT icmp:ADDRESS ...");
    for (int port = first; port <= (fields == 4 ? last : first); ++port) {
      struct Try* t = calloc(1, sizeof *t);
      if (!t) die("out of memory");
      t->proto = proto[0];
      t->length = parse_address(address, t->proto == 'i' ? 0 : port, &t->address);
      const char* form = strchr(address, ':') ? "%s:[%s]:%d" : "%s:%s:%d";
      snprintf(t->target, sizeof t->target, form, proto, address, port);
      if (t->proto == 'i')
        snprintf(t->target, sizeof t->target, strchr(address, ':') ? "icmp:[%s]" : "icmp:%s", address);
      if (begin(t)) live[live_count++] = t;
      turn(false);
    }
  }
  turn(true);
  if (summary) {
    printf("{\"summary\":true");
    for (int v = 0; v < 5; ++v) printf(",\"%s\":%ld", kVerdicts[v], counts[v]);
    puts("}");
  }
  return 0;
}
