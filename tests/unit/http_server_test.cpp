#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <future>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "http_testing.h"
#include "microseg/base/log.h"

using namespace microseg;
using namespace microseg::test;

namespace {

http::Response echo(const http::Request& r) {
  return {200, r.method + "|" + r.path + "|" + r.query + "|" + r.body, "text/plain"};
}

struct EchoServer {
  explicit EchoServer(http::ServerOptions options = {}, http::Handler handler = echo) {
    auto listening = http::listen_unix(path, options);
    REQUIRE_MESSAGE(listening, listening.error().text);
    server = std::move(listening).value();
    server->start(std::move(handler));
  }
  std::string post(const std::string& body) {
    auto response = http::request_unix(path, "POST", "/p", body, Clock::now() + 10s);
    return response ? response->body : response.error().text;
  }
  TempDir dir;
  std::string path = dir / "s.sock";
  std::unique_ptr<http::Server> server;
};

std::string chunked(const std::string& body, std::size_t size) {
  std::string out;
  for (std::size_t at = 0; at < body.size(); at += size) {
    const std::string piece = body.substr(at, size);
    char head[32];
    (void)std::snprintf(head, sizeof head, "%zx\r\n", piece.size());
    out += head + piece + "\r\n";
  }
  return out + "0\r\n\r\n";
}

std::set<int> open_descriptors() {
  std::set<int> out;
  for (auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    out.insert(std::stoi(entry.path().filename().string()));
  std::erase_if(out, [](int fd) { return ::fcntl(fd, F_GETFD) < 0; });  // the folder that was listed is closed again
  return out;
}

}  // namespace

TEST_CASE("what the handler is given") {
  http::ServerOptions options;
  options.max_body = 1000;
  EchoServer echo_server(options);
  const std::string end = "\r\n\r\n";
  struct {
    const char* title;
    std::string request, outcome;
  } rows[] = {
      {"as Docker 29 sends it",
       "POST /NetworkDriver.Join HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\n"
       "Content-Length: 3\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n{}\n",
       "POST|/NetworkDriver.Join||{}\n"},
      {"as Docker 20 sends it: the socket's path, escaped, as Host",
       "POST /Plugin.Activate HTTP/1.1\r\nHost: %2Frun%2Fdocker%2Fplugins%2Fmicroseg.sock\r\nContent-Length: 0\r\n\r\n",
       "POST|/Plugin.Activate||"},
      {"a Host with what no host name has", "POST /x HTTP/1.1\r\nHost: a b/<>\"\r\nContent-Length: 0\r\n\r\n",
       "POST|/x||"},
      {"no Host", "POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na", "POST|/x||a"},
      {"two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET|/x||"},
      {"a repeated call whose body is lost", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST|/x||"},
      {"POST without any length", "POST /x HTTP/1.1\r\nHost: h\r\n\r\n", "POST|/x||"},
      {"chunks", "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("hello world", 4),
       "POST|/x||hello world"},
      {"chunks of one byte, as many as may be",
       "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(std::string(1000, 'a'), 1),
       "POST|/x||" + std::string(1000, 'a')},
      {"chunks of nothing", "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST|/x||"},
      {"the largest body", "POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'a'),
       "POST|/x||" + std::string(1000, 'a')},
      {"bytes of all kinds", "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n" + std::string("\0\r\n\xff\n", 5),
       "POST|/x||" + std::string("\0\r\n\xff\n", 5)},
      {"curl -d: called a form",
       "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\na=%41&b",
       "POST|/x||a=%41&b"},
      {"called multipart",
       "POST /x HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 2\r\n\r\n{}",
       "POST|/x||{}"},
      {"GET and a query", "GET /a/b?c=%20d&e HTTP/1.1" + end, "GET|/a/b|c=%20d&e|"},
      {"PUT", "PUT /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na", "PUT|/x||a"},
      {"PATCH", "PATCH /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na", "PATCH|/x||a"},
      {"DELETE", "DELETE /x HTTP/1.1" + end, "DELETE|/x||"},
      {"DELETE with a body", "DELETE /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na", "DELETE|/x||a"},
      {"OPTIONS", "OPTIONS /x HTTP/1.1" + end, "OPTIONS|/x||"},
      {"an escaped path", "GET /a%20b%2Fc HTTP/1.1" + end, "GET|/a b/c||"},
      {"a path with a line break in it", "GET /a%0Ab HTTP/1.1" + end, "GET|/a\nb||"},
      {"a path of 8000 bytes", "GET /" + std::string(8000, 'p') + " HTTP/1.1" + end,
       "GET|/" + std::string(8000, 'p') + "||"},
      {"a range is not served in part", "GET /x HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n", "GET|/x||"},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    RawClient client(echo_server.path);
    REQUIRE(client.send(row.request + row.request));  // the second shows that the first was read to its end
    for (int i = 0; i < 2; ++i) {
      auto response = client.answer();
      REQUIRE(response);
      CHECK(response->status == 200);
      CHECK(response->body == row.outcome);
      CHECK(response->content_type == "text/plain");
    }
  }
}

TEST_CASE("HEAD is answered with the head") {
  EchoServer server;
  RawClient client(server.path);
  for (int i = 0; i < 2; ++i) {
    client.send("HEAD /x HTTP/1.1\r\n\r\n");
    auto response = client.answer(true);
    REQUIRE(response);
    CHECK(response->status == 200);
  }
}

TEST_CASE("a client that asks before it sends is told to go on") {
  EchoServer server;
  RawClient client(server.path);
  client.send("POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(client.readable(10s));
  client.send("{}");
  auto response = client.answer();
  REQUIRE(response);
  CHECK(response->body == "POST|/x||{}");
}

TEST_CASE("malformed input is answered with an error, and the server serves on") {
  set_log_level(LogLevel::error);
  http::ServerOptions options;
  options.max_body = 1000;
  EchoServer server(options);
  const std::string post = "POST /x HTTP/1.1\r\n";
  struct {
    const char* title;
    std::string request;
    int status;
  } rows[] = {
      {"bytes", "\x01\x02\xff\xfe\r\n\r\n", 400},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15), 400},
      {"an empty line", "\r\n\r\n", 400},
      {"one word", "hello\r\n\r\n", 400},
      {"an unknown method", "FETCH /x HTTP/1.1\r\n\r\n", 400},
      {"no version", "GET /x\r\n\r\n", 400},
      {"HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"HTTP/3.7", "GET /x HTTP/3.7\r\n\r\n", 400},
      {"a request line cut short", "POST /x HT", 400},
      {"a head cut short", post + "Content-Le", 400},
      {"a body cut short", post + "Content-Length: 10\r\n\r\nabc", 400},
      {"a garbled length", post + "Content-Length: ten\r\n\r\n0123456789", 400},
      {"a negative length", post + "Content-Length: -5\r\n\r\nhello", 400},
      {"two lengths", post + "Content-Length: 1\r\nContent-Length: 5\r\n\r\nhello", 400},
      {"length and chunks", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"an unknown transfer encoding", post + "Transfer-Encoding: gzip\r\n\r\nhello", 400},
      {"a chunk without size", post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n", 400},
      {"chunks cut short", post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 400},
      {"a chunk longer than it says", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400},
      {"a compressed body", post + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415},
      {"GET with a body", "GET /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400},
      {"a body of one byte too many", post + "Content-Length: 1001\r\n\r\n" + std::string(1001, 'a'), 413},
      {"a body of petabytes", post + "Content-Length: 9000000000000000\r\n\r\n" + std::string(100, 'a'), 413},
      {"chunks of too much", post + "Transfer-Encoding: chunked\r\n\r\n" + chunked(std::string(1001, 'a'), 100), 413},
      {"a chunk of 2^64 - 2", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffe\r\n" + std::string(3000, 'a'),
       413},
      {"a request line of 9 KB", "GET /" + std::string(9000, 'p') + " HTTP/1.1\r\n\r\n", 414},
      {"a request line without end", "GET /" + std::string(1 << 20, 'p'), 400},
      {"a header without end", post + "A: " + std::string(1 << 20, 'h'), 400},
      {"headers without end",
       post +
           [] {
             std::string many;
             for (int i = 0; i < 100000; ++i) many += "A: b\r\n";
             return many;
           }(),
       400},
      {"a garbled range", "GET /x HTTP/1.1\r\nRange: bytes=5-1\r\n\r\n", 416},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    RawClient client(server.path);
    (void)client.send(row.request);
    client.end_sending();
    auto response = client.answer();
    REQUIRE(response);
    CHECK(response->status == row.status);
    CHECK_MESSAGE(response->body.starts_with("{\"Err\":\""), response->body);
    CHECK(response->content_type == "application/json");
    CHECK(client.ended());  // what follows is not taken for a request
    CHECK(server.post("still there") == "POST|/p||still there");
  }
}

TEST_CASE("a client that says nothing, or hangs up at once, does no harm") {
  EchoServer server;
  for (int i = 0; i < 50; ++i) RawClient client(server.path);
  RawClient half(server.path);
  half.end_sending();
  CHECK(half.ended());
  CHECK(server.post("x") == "POST|/p||x");
}

TEST_CASE("connections are kept as long as the client likes") {
  EchoServer server;
  RawClient client(server.path);
  const std::string request = "POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na";
  client.send(request);
  CHECK(client.answer());
  CHECK(!client.readable(6s));  // longer than the 5 s after which the library would close it
  for (int i = 0; i < 300; ++i) {
    REQUIRE(client.send(request));
    REQUIRE(client.answer());
  }
  client.send("POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\na");
  CHECK(client.answer());
  CHECK(client.ended());
}

TEST_CASE("requests that come together are answered in turn") {
  EchoServer server;
  RawClient client(server.path);
  std::string all;
  for (int i = 0; i < 100; ++i) all += "POST /" + std::to_string(i) + " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
  client.send(all);
  for (int i = 0; i < 100; ++i) {
    auto response = client.answer();
    REQUIRE(response);
    CHECK(response->body == "POST|/" + std::to_string(i) + "||{}");
  }
}

TEST_CASE("64 requests are handled at the same time") {
  std::latch all_inside(64);
  EchoServer server({}, [&](const http::Request& r) {
    all_inside.arrive_and_wait();  // nobody leaves before everybody is in
    return echo(r);
  });
  std::vector<std::future<std::string>> answers;
  for (int i = 0; i < 64; ++i)
    answers.push_back(std::async(std::launch::async, [&, i] { return server.post(std::to_string(i)); }));
  for (int i = 0; i < 64; ++i) CHECK(answers[static_cast<std::size_t>(i)].get() == "POST|/p||" + std::to_string(i));
}

TEST_CASE("connections beyond the limit wait") {
  http::ServerOptions options;
  options.max_connections = 2;
  EchoServer server(options);
  const std::string request = "GET /x HTTP/1.1\r\n\r\n";
  auto first = std::make_unique<RawClient>(server.path);
  RawClient second(server.path), third(server.path);
  first->send(request);
  second.send(request);
  CHECK(first->answer());
  CHECK(second.answer());
  third.send(request);
  CHECK(!third.readable(100ms));
  first.reset();
  CHECK(third.answer());
}

TEST_CASE("clients that dribble hold up nobody else") {
  EchoServer server;
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<RawClient>(server.path));
    slow.back()->send(i % 2 ? "POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\na" : "POST /x HT");
  }
  int best = 1000;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto begun = Clock::now();
    CHECK(server.post("fast") == "POST|/p||fast");
    best = std::min(best, static_cast<int>((Clock::now() - begun) / 1ms));
  }
  CHECK(best < 50);
}

TEST_CASE("a handler that throws is a 500, one that says nothing says {}") {
  set_log_level(LogLevel::error);
  EchoServer server({}, [](const http::Request& r) -> http::Response {
    if (r.path == "/throw") throw std::runtime_error("boom");
    return {r.path == "/teapot" ? 418 : 200, "", "application/json"};
  });
  RawClient client(server.path);
  const auto get = [&](const std::string& path) {
    client.send("GET " + path + " HTTP/1.1\r\n\r\n");
    auto response = client.answer();
    REQUIRE(response);
    return std::to_string(response->status) + " " + response->body;
  };
  CHECK(get("/throw") == "500 {\"Err\":\"internal error; the log of microsegd says more\"}");
  CHECK(get("/quiet") == "200 {}");
  CHECK(get("/teapot") == "418 {}");
}

TEST_CASE("listening comes before serving") {
  TempDir dir;
  const std::string path = dir / "made/on/the/way/s.sock";
  auto server = std::move(http::listen_unix(path, {})).value();
  struct stat file {};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 07777) == 0600);
  auto early = std::async(std::launch::async,
                          [&] { return http::request_unix(path, "POST", "/early", "{}", Clock::now() + 10s); });
  CHECK(early.wait_for(50ms) == std::future_status::timeout);
  server->start(echo);
  auto response = early.get();
  REQUIRE(response);
  CHECK(response->body == "POST|/early||{}");
}

TEST_CASE("where a server can listen") {
  TempDir dir;
  {
    const ScriptedServer gone(dir / "stale", [](int) {});
  }
  const ScriptedServer other(dir / "live", [](int) {});
  std::ofstream(dir / "file") << "precious";
  const auto outcome = [&](const std::string& path) {
    auto server = http::listen_unix(path, {});
    return server ? std::optional<Errc>() : server.error().code;
  };
  CHECK(outcome(dir / "new") == std::nullopt);
  CHECK(outcome(dir / "stale") == std::nullopt);
  CHECK(outcome(dir / "live") == Errc::exists);
  CHECK(outcome(dir / "file") == Errc::invalid);
  CHECK(std::filesystem::file_size(dir / "file") == 8);
  CHECK(outcome("") == Errc::invalid);
  CHECK(outcome(dir / std::string(200, 'n')) == Errc::invalid);
  auto first = http::listen_unix(dir / "mine", {});
  CHECK(outcome(dir / "mine") == Errc::exists);
}

TEST_CASE("stopping takes the socket away, unless a successor listens there") {
  TempDir dir;
  const std::string path = dir / "s";
  auto first = std::move(http::listen_unix(path, {})).value();
  first->start(echo);
  std::filesystem::remove(path);
  auto second = std::move(http::listen_unix(path, {})).value();
  first->stop();
  CHECK(std::filesystem::exists(path));
  second->stop();
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("stopping ends idle connections at once and lets running requests finish") {
  std::promise<void> inside, go_on;
  EchoServer server({}, [&](const http::Request& r) {
    if (r.path == "/slow") {
      inside.set_value();
      go_on.get_future().wait();
    }
    return echo(r);
  });
  RawClient idle(server.path), used(server.path), half(server.path), slow(server.path);
  used.send("GET /x HTTP/1.1\r\n\r\n");
  CHECK(used.answer());
  half.send("POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  slow.send("GET /slow HTTP/1.1\r\n\r\n");
  inside.get_future().wait();

  const auto begun = Clock::now();
  auto stopped = std::async(std::launch::async, [&] { server.server->stop(); });
  CHECK(idle.ended());
  CHECK(used.ended());
  CHECK(half.readable(10s));  // an error answer, or the end
  CHECK(Clock::now() - begun < 5s);  // and not when the running request ends
  CHECK(stopped.wait_for(50ms) == std::future_status::timeout);
  CHECK(!slow.readable(0s));
  go_on.set_value();
  auto response = slow.answer();
  REQUIRE(response);
  CHECK(response->body == "GET|/slow||");
  CHECK(slow.ended());
  CHECK(stopped.wait_for(5s) == std::future_status::ready);
  server.server->stop();  // again
  CHECK(!http::request_unix(server.path, "GET", "/x", "", Clock::now() + 1s));
}

TEST_CASE("a client that takes no answer can not hold up the stop") {
  EchoServer server({}, [](const http::Request&) { return http::Response{200, std::string(16 << 20, 'x')}; });
  RawClient client(server.path);
  client.send("GET /x HTTP/1.1\r\n\r\n");
  CHECK(client.readable(10s));
  const auto begun = Clock::now();
  server.server->stop();
  CHECK(Clock::now() - begun < 3s);
}

TEST_CASE("no descriptor survives an exec") {
  const auto before = open_descriptors();
  std::promise<std::set<int>> during;
  EchoServer server({}, [&](const http::Request& r) {
    during.set_value(open_descriptors());
    return echo(r);
  });
  RawClient client(server.path);
  client.send("GET /x HTTP/1.1\r\n\r\n");
  const auto now = during.get_future().get();
  CHECK(client.answer());
  int checked = 0;
  for (const int fd : now) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (before.contains(fd)) continue;
    ++checked;
    CAPTURE(fd);
    CHECK((flags & FD_CLOEXEC) != 0);
  }
  CHECK(checked >= 4);  // listener, eventfd, both ends of the connection
}

TEST_CASE("a stopped server has no descriptor open") {
  const auto before = open_descriptors();
  EchoServer server;
  CHECK(server.post("x") == "POST|/p||x");
  CHECK(open_descriptors() != before);
  server.server->stop();
  CHECK(open_descriptors() == before);
}

TEST_CASE("other users are refused, whatever the file's mode") {
  if (::geteuid() != 0) {
    MESSAGE("needs root: skipped");
    return;
  }
  const auto ask_as_nobody = [](bool root_only) {
    http::ServerOptions options;
    options.mode = 0666;
    options.root_only = root_only;
    EchoServer server(options);
    std::filesystem::permissions(std::filesystem::path(server.path).parent_path(), std::filesystem::perms(0755));
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setuid(65534) != 0) ::_exit(1);
      RawClient client(server.path);
      client.send("GET /x HTTP/1.1\r\n\r\n");
      auto response = client.answer();
      ::_exit(!response ? 2 : response->status == 200 ? 20 : response->status == 403 ? 43 : 3);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(server.post("x") == "POST|/p||x");
    return WEXITSTATUS(status);
  };
  CHECK(ask_as_nobody(true) == 43);
  CHECK(ask_as_nobody(false) == 20);
}
