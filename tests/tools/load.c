// load RATE MILLISECONDS KEEP FILE ADDRESS:PORT ...
//
// Opens RATE new TCP connections a second, in turn to every target, and closes each as soon as it is established or
// refused; beside them keeps KEEP connections to every target alive (reopened when they end), each sending a byte
// every 50 ms to an echo server. FILE gets one line per event:
//   c START END TARGET SPORT   a new connection was established (times in ns, TARGET counts from 0)
//   r START END TARGET SPORT   refused, by reset or ICMP
//   t START END TARGET SPORT   nothing came back for 500 ms
//   e SENT BACK TARGET SPORT   an echo on a kept connection
//   x SENT END TARGET SPORT    a kept connection was reset or closed by the other side, after its last byte was SENT
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "common.h"

struct Conn {
  int fd, target, sport;
  bool keep, up, waiting;
  int64_t started, next, sent;
  struct Conn *before, *after;
};

static volatile sig_atomic_t stopped;
static void stop(int signal_number) { stopped = signal_number; }

static int poll_fd;
static FILE* out;
static struct sockaddr_storage targets[256];
static socklen_t lengths[256];
static struct Conn head = {.before = &head, .after = &head};

static void note(char what, int64_t from, const struct Conn* c) {
  fprintf(out, "%c %lld %lld %d %d\n", what, (long long)from, (long long)now_ns(), c->target, c->sport);
}

static void end(struct Conn* c) {
  const struct linger reset = {1, 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(c->fd);
  c->before->after = c->after;
  c->after->before = c->before;
  free(c);
}

static void begin(int target, bool keep, int64_t delay) {
  struct Conn* c = calloc(1, sizeof *c);
  if (!c) die("out of memory");
  c->target = target;
  c->keep = keep;
  c->before = head.before;
  c->after = &head;
  head.before->after = c;
  head.before = c;
  c->fd = -1;
  c->next = now_ns() + delay;
}

static void dial(struct Conn* c) {
  c->fd = socket(targets[c->target].ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int yes = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  c->started = now_ns();
  const int failed = connect(c->fd, (struct sockaddr*)&targets[c->target], lengths[c->target]);
  const int error = failed ? errno : 0;
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  getsockname(c->fd, (struct sockaddr*)&own, &length);
  c->sport = address_port(&own);
  c->next = c->started + 500000000;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  if (error && error != EINPROGRESS) {
    note('r', c->started, c);
    c->next = 0;  // collected by the next round
  } else {
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
  }
}

// Returns false when the connection is over.
static bool step(struct Conn* c) {
  if (!c->up) {
    int error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (!error && getpeername(c->fd, (struct sockaddr*)&peer, &length) != 0) return true;
    note(error ? 'r' : 'c', c->started, c);
    if (error || !c->keep) return false;
    c->up = true;
    c->next = now_ns();
  }
  char buffer[64];
  const ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
  if (n > 0 && c->waiting) {
    note('e', c->sent, c);
    c->waiting = false;
  }
  if (n > 0 || (n < 0 && errno == EAGAIN)) return true;
  note('x', c->sent, c);
  return false;
}

int main(int argc, char** argv) {
  errno = 0;
  if (argc < 6) die("usage: load RATE MILLISECONDS KEEP FILE ADDRESS:PORT ...");
  const struct rlimit many = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &many);
  const int64_t interval = 1000000000 / atoi(argv[1]), until = now_ns() + atoll(argv[2]) * 1000000;
  out = fopen(argv[4], "w");
  if (!out) die("%s", argv[4]);
  setvbuf(out, NULL, _IOFBF, 1 << 18);
  const int count = argc - 5;
  for (int i = 0; i < count; ++i) {
    char address[64], *colon = strrchr(argv[5 + i], ':');
    if (!colon || colon - argv[5 + i] >= 64) die("%s: expected ADDRESS:PORT", argv[5 + i]);
    snprintf(address, sizeof address, "%.*s", (int)(colon - argv[5 + i]), argv[5 + i]);
    lengths[i] = parse_address(address, atoi(colon + 1), &targets[i]);
  }
  signal(SIGTERM, stop);  // then the file ends with a whole line
  poll_fd = epoll_create1(0);
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < atoi(argv[3]); ++k) begin(i, true, 0);
  int64_t next = now_ns();
  int turn = 0;
  for (int64_t now = next; now < until && !stopped; now = now_ns()) {
    for (; next <= now; next += interval) {
      begin(turn, false, 0);
      dial(head.before);
      turn = (turn + 1) % count;
    }
    for (struct Conn *c = head.after, *after; c != &head; c = after) {
      after = c->after;
      if (c->next > now) continue;
      const int target = c->target;
      const bool keep = c->keep;
      if (c->fd < 0) {
        dial(c);
      } else if (c->up && !c->waiting) {
        c->waiting = send(c->fd, "x", 1, MSG_NOSIGNAL) == 1;
        c->sent = now;
        c->next = now + 50000000;
      } else if (c->up && now - c->sent < 500000000) {
        c->next = now + 50000000;
      } else {  // unanswered for too long, or refused at once
        if (!c->up && c->next) note('t', c->started, c);
        end(c);
        if (keep) begin(target, true, 50000000);
      }
    }
    struct epoll_event events[256];
    const int64_t left = (next - now_ns()) / 1000000;
    const int n = epoll_wait(poll_fd, events, 256, left > 0 ? (left > 10 ? 10 : (int)left) : 0);
    for (int i = 0; i < n; ++i) {
      struct Conn* c = events[i].data.ptr;
      const int target = c->target;
      const bool keep = c->keep;
      if (step(c)) continue;
      end(c);
      if (keep) begin(target, true, 50000000);
    }
    if (left <= 0) usleep(200);  // two cores are shared by all of this
  }
  fclose(out);
  return 0;
}
