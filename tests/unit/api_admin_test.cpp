// The admin protocol: request, what the engine is asked, answer.
#include <doctest/doctest.h>

#include "api/query.h"
#include "api/views.h"
#include "microseg/api/admin.h"
#include "support/stub_commands.h"

using namespace microseg;

namespace {

NetworkId network_id(const char* s) { return NetworkId::parse(s).value(); }

engine::EndpointView endpoint_view(const char* id, const char* network) {
  return {.id = EndpointId::parse(id).value(),
          .network = network_id(network),
          .network_name = "app",
          .service = "web",
          .source = "compose label",
          .container = "app-web-1",
          .class_number = 2,
          .v4 = Prefix::parse("10.5.0.2/24").value(),
          .v6 = std::nullopt,
          .mac = Mac::local(7),
          .link = "ms3f2a",
          .phase = "joined",
          .joined_ms = 1'700'000'000'123,
          .quarantined = "",
          .labels = {{"tier", "frontend"}},
          .gateway_v4 = Ip::parse("172.18.0.3").value(),
          .waiting = "waiting for its gateway address"};
}

engine::PolicyView policy_view(const char* id) {
  return {
      .network = network_id(id),
      .network_name = "app",
      .sources = {{"option", "allow web -> api : 8080", ""}, {"label", "alow x", "line 1, column 1: expected 'allow'"}},
      .effective = "allow web -> api : 8080\n",
      .applied = {},
      .classes = 3,
      .elements = 1};
}

test::StubAdminCommands filled() {
  test::StubAdminCommands stub;
  stub.status_answer = {.version = "0.1.0",
                        .health = "degraded",
                        .problems = {"docker is unreachable; start it"},
                        .networks = 1,
                        .endpoints = 2,
                        .quarantined = 1,
                        .started_ms = 1'700'000'000'000,
                        .docker = "connected",
                        .kernel = {{"nft", "yes"}}};
  stub.networks_answer = {{.id = network_id("a1"),
                           .name = "app",
                           .mode = model::Mode::monitor,
                           .subnets = {{Prefix::parse("10.5.0.0/24").value(), Ip::parse("10.5.0.1").value()},
                                       {Prefix::parse("fd57::/64").value(), std::nullopt}},
                           .endpoints = 2,
                           .quarantined = 1,
                           .applied_version = 3,
                           .generation = 7,
                           .spans_hosts = true,
                           .vni = 4242,
                           .underlay = Ip::v4({10, 99, 0, 1}),
                           .peers = {Ip::v4({10, 99, 0, 2}), Ip::v4({10, 99, 0, 3})},
                           .state = "ok",
                           .packets = {{"allowed", 18'446'744'073'709'551'615U}, {"refused", 2}}},
                          {.id = network_id("a2"), .name = "", .subnets = {}, .vni = {}, .underlay = {}, .peers = {},
                           .state = "ok", .packets = {}}};
  stub.endpoints_answer = {endpoint_view("b2", "a1"), endpoint_view("c3", "d4")};
  stub.policy_answer = policy_view("a1");
  stub.history_answer = {network_id("a1"), "app", {{2, "", 1'700'000'000'123}, {1, "allow a -> b", 0}}};
  stub.version_answer = 3;
  stub.explain_answer = {"app", "web", "api", true, "allow web -> api : 8080", "option microseg.policy, line 1", "",
                         "no endpoint here"};
  stub.check_answer = {1, 3, "allow web -> api : 8080\n", "too many"};
  return stub;
}

constexpr const char* kWebJson =
    R"({"id":"b2","network":"a1","network_name":"app","service":"web","source":"compose label",)"
    R"("container":"app-web-1","class":2,"ipv4":"10.5.0.2/24","ipv6":null,"mac":"02:6d:00:00:00:07",)"
    R"("link":"ms3f2a","phase":"joined","joined":"2023-11-14T22:13:20.123Z","joined_ms":1700000000123,)"
    R"("quarantined":"","labels":{"tier":"frontend"},"gateway_ipv4":"172.18.0.3","gateway_ipv6":null,)"
    R"("waiting":"waiting for its gateway address"})";

}  // namespace

TEST_CASE("every call") {
  const std::string web(kWebJson);
  const std::string other = std::string(web).replace(web.find("b2"), 2, "c3").replace(web.find("a1"), 2, "d4");
  struct {
    http::Request request;
    std::string command, answer;
  } rows[] = {
      {{"GET", "/v1/status", "", ""},
       "status",
       R"({"version":"0.1.0","health":"degraded","problems":["docker is unreachable; start it"],"networks":1,)"
       R"("endpoints":2,"quarantined":1,"started":"2023-11-14T22:13:20.000Z","started_ms":1700000000000,)"
       R"("docker":"connected","kernel":{"nft":"yes"}})"},
      {{"GET", "/v1/networks", "", ""},
       "networks",
       R"({"networks":[{"id":"a1","name":"app","mode":"monitor","subnets":[{"pool":"10.5.0.0/24","gateway":"10.5.0.1"},)"
       R"({"pool":"fd57::/64","gateway":null}],"endpoints":2,"quarantined":1,"applied_version":3,"generation":7,)"
       R"("spans_hosts":true,"vni":4242,"underlay":"10.99.0.1","peers":["10.99.0.2","10.99.0.3"],)"
       R"("state":"ok","packets":{"allowed":18446744073709551615,"refused":2}},)"
       R"({"id":"a2","name":"","mode":"enforce","subnets":[],"endpoints":0,"quarantined":0,"applied_version":0,)"
       R"("generation":0,"spans_hosts":false,"vni":null,"underlay":null,"peers":[],"state":"ok","packets":{}}]})"},
      {{"GET", "/v1/endpoints", "", ""}, "endpoints", R"({"endpoints":[)" + web + "," + other + "]}"},
      {{"GET", "/v1/endpoints", "network=app", ""}, "policy app", R"({"endpoints":[)" + web + "]}"},
      {{"GET", "/v1/networks/app/policy", "", ""},
       "policy app",
       R"({"network":"a1","network_name":"app","sources":[)"
       R"({"origin":"option","text":"allow web -> api : 8080","error":""},)"
       R"({"origin":"label","text":"alow x","error":"line 1, column 1: expected 'allow'"}],)"
       R"("effective":"allow web -> api : 8080\n","applied":{"version":0,"text":"","at":null,"at_ms":0},)"
       R"("classes":3,"elements":1})"},
      {{"GET", "/v1/networks/app/policy/history", "", ""},
       "policy_history app",
       R"({"network":"a1","network_name":"app","versions":[)"
       R"({"version":2,"text":"","at":"2023-11-14T22:13:20.123Z","at_ms":1700000000123},)"
       R"({"version":1,"text":"allow a -> b","at":null,"at_ms":0}]})"},
      {{"PUT", "/v1/networks/app/policy", "", R"({"text":"allow a -> b"})"},
       "apply_policy app [allow a -> b]",
       R"({"network":"app","version":3})"},
      {{"PUT", "/v1/networks/app/policy", "", "# as text\nallow a -> b\n"},
       "apply_policy app [# as text\nallow a -> b\n]",
       R"({"network":"app","version":3})"},
      {{"PUT", "/v1/networks/app/policy", "", R"( {"text":""})"},
       "apply_policy app []",
       R"({"network":"app","version":3})"},
      {{"DELETE", "/v1/networks/app/policy", "", ""}, "remove_policy app", R"({"network":"app","removed":true})"},
      {{"POST", "/v1/check", "", R"({"text":"allow a -> b"})"},
       "check_policy [allow a -> b]",
       R"({"statements":1,"classes":3,"effective":"allow web -> api : 8080\n","across_hosts":"too many"})"},
      {{"GET", "/v1/explain", "network=app&from=web&to=api&port=8080/tcp", ""},
       "explain [app] web -> api 8080/6",
       R"({"network":"app","from":"web","to":"api","port":"8080/tcp","allowed":true,)"
       R"("statement":"allow web -> api : 8080","origin":"option microseg.policy, line 1","reason":"","note":"no endpoint here"})"},
      {{"GET", "/v1/explain", "from=w%65b+1&to=fd57%3A%3a2&port=53%2Fudp", ""},
       "explain [] web 1 -> fd57::2 53/17",
       R"({"network":"app","from":"web","to":"api","port":"53/udp","allowed":true,)"
       R"("statement":"allow web -> api : 8080","origin":"option microseg.policy, line 1","reason":"","note":"no endpoint here"})"},
  };
  for (auto& row : rows) {
    CAPTURE(row.request.path);
    CAPTURE(row.request.query);
    auto stub = filled();
    auto response = api::Admin(stub).handle(row.request);
    CHECK(response.status == 200);
    CHECK(response.body == row.answer);
    REQUIRE(!stub.calls.empty());
    CHECK(stub.calls.back() == row.command);
  }
}

TEST_CASE("requests that can not be read are 400 or 404 and never reach the engine") {
  struct {
    http::Request request;
    int status;
    std::string code, message;
  } rows[] = {
      {{"GET", "/v2/status", "", ""}, 404, "not_found", "no such call: GET /v2/status"},
      {{"GET", "/v1/networks//policy", "", ""}, 404, "not_found", "no such call: GET /v1/networks//policy"},
      {{"POST", "/v1/status", "", ""}, 400, "bad_request", "/v1/status: expected GET, got POST"},
      {{"PUT", "/v1/explain", "", ""}, 400, "bad_request", "/v1/explain: expected GET, got PUT"},
      {{"POST", "/v1/networks/app/policy", "", ""},
       400,
       "bad_request",
       "/v1/networks/app/policy: expected GET, PUT or DELETE, got POST"},
      {{"PUT", "/v1/networks/app/policy/history", "", ""},
       400,
       "bad_request",
       "/v1/networks/app/policy/history: expected GET, got PUT"},
      {{"GET", "/v1/networks/policy/history", "", ""}, 404, "not_found", "no such call: GET /v1/networks/policy/history"},
      {{"PUT", "/v1/networks/app/policy", "", ""},
       400,
       "bad_request",
       R"(empty body: send a policy, or {\"text\": \"\"} to apply an empty one)"},
      {{"PUT", "/v1/networks/app/policy", "", "{"},
       400,
       "bad_request",
       R"(the body starts like {\"text\": \"...\"} but is not JSON)"},
      {{"PUT", "/v1/networks/app/policy", "", R"({"text":[]})"},
       400,
       "bad_request",
       R"(the body: expected {\"text\": \"...\"})"},
      {{"PUT", "/v1/networks/app/policy", "", R"({"txt":"x"})"},
       400,
       "bad_request",
       R"(the body: expected {\"text\": \"...\"})"},
      {{"GET", "/v1/check", "", ""}, 400, "bad_request", "/v1/check: expected POST, got GET"},
      {{"POST", "/v1/check", "", "{"},
       400,
       "bad_request",
       R"(the body starts like {\"text\": \"...\"} but is not JSON)"},
      {{"GET", "/v1/explain", "to=api&port=80", ""}, 400, "bad_request", "from: missing from the query"},
      {{"GET", "/v1/explain", "from=web&port=80", ""}, 400, "bad_request", "to: missing from the query"},
      {{"GET", "/v1/explain", "from=web&to=api", ""}, 400, "bad_request", "port: missing from the query"},
      {{"GET", "/v1/explain", "from=web&to=api&port=http", ""},
       400,
       "bad_request",
       "port: expected N, N/tcp, N/udp, N/sctp (N from 1 to 65535) or icmp, got 'http'"},
      {{"GET", "/v1/explain", "from=%zz", ""}, 400, "bad_request", "query: '%' is not followed by two hex digits"},
      {{"GET", "/v1/endpoints", "network=%4", ""}, 400, "bad_request", "query: '%' is not followed by two hex digits"},
  };
  for (auto& row : rows) {
    CAPTURE(row.request.path);
    auto stub = filled();
    auto response = api::Admin(stub).handle(row.request);
    CHECK(response.status == row.status);
    CHECK(response.body == "{\"error\":{\"code\":\"" + row.code + "\",\"message\":\"" + row.message + "\"}}");
    CHECK(stub.calls.empty());
  }
}

TEST_CASE("what the engine refuses keeps its words and gets a status") {
  struct {
    Errc code;
    int status;
    const char* name;
  } rows[] = {
      {Errc::invalid, 422, "invalid"}, {Errc::not_found, 404, "not_found"},
      {Errc::exists, 409, "exists"},   {Errc::unsupported, 409, "unsupported"},
      {Errc::denied, 500, "denied"},   {Errc::unavailable, 503, "unavailable"},
      {Errc::kernel, 500, "kernel"},
  };
  const http::Request requests[] = {{"GET", "/v1/networks/app/policy", "", ""},
                                    {"PUT", "/v1/networks/app/policy", "", "allow a -> b"},
                                    {"DELETE", "/v1/networks/app/policy", "", ""},
                                    {"GET", "/v1/endpoints", "network=app", ""},
                                    {"GET", "/v1/explain", "from=a&to=b&port=1", ""}};
  for (auto& row : rows)
    for (auto& request : requests) {
      CAPTURE(row.name);
      CAPTURE(request.path);
      auto stub = filled();
      stub.fail = Error{row.code, 0, "no \xff network 'app'"};
      auto response = api::Admin(stub).handle(request);
      CHECK(response.status == row.status);
      CHECK(response.body ==
            std::string("{\"error\":{\"code\":\"") + row.name + "\",\"message\":\"no \xef\xbf\xbd network 'app'\"}}");
    }
}

TEST_CASE("ports") {
  struct {
    const char* text;
    int protocol, port;  // 0: refused
  } rows[] = {
      {"80", kTcp, 80},   {"80/tcp", kTcp, 80}, {"53/udp", kUdp, 53}, {"7/sctp", kSctp, 7}, {"65535", kTcp, 65535},
      {"icmp", kIcmp, 0}, {"0", 0, 0},          {"65536", 0, 0},      {"", 0, 0},           {"/tcp", 0, 0},
      {"80/", 0, 0},      {"80/TCP", 0, 0},     {"-1", 0, 0},         {"80x", 0, 0},        {"icmp/8", 0, 0},
      {" 80", 0, 0}};
  for (auto& row : rows) {
    CAPTURE(row.text);
    auto port = api::parse_port(row.text);
    REQUIRE(static_cast<bool>(port) == (row.protocol != 0));
    if (!port) continue;
    CHECK(port->protocol == row.protocol);
    CHECK(port->port == row.port);
  }
}

TEST_CASE("times are UTC, to the millisecond") {
  CHECK(api::rfc3339(0) == "1970-01-01T00:00:00.000Z");
  CHECK(api::rfc3339(1'700'000'000'007) == "2023-11-14T22:13:20.007Z");
  CHECK(api::rfc3339(-1) == "1969-12-31T23:59:59.999Z");
}
