// pour RATE MILLISECONDS ADDRESS:PORT ...
//
// Sends RATE small UDP datagrams a second, in turn to every target, whatever comes back; until the time is over or
// SIGTERM. Prints {"sent":1000}. An address in brackets is IPv6.
#include <signal.h>

#include "common.h"

static volatile sig_atomic_t stopped;
static void stop(int signal_number) { stopped = signal_number; }

int main(int argc, char** argv) {
  errno = 0;
  if (argc < 4) die("usage: pour RATE MILLISECONDS ADDRESS:PORT ...");
  const int64_t interval = 1000000000 / atoi(argv[1]), until = now_ns() + atoll(argv[2]) * 1000000;
  const int v4 = socket(AF_INET, SOCK_DGRAM, 0), v6 = socket(AF_INET6, SOCK_DGRAM, 0);
  signal(SIGTERM, stop);
  long sent = 0;
  int turn = 0;
  for (int64_t next = now_ns(); next < until && !stopped; next += interval) {
    const int64_t left = next - now_ns();
    if (left > 0) nanosleep(&(struct timespec){left / 1000000000, left % 1000000000}, NULL);
    char address[64];
    int port;
    const char* target = argv[3 + turn];
    turn = (turn + 1) % (argc - 3);
    if (sscanf(target, "[%63[^]]]:%d", address, &port) != 2 && sscanf(target, "%63[^:]:%d", address, &port) != 2)
      die("%s: expected ADDRESS:PORT", target);
    struct sockaddr_storage to;
    const socklen_t length = parse_address(address, port, &to);
    // An error is a refusal that came back for an earlier one.
    sent += sendto(to.ss_family == AF_INET ? v4 : v6, "pour", 4, 0, (struct sockaddr*)&to, length) == 4;
  }
  printf("{\"sent\":%ld}\n", sent);
  return 0;
}
