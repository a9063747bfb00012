// The client against an engine that our own HTTP server plays.
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "http_testing.h"
#include "microseg/docker/engine_api.h"

using namespace microseg;
using namespace microseg::test;

namespace {

const std::string kNet(64, 'a'), kOther(64, 'b'), kBox(64, 'c'), kEp(64, 'e');

std::string network_json(const std::string& id, const std::string& driver) {
  return R"({"Name":"n","Id":")" + id + R"(","Driver":")" + driver + R"(","Scope":"local","Containers":{"ep-)" + kEp +
         R"(":{"Name":"web","EndpointID":")" + kEp + R"("}},"Labels":{"k":"v"}})";
}

std::string container_json(const std::string& id, const std::string& name) {
  return R"({"Id":")" + id + R"(","Names":["/)" + name + R"("],"Labels":{}})";
}

struct FakeEngine {
  explicit FakeEngine(http::Handler answer) {
    auto listening = http::listen_unix(path, {});
    REQUIRE(listening);
    server = std::move(listening).value();
    server->start([this, answer = std::move(answer)](const http::Request& r) {
      std::lock_guard lock(mutex);
      targets.push_back(r.method + " " + r.path + (r.query.empty() ? "" : "?" + r.query));
      return answer(r);
    });
  }
  TempDir dir;
  std::string path = dir / "docker.sock";
  std::mutex mutex;
  std::vector<std::string> targets;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<docker::EngineApi> api = docker::make_engine_api(path);
};

docker::Deadline soon() { return Clock::now() + 10s; }
NetworkId net(const std::string& id) { return NetworkId::parse(id).value(); }

const auto kNobody = [](const docker::Event&) {};

}  // namespace

TEST_CASE("a network by its id") {
  FakeEngine engine([](const http::Request&) { return http::Response{200, network_json(kNet, "microseg")}; });
  auto network = engine.api->network(net(kNet), soon());
  REQUIRE(network);
  CHECK(network->name == "n");
  CHECK(network->endpoints.at(EndpointId::parse(kEp).value()) == "web");
  CHECK(engine.targets == std::vector<std::string>{"GET /networks/" + kNet});
  // An engine also finds networks by name and by the beginning of an id.
  auto other = engine.api->network(net("aaaa"), soon());
  REQUIRE(!other);
  CHECK(other.error().code == Errc::not_found);
}

TEST_CASE("this node's address") {
  FakeEngine engine([](const http::Request& r) {
    if (r.path != "/info") return http::Response{404, "{}"};
    return http::Response{200, R"({"Swarm":{"NodeAddr":"10.99.0.21","LocalNodeState":"active"}})"};
  });
  auto address = engine.api->node_address(soon());
  REQUIRE(address);
  CHECK(address.value() == Ip::v4({10, 99, 0, 21}));
  CHECK(engine.targets == std::vector<std::string>{"GET /info"});
}

TEST_CASE("all networks, without their endpoints") {
  FakeEngine engine([](const http::Request&) {
    std::string all = "[";
    for (const char* driver : {"bridge", "microseg:latest"})
      all += network_json(kNet, driver) + ",";
    all.back() = ']';
    return http::Response{200, all};
  });
  auto networks = engine.api->networks(soon());
  REQUIRE(networks);
  REQUIRE(networks->size() == 2);
  CHECK(networks.value()[0].driver == "bridge");
  CHECK(networks.value()[1].driver == "microseg:latest");
  CHECK(networks.value()[0].endpoints.empty());
  CHECK(networks.value()[0].labels.at("k") == "v");
}

TEST_CASE("a container by its exact name or id") {
  FakeEngine engine([](const http::Request& r) {
    CHECK(r.path == "/containers/json");
    return http::Response{200, "[" + container_json(kOther, "web2") + "," + container_json(kBox, "web") + "]"};
  });
  auto web = engine.api->container_by_name("web", soon());
  REQUIRE(web);
  CHECK(web->id == kBox);
  CHECK(engine.api->container_by_id(kOther, soon()).value().name == "web2");
  for (const char* name : {"we", "web3", "/web", ""}) {
    auto none = engine.api->container_by_name(name, soon());
    REQUIRE(!none);
    CHECK(none.error().code == Errc::not_found);
  }
  CHECK(engine.api->container_by_id("cccc", soon()).error().code == Errc::not_found);
  for (auto& target : engine.targets) CHECK(target.starts_with("GET /containers/json?all=1&filters=%7B"));
}

TEST_CASE("what a caller learns of an answer that is no success") {
  struct {
    int status;
    std::string body;
    Errc code;
    const char* text;
  } rows[] = {
      {404, R"({"message":"no such network"})", Errc::not_found, "the Docker engine answered 404: no such network"},
      {400, R"({"message":"invalid filter"})", Errc::invalid, "the Docker engine answered 400: invalid filter"},
      {500, R"({"message":"boom"})", Errc::unavailable, "the Docker engine answered 500: boom"},
      {503, "starting", Errc::unavailable, "the Docker engine answered 503: starting"},
      {301, "", Errc::invalid, "the Docker engine answered 301"},
      {200, "<html>", Errc::invalid, "unreadable answer of the Docker engine: not JSON"},
      {200, "{\"Id\":{}}", Errc::invalid, "unreadable answer of the Docker engine: Id is not text"},
      {200, "[{\"Names\":{}}]", Errc::invalid, "unreadable answer of the Docker engine"},
      {200, "7", Errc::invalid, "unreadable answer of the Docker engine"},
  };
  for (auto& row : rows) {
    CAPTURE(row.body);
    FakeEngine engine([&](const http::Request&) { return http::Response{row.status, row.body}; });
    const auto check = [&](const auto& result) {
      REQUIRE(!result);
      CHECK(result.error().code == row.code);
      return result.error().text;
    };
    const std::string text = check(engine.api->network(net(kNet), soon()));
    if (row.body[0] != '[') CHECK_MESSAGE(text.find(row.text) != std::string::npos, text);
    check(engine.api->networks(soon()));
    check(engine.api->container_by_name("web", soon()));
    check(engine.api->container_by_id(kBox, soon()));
    if (row.body[0] != '{') check(engine.api->node_address(soon()));
    if (row.status != 200) {
      bool opened = false;
      check(engine.api->follow([&] { opened = true; }, kNobody, [] { return false; }));
      CHECK(!opened);
    }
  }
}

TEST_CASE("an engine that is not there, or hangs") {
  TempDir dir;
  auto none = docker::make_engine_api(dir / "none")->network(net(kNet), soon());
  REQUIRE(!none);
  CHECK(none.error().code == Errc::unavailable);

  ScriptedServer hanging(dir / "hangs", [](int fd) { hear_until_hangup(fd); });
  auto api = docker::make_engine_api(dir / "hangs");
  int best = 1000;
  for (int attempt = 0; attempt < 5 && best > 20; ++attempt) {
    const auto deadline = Clock::now() + 100ms;
    auto late = api->container_by_name("web", deadline);
    REQUIRE(!late);
    CHECK(late.error().code == Errc::unavailable);
    CHECK(Clock::now() >= deadline);
    best = std::min(best, static_cast<int>((Clock::now() - deadline) / 1ms));
  }
  CHECK(best <= 20);
}

TEST_CASE("following events") {
  TempDir dir;
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string connect =
      R"({"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"c"}}})";
  const auto chunk = [](const std::string& data) {
    char size[32];
    (void)std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    return size + data + "\r\n";
  };
  std::atomic<bool> opened = false;
  std::string target;
  ScriptedServer engine(dir / "s", [&](int fd) {
    target = hear_head(fd);
    say(fd, head);
    opened.wait(false);  // on_open comes with the head, before any event
    say(fd, chunk(connect + "\n" + connect.substr(0, 20)) + chunk(connect.substr(20) + "\n") + chunk(""));
  });
  std::vector<std::string> seen;
  const auto before = std::chrono::system_clock::now().time_since_epoch() / 1s;
  auto done = docker::make_engine_api(dir / "s")->follow(
      [&] {
        CHECK(seen.empty());
        opened = true;
        opened.notify_all();
      },
      [&](const docker::Event& e) { seen.push_back(e.type + " " + e.action + " " + e.attributes.at("container")); },
      [] { return false; });
  CHECK(done);
  CHECK(seen == std::vector<std::string>{"network connect c", "network connect c"});
  REQUIRE(target.starts_with("GET /events?since="));
  const auto since = std::stoll(target.substr(std::string("GET /events?since=").size()));
  CHECK(since >= before - 2);
  CHECK(since <= before);
}

TEST_CASE("an event stream of garbage is an error, and what came before it counts") {
  TempDir dir;
  ScriptedServer engine(dir / "s", [&](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\n\r\n{\"Type\":\"a\",\"Action\":\"b\"}\ngarbage\n{\"Type\":\"a\",\"Action\":\"c\"}\n");
    hear_until_hangup(fd);
  });
  std::string seen;
  auto done = docker::make_engine_api(dir / "s")->follow([] {}, [&](const docker::Event& e) { seen += e.action; },
                                                         [] { return false; });
  REQUIRE(!done);
  CHECK(done.error().code == Errc::invalid);
  CHECK(seen == "b");
}

TEST_CASE("following stops when told to, with or without an answer") {
  TempDir dir;
  ScriptedServer mute(dir / "mute", [](int fd) { hear_until_hangup(fd); });
  ScriptedServer quiet(dir / "quiet", [](int fd) {
    (void)hear_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    hear_until_hangup(fd);
  });
  for (const std::string name : {"mute", "quiet"}) {
    CAPTURE(name);
    int best = 1000;
    for (int attempt = 0; attempt < 5 && best > 200; ++attempt) {
      const auto until = Clock::now() + 120ms;
      bool opened = false;
      CHECK(docker::make_engine_api(dir / name)
                ->follow([&] { opened = true; }, kNobody, [&] { return Clock::now() >= until; }));
      CHECK(Clock::now() >= until);
      CHECK(opened == (name == "quiet"));
      best = std::min(best, static_cast<int>((Clock::now() - until) / 1ms));
    }
    CHECK(best <= 200);
  }
}
