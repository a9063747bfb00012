// blast sink PORT                       binds a UDP port and never reads
// blast send ADDRESS PORT MILLISECONDS  18-byte datagrams as fast as one core sends them; prints
//   {"packets":1000,"seconds":1.0,"pps":1000.0}
// The sink's queue fills at once; after that every packet pays the whole path and is dropped at its very end, so the
// sender's rate is the cost of the path. What arrived is in the receiver's /proc/net/snmp (InDatagrams, RcvbufErrors).
#include "common.h"

enum { kBatch = 64, kSize = 18 };

int main(int argc, char** argv) {
  errno = 0;
  if (argc == 3 && strcmp(argv[1], "sink") == 0) {
    const int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(argv[2]))};
    if (bind(fd, (const struct sockaddr*)&any, sizeof any) != 0) die("bind");
    puts("ready");
    fflush(stdout);
    for (;;) pause();
  }
  if (argc != 5 || strcmp(argv[1], "send") != 0) die("usage: blast sink PORT, or blast send ADDRESS PORT MILLISECONDS");
  struct sockaddr_storage to;
  const socklen_t length = parse_address(argv[2], atoi(argv[3]), &to);
  const int fd = socket(to.ss_family, SOCK_DGRAM, 0);
  if (connect(fd, (struct sockaddr*)&to, length) != 0) die("connect");
  static char payload[kSize];
  struct iovec data = {payload, kSize};
  struct mmsghdr messages[kBatch];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < kBatch; ++i) messages[i].msg_hdr = (struct msghdr){.msg_iov = &data, .msg_iovlen = 1};
  const int64_t start = now_ns(), until = start + atoll(argv[4]) * 1000000;
  int64_t now = start;
  long long packets = 0, errors = 0;
  while (now < until) {
    for (int i = 0; i < 16; ++i) {
      const int n = sendmmsg(fd, messages, kBatch, 0);
      if (n > 0)
        packets += n;
      else
        ++errors;
    }
    now = now_ns();
  }
  const double seconds = (double)(now - start) / 1e9;
  printf("{\"packets\":%lld,\"errors\":%lld,\"seconds\":%.4f,\"pps\":%.1f}\n", packets, errors, seconds,
         (double)packets / seconds);
  return 0;
}
