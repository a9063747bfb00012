// What the tests of HTTP share: a folder of their own, a client that sends exactly the bytes it is told, and a server
// that plays a script.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "http/response_parser.h"
#include "http/unix_address.h"
#include "microseg/base/fd.h"
#include "microseg/http/http.h"

namespace microseg::test {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/microseg-http-XXXXXX";
    if (!::mkdtemp(name)) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = http::unix_address(path).value();
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("connect " + path + ": " + std::strerror(errno));
  }

  // False when the server has hung up.
  bool send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void end_sending() { (void)::shutdown(fd_.get(), SHUT_WR); }

  // The next answer, or nothing when the server hung up, answered with no HTTP, or took longer than `patience`.
  std::optional<http::Response> answer(bool head_only = false, Clock::duration patience = 10s) {
    http::ResponseParser parser(http::ResponseParser::kMaxBody, head_only);
    http::Response response;
    const auto deadline = Clock::now() + patience;
    while (!parser.complete()) {
      char byte;  // one at a time: the rest may belong to the next answer
      if (!readable(deadline - Clock::now())) return std::nullopt;
      if (::recv(fd_.get(), &byte, 1, 0) != 1) return std::nullopt;
      if (!parser.feed({&byte, 1}, [&](std::string_view data) { response.body.append(data); })) return std::nullopt;
    }
    response.status = *parser.status();
    response.content_type = parser.content_type();
    return response;
  }

  bool readable(Clock::duration patience) {
    pollfd p{fd_.get(), POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    return ::poll(&p, 1, static_cast<int>(std::max<std::int64_t>(ms, 0))) > 0;
  }
  // The server hung up, and sent nothing more before.
  bool ended(Clock::duration patience = 10s) {
    char byte;
    return readable(patience) && ::recv(fd_.get(), &byte, 1, 0) <= 0;
  }

 private:
  Fd fd_;
};

// Accepts one connection after another and lets `play` have it; `play` returns at the latest when the client hangs up.
class ScriptedServer {
 public:
  ScriptedServer(const std::string& path, std::function<void(int)> play)
      : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = http::unix_address(path).value();
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 16) != 0)
      throw std::runtime_error("listen " + path);
    thread_ = std::thread([this, play = std::move(play)] {
      for (;;) {
        Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd.is_open()) return;
        play(fd.get());
      }
    });
  }
  ~ScriptedServer() {
    (void)::shutdown(listener_.get(), SHUT_RDWR);  // ends the accept
    thread_.join();
  }

 private:
  Fd listener_;
  std::thread thread_;
};

inline void say(int fd, std::string_view data) { (void)::send(fd, data.data(), data.size(), MSG_NOSIGNAL); }

// Reads up to the end of the request's head.
inline std::string hear_head(int fd) {
  std::string text;
  char byte;
  while (!text.ends_with("\r\n\r\n") && ::recv(fd, &byte, 1, 0) == 1) text += byte;
  return text;
}

inline void hear_until_hangup(int fd) {
  char buffer[4096];
  while (::recv(fd, buffer, sizeof buffer, 0) > 0) {
  }
}

}  // namespace microseg::test
