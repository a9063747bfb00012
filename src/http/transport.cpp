#include "http/transport.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace microseg::http {
namespace {

using Clock = std::chrono::steady_clock;

// A request that has begun must arrive within this: a client that dribbles holds a thread no longer.
constexpr auto kRequestTime = std::chrono::seconds(30);
// A client that takes none of its answer for this long is gone.
constexpr auto kWriteStall = std::chrono::seconds(30);
constexpr auto kWriteStallStopping = std::chrono::seconds(1);
// What finish() swallows at most.
constexpr auto kDrainTime = std::chrono::seconds(1);
constexpr std::size_t kDrainBytes = 64 << 20;

enum class Wake { ready, stopped, timeout };

Wake wait(int fd, short events, int stop_fd, const Clock::time_point* deadline) {
  for (;;) {
    timespec left{};
    if (deadline) {
      auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(*deadline - Clock::now()).count();
      if (ns <= 0) return Wake::timeout;
      left = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    }
    pollfd fds[] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};
    if (::ppoll(fds, 2, deadline ? &left : nullptr, nullptr) < 0) {
      if (errno == EINTR) continue;
      return Wake::timeout;
    }
    if (fds[1].revents) return Wake::stopped;
    if (fds[0].revents) return Wake::ready;
  }
}

}  // namespace

ssize_t SocketTransport::fill(const Clock::time_point* deadline) {
  for (;;) {
    if (wait(fd_, POLLIN, stop_fd_, deadline) != Wake::ready) return -1;
    buffer_.resize(16384);
    taken_ = 0;
    const ssize_t n = ::recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    buffer_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (n >= 0) return n;
    if (errno != EAGAIN && errno != EINTR) return -1;
  }
}

bool SocketTransport::await_request() {
  pollfd stop{stop_fd_, POLLIN, 0};
  if (::poll(&stop, 1, 0) > 0) return false;
  // No limit here: Docker keeps idle connections for ever, and where the server closed one that Docker is about to
  // use, the call is repeated with an empty body.
  if (taken_ == buffer_.size() && fill(nullptr) <= 0) return false;
  deadline_ = Clock::now() + kRequestTime;
  return true;
}

ssize_t SocketTransport::read(char* data, std::size_t size) {
  if (taken_ == buffer_.size())
    if (const ssize_t n = fill(&deadline_); n <= 0) return n;
  const std::size_t n = std::min(size, buffer_.size() - taken_);
  std::memcpy(data, buffer_.data() + taken_, n);
  taken_ += n;
  return static_cast<ssize_t>(n);
}

bool SocketTransport::write(const char* data, std::size_t size) {
  const auto begun = Clock::now();
  auto deadline = begun + kWriteStall;
  int stop_fd = stop_fd_;
  while (size > 0) {
    const ssize_t n = ::send(fd_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      data += n;
      size -= static_cast<std::size_t>(n);
      if (stop_fd >= 0) deadline = Clock::now() + kWriteStall;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return false;
    switch (wait(fd_, POLLOUT, stop_fd, &deadline)) {
      case Wake::ready: break;
      case Wake::timeout: return false;
      case Wake::stopped:  // a running request finishes, but it can not hold up the stop
        stop_fd = -1;      // poll() ignores negative descriptors
        deadline = Clock::now() + kWriteStallStopping;
    }
  }
  return true;
}

void SocketTransport::finish() {
  (void)::shutdown(fd_, SHUT_WR);
  const auto deadline = Clock::now() + kDrainTime;
  for (std::size_t drained = 0; drained < kDrainBytes;) {
    const ssize_t n = fill(&deadline);
    if (n <= 0) return;
    drained += static_cast<std::size_t>(n);
  }
}

}  // namespace microseg::http
