// The command line against the real admin protocol over a real socket, with a stub for the engine: what is typed, what
// the engine is asked, what is printed, and the exit code.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "microseg/api/admin.h"
#include "microseg/cli/cli.h"
#include "support/stub_commands.h"

using namespace microseg;

namespace {

std::int64_t ago(std::int64_t seconds) {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count() - seconds * 1000;
}

const std::string kId = "236bf374fbbc9b020ff5ceca84ad848b5697e6de0343b492da5d6a6ac42b1c78";
const std::string kEndpoint = "7c427432d73c11a5c5eaadc7d900322320b3a115f1dd16876c3a7ae7578f4663";

// A daemon in this process: a directory of its own, the admin protocol on a socket in it.
struct Daemon {
  std::filesystem::path dir;
  test::StubAdminCommands engine;
  api::Admin admin{engine};
  std::unique_ptr<http::Server> server;

  Daemon() {
    char name[] = "/tmp/microseg-cli-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    dir = name;
    serve([this](const http::Request& r) { return admin.handle(r); });
  }
  ~Daemon() {
    server.reset();
    std::filesystem::remove_all(dir);
  }
  void serve(http::Handler handler) {
    server.reset();
    auto listening = http::listen_unix(socket(), {});
    REQUIRE(listening);
    server = std::move(listening).value();
    server->start(std::move(handler));
  }
  std::string socket() const { return (dir / "api.sock").string(); }
};

struct Run {
  int code;
  std::string out, err;
};

Run run(std::vector<std::string> words, const std::string& input = "") {
  std::vector<const char*> argv = {"microseg"};
  for (auto& word : words) argv.push_back(word.c_str());
  std::istringstream in(input);
  std::ostringstream out, err;
  const int code = cli::run(static_cast<int>(argv.size()), argv.data(), in, out, err);
  return {code, out.str(), err.str()};
}

Run run(const Daemon& daemon, std::vector<std::string> words, const std::string& input = "") {
  words.insert(words.end(), {"--api-socket", daemon.socket()});
  return run(std::move(words), input);
}

engine::EndpointView web() {
  return {.id = EndpointId::parse(kEndpoint).value(),
          .network = NetworkId::parse(kId).value(),
          .network_name = "app",
          .service = "web",
          .source = "compose label",
          .container = "shop-web-1",
          .class_number = 1,
          .v4 = Prefix::parse("10.5.0.2/24").value(),
          .v6 = Prefix::parse("fd57::2/64").value(),
          .mac = Mac::local(7),
          .link = "ms7c427432d7",
          .phase = "joined",
          .joined_ms = ago(150),
          .quarantined = "",
          .labels = {}};
}

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  REQUIRE(in.is_open());
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("status") {
  Daemon daemon;
  daemon.engine.status_answer = {"0.1.0", "ok", {}, 1, 3, 0, ago(3 * 3600), "connected", {{"nftables", "yes"}}};
  auto done = run(daemon, {"status"});
  CHECK(done.code == 0);
  CHECK(done.out ==
        "Health       ok\n"
        "Version      0.1.0\n"
        "Up           3 hours\n"
        "Docker       connected\n"
        "Networks     1\n"
        "Endpoints    3\n"
        "Quarantined  0\n"
        "Kernel       complete\n");
  CHECK(done.err.empty());

  daemon.engine.status_answer = {"0.1.0",
                                 "degraded",
                                 {"docker is unreachable; start it"},
                                 1,
                                 3,
                                 1,
                                 0,
                                 "unreachable: x",
                                 {{"nftables", "yes"}, {"table owner", "needs 6.9"}}};
  CHECK(run(daemon, {"status"}).out ==
        "Health       degraded\n"
        "Version      0.1.0\n"
        "Docker       unreachable: x\n"
        "Networks     1\n"
        "Endpoints    3\n"
        "Quarantined  1\n"
        "Kernel       lacks:\n"
        "  table owner: needs 6.9\n"
        "Problems\n"
        "  docker is unreachable; start it\n");
}

TEST_CASE("networks") {
  Daemon daemon;
  CHECK(run(daemon, {"networks"}).out ==
        "NETWORK  ID  MODE  ENDPOINTS  QUARANTINED  ALLOWED  REFUSED  SPOOFED  STATE\n");
  engine::NetworkView app{.id = NetworkId::parse(kId).value(),
                          .name = "app",
                          .mode = model::Mode::enforce,
                          .subnets = {},
                          .endpoints = 3,
                          .quarantined = 1,
                          .applied_version = 0,
                          .generation = 1,
                          .vni = {},
                          .underlay = {},
                          .peers = {},
                          .state = "ok",
                          .packets = {{"allowed", 1840}, {"refused", 12}, {"spoofed", 1}}};
  auto nameless = app;
  nameless.name = "";
  nameless.mode = model::Mode::monitor;
  nameless.state = "pending: docker is unreachable";
  nameless.packets = {};
  daemon.engine.networks_answer = {app, nameless};
  auto done = run(daemon, {"networks"});
  CHECK(done.code == 0);
  CHECK(done.out ==
        "NETWORK  ID            MODE     ENDPOINTS  QUARANTINED  ALLOWED  REFUSED  SPOOFED  STATE\n"
        "app      236bf374fbbc  enforce  3          1            1840     12       1        ok\n"
        "-        236bf374fbbc  monitor  3          1            0        0        0        pending: docker is "
        "unreachable\n");
  auto wide = app;
  wide.spans_hosts = true;
  wide.vni = 4242;
  wide.underlay = Ip::v4({10, 99, 0, 1});
  wide.peers = {Ip::v4({10, 99, 0, 2}), Ip::v4({10, 99, 0, 3})};
  auto lost = wide;
  lost.vni = {};
  lost.underlay = {};
  lost.peers = {};
  daemon.engine.networks_answer = {app, wide, lost};
  CHECK(run(daemon, {"networks"}).out ==
        "NETWORK  ID            MODE     ENDPOINTS  QUARANTINED  ALLOWED  REFUSED  SPOOFED  VNI   PEERS           STATE\n"
        "app      236bf374fbbc  enforce  3          1            1840     12       1        -     -               ok\n"
        "app      236bf374fbbc  enforce  3          1            1840     12       1        4242  2 of 10.99.0.1  ok\n"
        "app      236bf374fbbc  enforce  3          1            1840     12       1        -     0 of ?          ok\n");
}

TEST_CASE("endpoints") {
  Daemon daemon;
  auto held = web();
  held.service = held.container = held.network_name = "";
  held.class_number = 0;
  held.v6.reset();
  held.joined_ms = 0;
  held.phase = "created";
  held.quarantined = "no\x1b[31mname yet";
  daemon.engine.endpoints_answer = {web(), held};
  auto done = run(daemon, {"endpoints"});
  CHECK(done.code == 0);
  CHECK(done.out ==
        "ENDPOINT      NETWORK       SERVICE  CLASS  ADDRESS            CONTAINER   SINCE          STATE\n"
        "7c427432d73c  app           web      1      10.5.0.2, fd57::2  shop-web-1  2 minutes ago  joined\n"
        "7c427432d73c  236bf374fbbc  -        0      10.5.0.2           -           -              quarantined: "
        "no?[31mname yet\n");
  daemon.engine.policy_answer = {NetworkId::parse("ff").value(), "other", {}, "", {}, 0, 0};
  CHECK(run(daemon, {"endpoints", "--network", "other"}).out ==
        "ENDPOINT  NETWORK  SERVICE  CLASS  ADDRESS  CONTAINER  SINCE  STATE\n");
  CHECK(daemon.engine.calls.back() == "policy other");
}

TEST_CASE("policy show") {
  Daemon daemon;
  daemon.engine.policy_answer = {NetworkId::parse(kId).value(),
                                 "app",
                                 {{"option", "allow web -> api : 8080", ""},
                                  {"label", "alow x", "line 1, column 1: expected 'allow' or 'deny'"},
                                  {"applied", "allow api -> db : 5432\nallow any -> dns : 53/udp\n", ""}},
                                 "allow any -> dns : 53/udp\nallow api -> db : 5432\nallow web -> api : 8080\n",
                                 {2, "allow api -> db : 5432\n", ago(301)},
                                 5,
                                 3};
  auto done = run(daemon, {"policy", "show", "app"});
  CHECK(done.code == 0);
  CHECK(daemon.engine.calls.back() == "policy app");
  CHECK(done.out ==
        "Network app (236bf374fbbc): 5 classes, 3 elements\n"
        "Applied version: 2\n"
        "\n"
        "From option:\n"
        "  allow web -> api : 8080\n"
        "\n"
        "From label (NOT IN FORCE: line 1, column 1: expected 'allow' or 'deny'):\n"
        "  alow x\n"
        "\n"
        "From applied, version 2, 5 minutes ago:\n"
        "  allow api -> db : 5432\n"
        "  allow any -> dns : 53/udp\n"
        "\n"
        "In force:\n"
        "  allow any -> dns : 53/udp\n"
        "  allow api -> db : 5432\n"
        "  allow web -> api : 8080\n");
  daemon.engine.policy_answer = {NetworkId::parse("ff").value(), "", {}, "", {}, 1, 0};
  CHECK(run(daemon, {"policy", "show", "ff"}).out ==
        "Network ff: 1 classes, 0 elements\n"
        "Applied version: none\n"
        "\n"
        "In force:\n"
        "  nothing: every connection is refused\n");
}

TEST_CASE("policy apply and remove") {
  Daemon daemon;
  daemon.engine.version_answer = 3;
  const std::string file = (daemon.dir / "app.policy").string();
  std::ofstream(file) << "allow web -> api : 8080 # \xc3\xb6\n";
  struct {
    std::vector<std::string> words;
    const char *input, *asked, *out;
  } rows[] = {
      {{"policy", "apply", "app", file},
       "",
       "apply_policy app [allow web -> api : 8080 # \xc3\xb6\n]",
       "applied version 3 to app\n"},
      {{"policy", "apply", "app", "-"},
       "allow a -> b",
       "apply_policy app [allow a -> b]",
       "applied version 3 to app\n"},
      {{"policy", "apply", "app"}, "deny a -> b\n", "apply_policy app [deny a -> b\n]", "applied version 3 to app\n"},
      {{"policy", "apply", "app", "-"}, "", "apply_policy app []", "applied version 3 to app\n"},
      {{"policy", "apply", "my net/%", "-"}, "", "apply_policy my net/% []", "applied version 3 to my net/%\n"},
      {{"policy", "apply", "status"}, "", "apply_policy status []", "applied version 3 to status\n"},
      {{"policy", "remove", "app"}, "", "remove_policy app", "removed the applied policy of app\n"},
  };
  for (auto& row : rows) {
    CAPTURE(row.asked);
    auto done = run(daemon, row.words, row.input);
    CHECK(done.code == 0);
    CHECK(done.out == row.out);
    CHECK(done.err.empty());
    REQUIRE(!daemon.engine.calls.empty());
    CHECK(daemon.engine.calls.back() == row.asked);
  }
}

TEST_CASE("policy history, and going back") {
  Daemon daemon;
  daemon.engine.version_answer = 13;
  daemon.engine.history_answer = {NetworkId::parse(kId).value(),
                                  "app",
                                  {{12, "", ago(5)},
                                   {11, "# all of it\n\n  allow web -> any \nallow a -> b\r\n# and\nallow b -> c", ago(301)},
                                   {10, "allow \x1b[31m", ago(301)},
                                   {9, "allow web -> api : 8080\nallow api -> db\n", 0}}};
  struct {
    std::vector<std::string> words;
    int code;
    const char *out, *err, *asked;
  } rows[] = {
      {{"policy", "history", "app"},
       0,
       "VERSION  APPLIED        POLICY\n"
       "12       5 seconds ago  -\n"
       "11       5 minutes ago  allow web -> any (and 2 lines more)\n"
       "10       5 minutes ago  allow ?[31m\n"
       "9        -              allow web -> api : 8080 (and 1 line more)\n",
       "",
       "policy_history app"},
      {{"policy", "history", "app", "9"}, 0, "allow web -> api : 8080\nallow api -> db\n", "", "policy_history app"},
      {{"policy", "history", "app", "10"}, 0, "allow ?[31m\n", "", "policy_history app"},
      {{"policy", "history", "app", "12"}, 0, "", "", "policy_history app"},
      {{"policy", "history", "app", "8"},
       1,
       "",
       "microseg: no version 8 of the policy applied to app is kept; `microseg policy history app` lists those that are\n",
       "policy_history app"},
      {{"policy", "apply", "app", "--version", "9"},
       0,
       "applied version 13 to app\n",
       "",
       "apply_policy app [allow web -> api : 8080\nallow api -> db\n]"},
      {{"policy", "apply", "app", "--version", "10"},
       0,
       "applied version 13 to app\n",
       "",
       "apply_policy app [allow \x1b[31m]"},
      {{"policy", "apply", "app", "--version", "8"},
       1,
       "",
       "microseg: no version 8 of the policy applied to app is kept; `microseg policy history app` lists those that are\n",
       "policy_history app"},
  };
  for (auto& row : rows) {
    CAPTURE(row.words.back());
    auto done = run(daemon, row.words, "allow nothing -> read");
    CHECK(done.code == row.code);
    CHECK(done.out == row.out);
    CHECK(done.err == row.err);
    REQUIRE(!daemon.engine.calls.empty());
    CHECK(daemon.engine.calls.back() == row.asked);
  }
  daemon.engine.calls.clear();
  for (const char* version : {"0", "-1", "x"}) {
    CHECK(run(daemon, {"policy", "history", "app", version}).code == 2);
    CHECK(run(daemon, {"policy", "apply", "app", "--version", version}).code == 2);
  }
  CHECK(run(daemon, {"policy", "apply", "app", "file", "--version", "9"}).code == 2);
  CHECK(daemon.engine.calls.empty());

  daemon.engine.history_answer->versions.clear();
  CHECK(run(daemon, {"policy", "history", "app"}).out == "no policy was ever applied\n");
}

TEST_CASE("policy check") {
  Daemon daemon;
  daemon.engine.check_answer = {2, 4, "allow a -> b : 80\nallow b -> c : 80\n", ""};
  auto done = run(daemon, {"policy", "check"}, "allow a -> b:80;allow b -> c:80");
  CHECK(done.code == 0);
  CHECK(done.out == "The policy is valid (statements: 2, classes: 4)\n\n  allow a -> b : 80\n  allow b -> c : 80\n");
  CHECK(daemon.engine.calls.back() == "check_policy [allow a -> b:80;allow b -> c:80]");

  daemon.engine.check_answer = {0, 1, "", "policy needs more than 200000 rules"};
  CHECK(run(daemon, {"policy", "check", "-"}).out ==
        "The policy is valid (statements: 0, classes: 1)\n"
        "On a network that spans hosts it is refused: policy needs more than 200000 rules\n\n"
        "  nothing: every connection is refused\n");

  daemon.engine.fail = Error{Errc::invalid, 0, "policy, line 1, column 7: expected '->'"};
  done = run(daemon, {"policy", "check", "-"}, "allow a b");
  CHECK(done.code == 1);
  CHECK(done.out.empty());
  CHECK(done.err == "microseg: policy, line 1, column 7: expected '->'\n");
  CHECK(run(daemon, {"policy", "check", "/none"}).code == 2);
}

TEST_CASE("explain") {
  Daemon daemon;
  struct {
    engine::ExplainView answer;
    std::vector<std::string> words;
    const char *asked, *out;
    int code;
  } rows[] = {
      {{"app", "web", "api", true, "allow web -> api : 8080", "option microseg.policy, line 1", "it is allowed", ""},
       {"explain", "web", "api", "8080"},
       "explain [] web -> api 8080/6",
       "web -> api 8080: allowed by `allow web -> api : 8080` (option microseg.policy, line 1)\n",
       0},
      {{"app", "web", "db", false, "deny web -> db", "applied, line 2", "", ""},
       {"explain", "web", "db", "53/udp", "--network", "app"},
       "explain [app] web -> db 53/17",
       "web -> db 53/udp: refused by `deny web -> db` (applied, line 2)\n",
       4},
      {{"app", "web", "db", false, "", "", "", "no endpoint of this node is db"},
       {"explain", "10.5.0.2", "fd57::3", "icmp"},
       "explain [] 10.5.0.2 -> fd57::3 0/1",
       "web -> db icmp: refused: no statement allows it\n  no endpoint of this node is db\n",
       4},
      {{"app", "web", "db", false, "", "", "db is quarantined", ""},
       {"explain", "web", "db", "5432/sctp"},
       "explain [] web -> db 5432/132",
       "web -> db 5432/sctp: refused: db is quarantined\n",
       4},
  };
  for (auto& row : rows) {
    CAPTURE(row.out);
    daemon.engine.explain_answer = row.answer;
    auto done = run(daemon, row.words);
    CHECK(done.code == row.code);
    CHECK(done.out == row.out);
    CHECK(daemon.engine.calls.back() == row.asked);
  }
}

TEST_CASE("--json prints the API's answer, before or after the command, and keeps the exit code") {
  Daemon daemon;
  daemon.engine.explain_answer = {"app", "web", "db", false, "", "", "because", ""};
  const std::string explained =
      R"({"network":"app","from":"web","to":"db","port":"80","allowed":false,"statement":"","origin":"",)"
      R"("reason":"because","note":""})"
      "\n";
  for (auto& words : std::vector<std::vector<std::string>>{{"--json", "explain", "web", "db", "80"},
                                                           {"explain", "--json", "web", "db", "80"},
                                                           {"explain", "web", "db", "80", "--json"}}) {
    auto done = run(daemon, words);
    CHECK(done.out == explained);
    CHECK(done.code == 4);
  }
  CHECK(run(daemon, {"networks", "--json"}).out == "{\"networks\":[]}\n");
  CHECK(run(daemon, {"policy", "apply", "app", "-", "--json"}).out == "{\"network\":\"app\",\"version\":1}\n");
  CHECK(run(daemon, {"policy", "--json", "remove", "app"}).out == "{\"network\":\"app\",\"removed\":true}\n");
}

TEST_CASE("the socket's path: option before or after the command, else environment") {
  Daemon daemon;
  CHECK(run({"--api-socket", daemon.socket(), "networks"}).code == 0);
  CHECK(run({"policy", "--api-socket", daemon.socket(), "remove", "app"}).code == 0);
  CHECK(run({"policy", "remove", "app", "--api-socket=" + daemon.socket()}).code == 0);
  ::setenv("MICROSEG_API_SOCKET", daemon.socket().c_str(), 1);
  CHECK(run({"networks"}).code == 0);
  CHECK(run({"networks", "--api-socket", "/nonexistent/api.sock"}).code == 3);
  ::unsetenv("MICROSEG_API_SOCKET");
}

TEST_CASE("what goes wrong is said on standard error, with what to do, and has its exit code") {
  Daemon daemon;
  auto refuse = [&](Errc code, const char* text) { daemon.engine.fail = Error{code, 0, text}; };

  refuse(Errc::invalid, "line 1, column 7: expected '->' after the first peer, found 'web'");
  auto done = run(daemon, {"policy", "apply", "app"}, "allow web web");
  CHECK(done.code == 1);
  CHECK(done.out.empty());
  CHECK(done.err == "microseg: line 1, column 7: expected '->' after the first peer, found 'web'\n");

  refuse(Errc::not_found, "no network 'ap'; there are: app");
  done = run(daemon, {"policy", "show", "ap", "--json"});
  CHECK(done.code == 1);
  CHECK(done.out.empty());
  CHECK(done.err == "microseg: no network 'ap'; there are: app\n");
  CHECK(run(daemon, {"explain", "web", "db", "80"}).code == 1);

  daemon.engine.fail.reset();
  daemon.engine.calls.clear();
  struct {
    std::vector<std::string> words;
    std::string err;
  } usage[] = {
      {{}, "A subcommand is required; see microseg --help"},
      {{"nonsense"}, "unknown argument 'nonsense'; see microseg --help"},
      {{"policy", "shwo", "app"}, "unknown argument 'shwo'; see microseg --help"},
      {{"status", "--bogus"}, "unknown argument '--bogus'; see microseg --help"},
      {{"explain", "web", "db"}, "PORT is required; see microseg --help"},
      {{"explain", "web", "db", "http"},
       "port: expected N, N/tcp, N/udp, N/sctp (N from 1 to 65535) or icmp, got 'http'"},
      {{"policy", "apply", "app", "/nonexistent/p"},
       "cannot read the policy from '/nonexistent/p': No such file or directory; check the path"},
      {{"policy", "apply", "app", "/"}, "cannot read the policy from '/': Is a directory; check the path"},
  };
  for (auto& row : usage) {
    CAPTURE(row.err);
    done = run(daemon, row.words);
    CHECK(done.code == 2);
    CHECK(done.out.empty());
    CHECK(done.err == "microseg: " + row.err + "\n");
  }
  done = run(daemon, {"policy", "apply", "app", "-"}, "allow \xff -> b");
  CHECK(done.code == 2);
  CHECK(done.err == "microseg: the policy is not UTF-8 text; save the file as UTF-8\n");
  CHECK(daemon.engine.calls.empty());
}

TEST_CASE("a daemon that is not there, or not ours") {
  auto done = run({"status", "--api-socket", "/nonexistent/api.sock"});
  CHECK(done.code == 3);
  CHECK(done.out.empty());
  CHECK(done.err ==
        "microseg: cannot reach microsegd at /nonexistent/api.sock: No such file or directory; is it running? try: "
        "docker plugin ls, or systemctl status microsegd\n");
  done = run({"status", "--api-socket", std::string(200, 'x')});
  CHECK(done.code == 3);
  CHECK(done.err.ends_with("; check --api-socket\n"));

  Daemon daemon;
  for (auto* body : {"{}", "[]", "<html>", R"({"networks":[{"id":7}]})"}) {
    daemon.serve([body](const http::Request&) { return http::Response{200, body, "text/plain"}; });
    done = run(daemon, {"networks"});
    CAPTURE(body);
    CHECK(done.code == 1);
    CHECK(done.out.empty());
    CHECK(done.err ==
          "microseg: microsegd's answer is not understood; do `microseg version` and `microseg status --json` show the "
          "same version?\n");
  }
  daemon.serve([](const http::Request&) { return http::Response{404, "{\"Err\":\"unknown method\"}"}; });
  done = run(daemon, {"networks"});
  CHECK(done.code == 1);
  CHECK(done.err == "microseg: unexpected answer (status 404); is it microsegd that listens at --api-socket?\n");
  daemon.serve([](const http::Request&) { return http::Response{403, "only root may use this socket"}; });
  done = run(daemon, {"networks"});
  CHECK(done.code == 3);
  CHECK(done.err == "microseg: microsegd answers root only; try again as root\n");
}

TEST_CASE("version, help and completion need no daemon") {
  CHECK(run({"version"}).out.starts_with("microseg 0."));
  CHECK(run({"version", "--json"}).out.starts_with("{\"version\":\"0."));
  CHECK(run({"--version"}).out == run({"version"}).out);
  for (auto& words :
       std::vector<std::vector<std::string>>{{"--help"}, {"explain", "--help"}, {"policy", "apply", "-h"}}) {
    auto help = run(words);
    CHECK(help.code == 0);
    CHECK(help.out.find("Examples:") != std::string::npos);
    CHECK(help.out.find("--api-socket") != std::string::npos);
    CHECK(help.err.empty());
  }
  // Packages install the files; they and the command must say the same.
  const std::string root = MICROSEG_TESTS "/../plugin/completion/";
  CHECK(run({"completion", "bash"}).out == text_of(root + "microseg.bash"));
  CHECK(run({"completion", "zsh"}).out == text_of(root + "_microseg"));
  CHECK(run({"completion", "fish"}).out == text_of(root + "microseg.fish"));
  CHECK(run({"completion", "csh"}).code == 2);
}
