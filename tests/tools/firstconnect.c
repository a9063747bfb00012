// firstconnect ALLOWED PORT FORBIDDEN PORT MILLISECONDS FILE
//
// For a container whose first instruction connects: both TCP connections are started before anything else is done,
// the next time they are looked at is when one answers or the time is up. Writes one line to FILE:
//   {"allowed":"accepted","forbidden":"refused","allowed_ms":0.3,"forbidden_ms":0.2}
#include <fcntl.h>
#include <poll.h>

#include "common.h"

static const char* verdict(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return !error ? "accepted" : error == ECONNREFUSED || error == ECONNRESET ? "refused" : "unreachable";
}

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  struct pollfd wait[2];
  const char* result[2] = {"timeout", "timeout"};
  double ms[2] = {0, 0};
  int64_t started[2];
  int open_count = 2;
  for (int i = 0; i < 2; ++i) {
    struct sockaddr_storage to;
    const socklen_t length = parse_address(argv[1 + 2 * i], atoi(argv[2 + 2 * i]), &to);
    wait[i] = (struct pollfd){.fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), .events = POLLOUT};
    started[i] = now_ns();
    if (connect(wait[i].fd, (struct sockaddr*)&to, length) != 0 && errno != EINPROGRESS) {
      result[i] = "unreachable";
      close(wait[i].fd);
      wait[i].fd = -1;
      --open_count;
    }
  }
  const int64_t deadline = now_ns() + atoll(argv[5]) * 1000000;
  while (open_count > 0 && now_ns() < deadline) {
    poll(wait, 2, (int)((deadline - now_ns()) / 1000000) + 1);
    for (int i = 0; i < 2; ++i) {
      if (wait[i].fd < 0 || !wait[i].revents) continue;
      result[i] = verdict(wait[i].fd);
      ms[i] = (double)(now_ns() - started[i]) / 1e6;
      close(wait[i].fd);
      wait[i].fd = -1;
      --open_count;
    }
  }
  FILE* out = fopen(argv[6], "w");
  if (!out) return 3;
  fprintf(out, "{\"allowed\":\"%s\",\"forbidden\":\"%s\",\"allowed_ms\":%.2f,\"forbidden_ms\":%.2f}\n", result[0], result[1],
          ms[0], ms[1]);
  return fclose(out) == 0 ? 0 : 3;
}
