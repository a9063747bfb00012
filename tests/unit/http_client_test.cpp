#include <doctest/doctest.h>

#include <atomic>
#include <cstdio>
#include <tuple>
#include <vector>

#include "http_testing.h"

using namespace microseg;
using namespace microseg::test;

namespace {

// How long a request took, and what came of it.
struct Outcome {
  std::string text;
  Errc code = Errc::kernel;
  int late_ms = 0;  // after (negative: before) the deadline
};

Outcome ask(const std::string& path, Clock::duration patience, const std::string& body = "") {
  const auto deadline = Clock::now() + patience;
  auto response = http::request_unix(path, body.empty() ? "GET" : "POST", "/x", body, deadline);
  const int late = static_cast<int>((Clock::now() - deadline) / 1ms);
  if (response) return {std::to_string(response->status) + " " + response->body, Errc::kernel, late};
  return {response.error().text, response.error().code, late};
}

// A listener whose backlog is full: further connects wait.
struct FullBacklog {
  explicit FullBacklog(const std::string& path) : listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = http::unix_address(path).value();
    REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.get(), 0) == 0);
    for (;;) {
      Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) break;
      clients.push_back(std::move(fd));
    }
    REQUIRE(errno == EAGAIN);
  }
  Fd listener;
  std::vector<Fd> clients;
};

}  // namespace

TEST_CASE("the request as it is sent") {
  TempDir dir;
  std::string heard;
  {
    ScriptedServer server(dir / "s", [&](int fd) {
      heard = hear_head(fd);
      say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    CHECK(ask(dir / "s", 5s, "[1]").text == "200 {}");
  }
  CHECK(heard ==
        "POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: 3\r\n\r\n");
}

TEST_CASE("what can not be a request is not sent") {
  TempDir dir;
  for (const char* target : {"", "x", "/a b", "/a\r\nHost: evil", "/\xc3\xa4"}) {
    CAPTURE(std::string(target));
    auto response = http::request_unix(dir / "none", "GET", target, "", Clock::now() + 1s);
    REQUIRE(!response);
    CHECK(response.error().code == Errc::invalid);
  }
}

TEST_CASE("servers that are not there or misbehave") {
  TempDir dir;
  {
    std::ignore = ScriptedServer(dir / "stale", [](int) {});
  }
  FILE* file = std::fopen((dir / "file").c_str(), "w");
  REQUIRE(file);
  (void)std::fclose(file);
  struct {
    const char* socket;
    const char* says;  // null: no server is started
    const char* outcome;
    Errc code;
  } rows[] = {
      {"none", nullptr, "GET /x: connect to", Errc::unavailable},
      {"stale", nullptr, "GET /x: connect to", Errc::unavailable},
      {"file", nullptr, "GET /x: connect to", Errc::unavailable},
      {"mute", "", "GET /x: the server closed the connection without an answer", Errc::unavailable},
      {"cut", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
       "GET /x: the server closed the connection in the middle of its answer", Errc::unavailable},
      {"ssh", "SSH-2.0-OpenSSH\r\n", "GET /x: unreadable HTTP answer", Errc::invalid},
      {"garbage", "\r\n\r\n\r\n", "GET /x: unreadable HTTP answer", Errc::invalid},
      {"huge", "HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n", "GET /x: unreadable HTTP answer: a body larger",
       Errc::invalid},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.socket));
    std::optional<ScriptedServer> server;
    if (row.says)
      server.emplace(dir / row.socket, [&](int fd) {
        (void)hear_head(fd);
        say(fd, row.says);
      });
    const auto outcome = ask(dir / row.socket, 5s);
    CHECK_MESSAGE(outcome.text.starts_with(row.outcome), outcome.text);
    CHECK(outcome.code == row.code);
    CHECK(outcome.late_ms < -4000);  // known at once, not by the deadline
  }
}

TEST_CASE("an early answer is read although the request was not taken") {
  TempDir dir;
  ScriptedServer server(dir / "s", [](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}");
  });
  CHECK(ask(dir / "s", 5s, std::string(4 << 20, 'x')).text == "413 {}");
}

TEST_CASE("the deadline holds, whatever the server does") {
  TempDir dir;
  const FullBacklog full(dir / "full");
  const auto never = [](int fd) { hear_until_hangup(fd); };
  const auto dribble = [](std::string_view head) {
    return [head](int fd) {
      (void)hear_head(fd);
      say(fd, head);
      pollfd gone{fd, POLLRDHUP, 0};
      while (::poll(&gone, 1, 5) == 0) say(fd, "x");
    };
  };
  struct {
    const char* title;
    const char* socket;
    std::function<void(int)> play;
    std::string body;
  } rows[] = {
      {"a full backlog", "full", {}, ""},
      {"accepts and never answers", "mute", never, ""},
      {"dribbles the head", "head", dribble("HTTP/1.1 200 OK\r\nA: "), ""},
      {"dribbles the body", "body", dribble("HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"), ""},
      {"dribbles to an end that never comes", "end", dribble("HTTP/1.1 200 OK\r\n\r\n"), ""},
      {"never reads a large request", "deaf",
       [](int fd) {
         pollfd gone{fd, POLLRDHUP, 0};
         (void)::poll(&gone, 1, 10000);
       },
       std::string(8 << 20, 'x')},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    std::optional<ScriptedServer> server;
    if (row.play) server.emplace(dir / row.socket, row.play);
    int best = 1000;  // a busy machine may hold up any one try
    for (int attempt = 0; attempt < 5 && best > 20; ++attempt) {
      const auto outcome = ask(dir / row.socket, 150ms, row.body);
      CHECK(outcome.code == Errc::unavailable);
      CHECK_MESSAGE(outcome.text.find("gave no whole answer in time") != std::string::npos, outcome.text);
      CHECK(outcome.late_ms >= 0);
      best = std::min(best, outcome.late_ms);
    }
    MESSAGE(std::string(row.title) << ": " << best << " ms late");
    CHECK(best <= 20);
  }
}

TEST_CASE("a deadline that has passed sends nothing") {
  TempDir dir;
  std::atomic<int> connections = 0;
  {
    ScriptedServer server(dir / "s", [&](int) { ++connections; });
    CHECK(ask(dir / "s", -1s).code == Errc::unavailable);
  }
  CHECK(connections == 0);
}

TEST_CASE("a stream gives its data as it comes, and ends with the server") {
  TempDir dir;
  std::atomic<int> received = 0;
  ScriptedServer server(dir / "s", [&](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; ++i) {
      say(fd, "2\r\n" + std::to_string(i) + "\n\r\n");
      received.wait(i);  // the next piece only after the client has been given this one
    }
    say(fd, "0\r\n\r\n");
  });
  std::string data;
  int status = 0;
  auto done = http::stream_unix(
      dir / "s", "/events",
      [&](int code) {
        CHECK(data.empty());
        status = code;
      },
      [&](std::string_view piece) {
        data += piece;
        ++received;
        received.notify_all();
      },
      [] { return false; });
  CHECK(done);
  CHECK(status == 200);
  CHECK(data == "0\n1\n2\n");
}

TEST_CASE("a stream that breaks off is an error") {
  TempDir dir;
  ScriptedServer server(dir / "s", [&](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n");
  });
  int statuses = 0;
  auto done = http::stream_unix(
      dir / "s", "/events", [&](int) { ++statuses; }, [](std::string_view) {}, [] { return false; });
  REQUIRE(!done);
  CHECK(done.error().code == Errc::unavailable);
  CHECK(statuses == 1);
}

TEST_CASE("a stream stops within 200 ms of being told to") {
  TempDir dir;
  const FullBacklog full(dir / "full");
  ScriptedServer mute(dir / "mute", [](int fd) { hear_until_hangup(fd); });
  ScriptedServer quiet(dir / "quiet", [](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    hear_until_hangup(fd);
  });
  ScriptedServer busy(dir / "busy", [](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    pollfd gone{fd, POLLRDHUP, 0};
    while (::poll(&gone, 1, 1) == 0) say(fd, "1\r\nx\r\n");
  });
  for (const char* name : {"full", "mute", "quiet", "busy"}) {
    CAPTURE(std::string(name));
    int best = 1000;
    for (int attempt = 0; attempt < 5 && best > 200; ++attempt) {
      const auto until = Clock::now() + 130ms;
      auto done = http::stream_unix(
          dir / name, "/events", [](int) {}, [](std::string_view) {}, [&] { return Clock::now() >= until; });
      CHECK(done);
      CHECK(Clock::now() >= until);
      best = std::min(best, static_cast<int>((Clock::now() - until) / 1ms));
    }
    CHECK(best <= 200);
  }
}
