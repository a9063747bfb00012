// Requests over Unix sockets. Not the library's client: its timeouts begin anew with every byte that comes, so a server
// that dribbles holds its caller for ever, and a driver call that waits for Docker at boot must not (Docker waits for
// the driver call).
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "http/response_parser.h"
#include "http/unix_address.h"
#include "microseg/base/fd.h"
#include "microseg/http/http.h"

namespace microseg::http {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

// How long to wait, and how to be told to give up sooner.
struct Patience {
  std::optional<Clock::time_point> deadline;
  const std::function<bool()>* stop = nullptr;

  bool stopped() const { return stop && *stop && (*stop)(); }
  // Until the deadline, or until `stop` is to be looked at again.
  nanoseconds slice() const {
    nanoseconds left = std::chrono::hours(1);
    if (deadline) left = std::chrono::duration_cast<nanoseconds>(*deadline - Clock::now());
    if (stop) left = std::min<nanoseconds>(left, std::chrono::milliseconds(100));
    return left;
  }
  bool over() const { return stopped() || (deadline && Clock::now() >= *deadline); }
};

Error late(const std::string& path) { return {Errc::unavailable, ETIMEDOUT, path + " gave no whole answer in time"}; }

Error broken(int err, std::string_view what) {
  Error error = error_from_errno(err, what);
  // No socket, or nobody at it: both may change. A refusal for want of rights stays `denied`.
  if (error.code != Errc::denied && error.code != Errc::invalid) error.code = Errc::unavailable;
  return error;
}

// Until `events` are there; unavailable when patience ends first.
Status wait(int fd, short events, const Patience& patience, const std::string& path) {
  for (;;) {
    if (patience.over()) return late(path);
    const auto ns = std::max<std::int64_t>(patience.slice().count(), 0);
    const timespec left{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    pollfd p{fd, events, 0};
    const int n = ::ppoll(&p, 1, &left, nullptr);
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return broken(errno, "wait for " + path);
  }
}

Result<Fd> connect_unix(const std::string& path, const Patience& patience) {
  MS_TRY(const sockaddr_un address, unix_address(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return error_from_errno(errno, "make a socket");
  for (;;) {
    if (patience.over()) return late(path);
    // Where the listener's backlog is full a non-blocking connect fails at once, with nothing to poll for. A blocking
    // one waits for room, as long as the send timeout says.
    const auto us = std::max<std::int64_t>(patience.slice().count() / 1000, 1);
    const timeval left{static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) != 0)
      return error_from_errno(errno, "bound the connect to " + path);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) break;
    if (errno != EAGAIN && errno != EINTR) return broken(errno, "connect to " + path);
  }
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return error_from_errno(errno, "make the connection to " + path + " non-blocking");
  return fd;
}

// Sends what the server takes. One that hangs up early may have answered first (413), so that is no error yet.
Status send_all(int fd, std::string_view data, const Patience& patience, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n > 0) {
      data.remove_prefix(static_cast<std::size_t>(n));
      if (patience.over()) return late(path);
      continue;
    }
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return {};
    if (n < 0 && errno != EAGAIN && errno != EINTR) return broken(errno, "send to " + path);
    MS_CHECK(wait(fd, POLLOUT, patience, path));
  }
  return {};
}

Result<std::string> request_text(const std::string& method, const std::string& target, const std::string& body) {
  const auto printable = [](const std::string& s) {
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c > ' ' && c <= '~'; });
  };
  if (!printable(method) || !printable(target) || target[0] != '/')
    return Error{Errc::invalid, 0, "not an HTTP request: '" + method + " " + target + "'"};
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  if (!body.empty()) text += "Content-Type: application/json\r\n";
  if (!body.empty() || method == "POST" || method == "PUT")
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

// One whole exchange. `on_head` is called once, when the head of the answer has come and before any of its body.
Status exchange(const std::string& path, std::string_view request, const Patience& patience, ResponseParser& parser,
                const ResponseParser::OnBody& on_body, const std::function<void()>& on_head) {
  MS_TRY(const Fd fd, connect_unix(path, patience));
  MS_CHECK(send_all(fd.get(), request, patience, path));
  bool head = false;
  const auto body_after_head = [&](std::string_view data) {
    if (!std::exchange(head, true)) on_head();
    on_body(data);
  };
  std::string buffer(64 << 10, '\0');
  while (!parser.complete()) {
    MS_CHECK(wait(fd.get(), POLLIN, patience, path));
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return broken(errno, "read from " + path);
    MS_CHECK(n == 0 ? parser.finish() : parser.feed({buffer.data(), static_cast<std::size_t>(n)}, body_after_head));
    if (parser.status() && !std::exchange(head, true)) on_head();
  }
  return {};
}

}  // namespace

Result<Response> request_unix(const std::string& path, const std::string& method, const std::string& target,
                              const std::string& body, std::chrono::steady_clock::time_point deadline) {
  MS_TRY(const std::string request, request_text(method, target, body));
  ResponseParser parser(ResponseParser::kMaxBody, method == "HEAD");
  Response response;
  MS_CHECK(
      exchange(
          path, request, {deadline, nullptr}, parser, [&](std::string_view data) { response.body.append(data); }, [] {})
          .in(method + " " + target));
  response.status = parser.status().value_or(0);
  response.content_type = parser.content_type();
  return response;
}

Status stream_unix(const std::string& path, const std::string& target, const std::function<void(int)>& on_status,
                   const std::function<void(std::string_view)>& on_data, const std::function<bool()>& stop) {
  MS_TRY(const std::string request, request_text("GET", target, ""));
  ResponseParser parser(ResponseParser::kEndless);
  auto done = exchange(path, request, {std::nullopt, &stop}, parser, on_data, [&] { on_status(*parser.status()); });
  if (!done && stop && stop()) return {};
  return std::move(done).in("GET " + target);
}

}  // namespace microseg::http
