// sniff
//
// Sees every frame that arrives at any interface of its namespace and counts those that carry forge's mark, by kind.
// Prints "ready"; on SIGTERM {"kind":3, ...}.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <signal.h>

#include "common.h"

static const char kMark[] = "MSFORGED:";

static volatile sig_atomic_t stopped;
static void stop(int signal_number) { stopped = signal_number; }

int main(void) {
  static struct {
    char kind[40];
    long frames;
  } seen[512];
  int count = 0;
  const int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) die("AF_PACKET");
  const int size = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  struct sigaction action = {.sa_handler = stop};  // no SA_RESTART: recvfrom has to return
  sigaction(SIGTERM, &action, NULL);
  puts("ready");
  fflush(stdout);
  for (;;) {
    static char frame[65536];
    struct sockaddr_ll from;
    socklen_t length = sizeof from;
    // What had come when we were stopped is still read.
    const ssize_t n =
        recvfrom(fd, frame, sizeof frame - 1, stopped ? MSG_DONTWAIT : 0, (struct sockaddr*)&from, &length);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
    frame[n] = 0;
    const char* mark = memmem(frame, (size_t)n, kMark, sizeof kMark - 1);
    if (!mark) continue;
    char kind[40] = "";
    sscanf(mark + sizeof kMark - 1, "%39[a-z0-9-]", kind);
    int i = 0;
    while (i < count && strcmp(seen[i].kind, kind) != 0) ++i;
    if (i == count && count < 512) snprintf(seen[count++].kind, sizeof kind, "%s", kind);
    ++seen[i].frames;
  }
  printf("{");
  for (int i = 0; i < count; ++i) printf("%s\"%s\":%ld", i ? "," : "", seen[i].kind, seen[i].frames);
  puts("}");
  return 0;
}
