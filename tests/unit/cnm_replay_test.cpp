// Every driver call that real engines sent (tests/fixtures), sent again to a driver socket over one connection as Docker
// keeps it, is decoded, and answered in the shape they accepted.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "cnm/wire.h"
#include "engine/allocations.h"
#include "http_testing.h"
#include "microseg/cnm/driver.h"
#include "support/stub_commands.h"

using namespace microseg;
using nlohmann::json;

namespace {

const std::set<std::string> kJoinFields = {"DisableGatewayService", "InterfaceName", "StaticRoutes"};

std::set<std::string> fields(const json& object) {
  std::set<std::string> names;
  for (auto& [name, value] : object.items()) names.insert(name);
  return names;
}

// Allocates as a manager does.
struct Manager final : test::StubDriverCommands {
  engine::Allocations allocations;
  Result<model::Options> allocate_network(const NetworkId& id, const model::Options& options) override {
    return allocations.allocate(id, options, {});
  }
  Status free_network(const NetworkId& id) override {
    allocations.free(id);
    return {};
  }
};

// The rules of the protocol that hold whatever the engine answers.
void check_shape(const std::string& method, const json& request, const json& answer) {
  CAPTURE(answer.dump());
  if (method == "/Plugin.Activate") {
    CHECK(answer == json{{"Implements", {"NetworkDriver", "authz"}}});
  } else if (method == "/NetworkDriver.GetCapabilities") {
    CHECK(fields(answer) == std::set<std::string>{"ConnectivityScope", "GwAllocChecker", "Scope"});
  } else if (method == "/NetworkDriver.AllocateNetwork") {
    // What is answered replaces what the user said, and is all that a node will see of it.
    for (auto& [key, value] : request.at("Options").items()) CHECK(answer.at("Options").at(key) == value);
    auto create = request;
    create["Options"] = {{"com.docker.network.generic", answer.at("Options")}};
    auto on_node = cnm::wire::create_network(create.dump());
    REQUIRE(on_node);
    auto settings = model::parse_settings(on_node->options);
    REQUIRE(settings);
    CHECK(settings->encoding == policy::kEncodingVersion);
    CHECK(settings->vni);
    CHECK(settings->policy == request.at("Options").at("microseg.policy").get<std::string>());
  } else if (method == "/NetworkDriver.CreateEndpoint") {
    const bool had_mac = !request.at("Interface").at("MacAddress").get<std::string>().empty();
    CHECK(fields(answer.at("Interface")) == (had_mac ? std::set<std::string>{} : std::set<std::string>{"MacAddress"}));
  } else if (method == "/NetworkDriver.Join") {
    CHECK(fields(answer) == kJoinFields);
    CHECK(!answer.at("InterfaceName").at("SrcName").get<std::string>().empty());
  } else if (method == "/NetworkDriver.EndpointOperInfo") {
    CHECK(fields(answer) == std::set<std::string>{"Value"});
  } else {
    CHECK(answer == json::object());
  }
}

// As Go's client writes it for a plugin: the escaped path of the socket as Host, no Content-Type, a line feed after the JSON.
std::string as_docker_sends(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: %2Frun%2Fdocker%2Fplugins%2Fmicroseg.sock\r\nUser-Agent: Go-http-client/1.1\r\n" +
         "Content-Length: " + std::to_string(body.size()) +
         "\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n" + body;
}

void replay(const std::string& file, cnm::Scope scope, std::size_t expected) {
  CAPTURE(file);
  std::ifstream in(MICROSEG_TESTS "/fixtures/" + file);
  REQUIRE(in.is_open());
  Manager manager;
  cnm::Driver driver(manager, scope);
  test::TempDir directory;
  const std::string socket = directory / "microseg.sock";
  auto server = http::listen_unix(socket, {});
  REQUIRE(server);
  server.value()->start([&](const http::Request& r) { return driver.handle(r); });
  test::RawClient docker(socket);
  std::size_t replayed = 0;
  for (std::string line; std::getline(in, line);) {
    auto call = json::parse(line);
    const auto path = call.value("path", "");
    if (!path.starts_with("/NetworkDriver.") && path != "/Plugin.Activate") continue;
    CAPTURE(path);
    const auto& request = call.at("req");
    REQUIRE(docker.send(as_docker_sends(path, request.is_null() ? "" : request.dump() + "\n")));
    const auto response = docker.answer();
    REQUIRE(response);
    CHECK(response->status == 200);
    check_shape(path, request, json::parse(response->body));
    ++replayed;
  }
  CHECK(replayed == expected);
}

}  // namespace

TEST_CASE("Docker 20.10.24") { replay("driver-calls-20.10.24.jsonl", cnm::Scope::local, 44); }
TEST_CASE("Docker 26.1.5") { replay("driver-calls-26.1.5.jsonl", cnm::Scope::local, 48); }
TEST_CASE("Docker 28.5.2") { replay("driver-calls-28.5.2.jsonl", cnm::Scope::local, 58); }
TEST_CASE("a Swarm of 26.1.5") { replay("swarm-calls-26.1.5.jsonl", cnm::Scope::global, 10); }
