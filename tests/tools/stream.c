// stream recv PROTO PORT FILE                        receives, notes every arrival, sends everything back
// stream send PROTO ADDRESS PORT MICROSECONDS FILE   sends one record per interval, notes every echo; until SIGTERM
//
// A record is 16 bytes: a sequence number and the time it was sent. FILE gets 24 bytes for each arrival: sequence,
// time sent, time of arrival (three little-endian 64-bit numbers, nanoseconds of CLOCK_MONOTONIC), unbuffered, so
// that another process can follow it while the stream runs. A receiver takes any number of connections or peers and
// writes all to one file; the sender's sequence starts at START (the argument after FILE, default 0) to tell them
// apart. Both run with real-time priority where they may: what they measure is the network, not the scheduler.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>

#include "common.h"

struct Record {
  uint64_t seq;
  int64_t sent;
};

static int file;

static void note(const struct Record* r) {
  const int64_t row[3] = {(int64_t)r->seq, r->sent, now_ns()};
  if (write(file, row, sizeof row) != sizeof row) die("write");
}

struct Peer {
  int fd;
  size_t have;
  char partial[sizeof(struct Record)];
};

// Reads what there is, notes whole records. False at the end of the stream.
static bool drain(struct Peer* peer, bool echo) {
  for (;;) {
    const ssize_t n = read(peer->fd, peer->partial + peer->have, sizeof peer->partial - peer->have);
    if (n < 0) return errno == EAGAIN || errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == EACCES;
    if (n == 0) return false;
    peer->have += (size_t)n;
    if (peer->have < sizeof peer->partial) continue;
    struct Record r;
    memcpy(&r, peer->partial, sizeof r);
    note(&r);
    if (echo) send(peer->fd, peer->partial, sizeof peer->partial, MSG_NOSIGNAL | MSG_DONTWAIT);
    peer->have = 0;
  }
}

static int receive(bool tcp, int port) {
  enum { kMax = 1024 };
  static struct pollfd wait[kMax];
  static struct Peer peers[kMax];
  const int no = 0, yes = 1;
  const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  wait[0] =
      (struct pollfd){.fd = socket(AF_INET6, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0), .events = POLLIN};
  setsockopt(wait[0].fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  setsockopt(wait[0].fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(wait[0].fd, (const struct sockaddr*)&any, sizeof any) != 0) die("bind %d", port);
  if (tcp && listen(wait[0].fd, 512) != 0) die("listen");
  puts("ready");
  fflush(stdout);
  nfds_t count = 1;
  for (;;) {
    poll(wait, count, -1);
    if (wait[0].revents && !tcp) {
      struct Record r;
      struct sockaddr_storage from;
      socklen_t length = sizeof from;
      while (recvfrom(wait[0].fd, &r, sizeof r, 0, (struct sockaddr*)&from, &length) == sizeof r) {
        note(&r);
        sendto(wait[0].fd, &r, sizeof r, MSG_DONTWAIT, (struct sockaddr*)&from, length);
        length = sizeof from;
      }
    }
    for (nfds_t i = count; i-- > 1;) {
      if (!wait[i].revents || drain(&peers[i], true)) continue;
      close(wait[i].fd);
      wait[i] = wait[--count];
      peers[i] = peers[count];
    }
    if (wait[0].revents && tcp) {
      const int fd = accept4(wait[0].fd, NULL, NULL, SOCK_NONBLOCK);
      if (fd >= 0 && count < kMax) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        wait[count] = (struct pollfd){.fd = fd, .events = POLLIN};
        peers[count++] = (struct Peer){.fd = fd};
      }
    }
  }
}

static volatile sig_atomic_t stopped;
static void stop(int signal_number) { stopped = signal_number; }

static int transmit(bool tcp, const char* address, int port, int64_t interval_ns, uint64_t seq) {
  struct sockaddr_storage to;
  const socklen_t length = parse_address(address, port, &to);
  const int fd = socket(to.ss_family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  const int yes = 1;
  if (connect(fd, (struct sockaddr*)&to, length) != 0) die("connect %s:%d", address, port);
  if (tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  signal(SIGTERM, stop);
  puts("ready");
  fflush(stdout);
  struct Peer peer = {.fd = fd};
  int64_t next = now_ns();
  bool open = true;
  while (!stopped) {
    const int64_t left = next - now_ns();
    if (left > 0) {
      struct pollfd wait = {.fd = open ? fd : -1, .events = POLLIN};
      const struct timespec sleep = {left / 1000000000, left % 1000000000};
      ppoll(&wait, 1, &sleep, NULL);
      if (wait.revents && !drain(&peer, false)) open = false;
      continue;
    }
    next += interval_ns;
    const struct Record r = {seq++, now_ns()};
    // Errors are part of the story: a refused packet comes back as one, and the stream goes on.
    if (open) send(fd, &r, sizeof r, MSG_NOSIGNAL);
  }
  printf("{\"sent\":%llu,\"open\":%s}\n", (unsigned long long)seq, open ? "true" : "false");
  return 0;
}

int main(int argc, char** argv) {
  const bool receiver = argc == 5 && strcmp(argv[1], "recv") == 0;
  const bool sender = argc >= 7 && strcmp(argv[1], "send") == 0;
  errno = 0;
  if (!receiver && !sender)
    die("usage: stream recv tcp|udp PORT FILE, or stream send tcp|udp ADDRESS PORT MICROSECONDS FILE [START]");
  const struct sched_param priority = {.sched_priority = 10};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  const bool tcp = strcmp(argv[2], "tcp") == 0;
  file = open(receiver ? argv[4] : argv[6], O_CREAT | O_WRONLY | O_APPEND, 0644);
  if (file < 0) die("%s", receiver ? argv[4] : argv[6]);
  if (receiver) return receive(tcp, atoi(argv[3]));
  return transmit(tcp, argv[3], atoi(argv[4]), atoll(argv[5]) * 1000, argc > 7 ? strtoull(argv[7], NULL, 10) : 0);
}
