#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "docker/lines.h"
#include "docker/wire.h"

using namespace microseg;
using namespace microseg::docker;

namespace {

std::string id_of(char digit) { return std::string(64, digit); }

std::string show(const NetworkInfo& n) {
  std::string out = n.name + " " + n.driver + " " + n.scope;
  for (auto& [key, value] : n.labels) out += " label:" + key + "=" + value;
  for (auto& [key, value] : n.options) out += " option:" + key + "=" + value;
  for (auto& [ep, name] : n.endpoints) {
    out += " " + ep.brief() + "=" + name;
    if (auto it = n.container_ids.find(ep); it != n.container_ids.end()) out += "@" + it->second.substr(0, 4);
  }
  for (auto& peer : n.peers) out += " peer:" + peer.str();
  return out;
}

}  // namespace

TEST_CASE("what three engines answered while containers were joined") {
  struct {
    const char* version;
    const char *first, *second;  // endpoints of web and db
    const char *web, *db;        // containers
  } rows[] = {
      {"20.10.24", "6758e30aa23f", "a13c9704f5fb", "b7e6", "808c"},
      {"26.1.5", "082511b25f8c", "c5c2c3b325ba", "af15", "02f1"},
      {"28.5.2", "29b81cf657e1", "e22127ab0395", "f05f", "1207"},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.version));
    std::ifstream file(MICROSEG_TESTS "/fixtures/engine-api-" + std::string(row.version) + ".json");
    const auto calls = nlohmann::json::parse(file);
    const std::string common =
        "shop_app mock local label:microseg.policy=allow web -> db : 5432 option:microseg.mode=enforce";
    const std::string web = std::string(" ") + row.first + "=shop-web-1",
                      db = std::string(" ") + row.second + "=shop-db-1";
    std::vector<std::string> networks, containers;
    for (auto& call : calls) {
      const std::string text = call["response"].dump();
      if (call["call"].get<std::string>().starts_with("GET /networks/")) {
        auto network = wire::parse_network(text);
        REQUIRE_MESSAGE(network, network.error().text);
        CHECK(network->id.str() == call["response"]["Id"].get<std::string>());
        networks.push_back(show(network.value()));
      } else {
        auto found = wire::parse_containers(text);
        REQUIRE_MESSAGE(found, found.error().text);
        REQUIRE(found.value().size() == 1);
        auto& c = found.value()[0];
        CHECK(c.labels.at("com.docker.compose.project") == "shop");
        containers.push_back(c.id.substr(0, 4) + " " + c.name + " " + c.labels.at("com.docker.compose.service"));
      }
    }
    const std::string web_after = web + "@" + row.web;
    REQUIRE(networks.size() == 6);
    CHECK(networks[0] == common);
    CHECK(networks[1] == common + web);
    CHECK(networks[2] == common + web_after);
    CHECK(networks[3] == common + web_after + db);
    CHECK(networks[4] == common + web_after + db + "@" + row.db);
    CHECK(networks[5].starts_with("docker_gwbridge bridge local option:"));
    auto bridge = wire::parse_gateway_bridge(calls.back()["response"].dump());
    REQUIRE_MESSAGE(bridge, bridge.error().text);
    CHECK(bridge->link == "docker_gwbridge");
    CHECK(bridge->gateways == std::set<Ip>{Ip::parse("172.17.0.1").value()});
    REQUIRE(bridge->sandboxes.size() == 2);
    for (auto& [sandbox, addresses] : bridge->sandboxes) {
      CHECK(sandbox.size() == 12);
      REQUIRE(addresses.v4);
      CHECK(Prefix::parse("172.17.0.0/16").value().contains(*addresses.v4));
      CHECK_FALSE(addresses.v6);
    }
    CHECK(containers ==
          std::vector<std::string>{std::string(row.web) + " shop-web-1 web", std::string(row.db) + " shop-db-1 db"});
  }
}

TEST_CASE("a network's answer") {
  const std::string id = "\"Id\":\"" + id_of('a') + "\"";
  const std::string ep = id_of('e'), container = id_of('c');
  struct {
    const char* title;
    std::string text, outcome;  // "" = refused as invalid
  } rows[] = {
      {"no more than an id", "{" + id + "}", "  "},
      {"nulls, as Go prints what is empty",
       "{" + id + ",\"Name\":\"n\",\"Labels\":null,\"Options\":null,\"Containers\":null}", "n  "},
      {"members that we do not read may be anything", "{" + id + ",\"IPAM\":[1],\"Services\":{\"x\":null}}", "  "},
      {"peers, as a Swarm's node lists them",
       "{" + id + R"(,"Peers":[{"Name":"3f0f9a1c2b4d","IP":"10.99.0.21"},{"Name":"b1","IP":"10.99.0.4"},)" +
           R"({"Name":"b1","IP":"10.99.0.4"},{"Name":"c","IP":"fd99::1"}]})",
       "   peer:10.99.0.4 peer:10.99.0.21 peer:fd99::1"},
      {"no peers", "{" + id + ",\"Peers\":null}", "  "},
      {"a peer that cannot be read is none", "{" + id + R"(,"Peers":[{"IP":""},{"IP":"10.99.0.x"},{}]})", "  "},
      {"peers as an object", "{" + id + ",\"Peers\":{}}", ""},
      {"a peer that is text", "{" + id + ",\"Peers\":[\"10.99.0.4\"]}", ""},
      {"a peer's address that is a number", "{" + id + ",\"Peers\":[{\"IP\":7}]}", ""},
      {"ep- without EndpointID", "{" + id + ",\"Containers\":{\"ep-" + ep + "\":{\"Name\":\"web\"}}}",
       "   eeeeeeeeeeee=web"},
      {"by container id",
       "{" + id + ",\"Containers\":{\"" + container + "\":{\"Name\":\"web\",\"EndpointID\":\"" + ep + "\"}}}",
       "   eeeeeeeeeeee=web@cccc"},
      {"a container without an endpoint yet",
       "{" + id + ",\"Containers\":{\"" + container + "\":{\"Name\":\"web\",\"EndpointID\":\"\"}}}", "  "},
      {"Swarm's load balancer is no container",
       "{" + id + ",\"Containers\":{\"lb-n\":{\"Name\":\"n-endpoint\",\"EndpointID\":\"" + ep + "\"}}}", "  "},
      {"a swarm network's id", "{\"Id\":\"w2k1n0tz9dc0f8e3x5r7y6q4a\",\"Scope\":\"swarm\"}", "  swarm"},
      {"nothing", "", ""},
      {"not JSON", "<html>", ""},
      {"cut short", "{" + id, ""},
      {"two values", "{" + id + "}{}", ""},
      {"null", "null", ""},
      {"a list", "[]", ""},
      {"no id", "{}", ""},
      {"an id that is a number", "{\"Id\":7}", ""},
      {"an id that is a path", "{\"Id\":\"../x\"}", ""},
      {"a name that is a list", "{" + id + ",\"Name\":[]}", ""},
      {"labels that are a list", "{" + id + ",\"Labels\":[\"a=b\"]}", ""},
      {"a label that is a number", "{" + id + ",\"Labels\":{\"a\":1}}", ""},
      {"an option that is null", "{" + id + ",\"Options\":{\"a\":null}}", ""},
      {"containers as a list", "{" + id + ",\"Containers\":[]}", ""},
      {"a container that is text", "{" + id + ",\"Containers\":{\"" + container + "\":\"web\"}}", ""},
      {"an endpoint that is no id", "{" + id + ",\"Containers\":{\"ep-/\":{}}}", ""},
      {"bytes that are no UTF-8", "{" + id + ",\"Name\":\"\xff\"}", ""},
      {"nested without end", "{" + id + ",\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}", ""},
      {"nested without end, cut", std::string(1000000, '['), ""},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    auto network = wire::parse_network(row.text);
    if (row.outcome.empty()) {
      REQUIRE(!network);
      CHECK(network.error().code == Errc::invalid);
      CHECK_MESSAGE(network.error().text.starts_with("unreadable answer of the Docker engine: "), network.error().text);
    } else {
      REQUIRE_MESSAGE(network, network.error().text);
      CHECK(show(network.value()) == row.outcome);
    }
  }
}

TEST_CASE("the gateway bridge") {
  auto empty = wire::parse_gateway_bridge(R"({"Name":"docker_gwbridge","Containers":{},"Options":null})");
  REQUIRE(empty);
  CHECK(empty->link == "docker_gwbridge");
  CHECK(empty->sandboxes.empty());
  auto two = wire::parse_gateway_bridge(R"({"Options":{"com.docker.network.bridge.name":"gw0"},"Containers":{
      "ep-1":{"Name":"gateway_47347166ebf0","IPv4Address":"172.18.0.3/16","IPv6Address":"fd00::3/64"},
      "c2":{"Name":"somebody","IPv4Address":"172.18.0.4/16"}}})");
  REQUIRE(two);
  CHECK(two->link == "gw0");
  CHECK(two->sandboxes.at("47347166ebf0").v6 == Ip::parse("fd00::3").value());
  CHECK(two->sandboxes.at("c2").v4 == Ip::parse("172.18.0.4").value());
  for (auto* bad : {"[]", "{", R"({"Containers":[]})", R"({"Containers":{"a":1}})",
                    R"({"Containers":{"a":{"Name":"gateway_1","IPv4Address":"172.18.0.3"}}})"})
    CHECK_FALSE(wire::parse_gateway_bridge(bad));
}

TEST_CASE("lists of networks and containers") {
  const std::string net = "{\"Id\":\"" + id_of('a') + "\"}", box = "\"Id\":\"" + id_of('c') + "\"";
  struct {
    const char* title;
    std::string text;
    int networks, containers;  // how many; -1 = refused as invalid
  } rows[] = {
      {"null", "null", 0, 0},
      {"none", "[]", 0, 0},
      {"two networks", "[" + net + "," + net + "]", 2, 2},
      {"a container without names", "[{" + box + ",\"Names\":null}]", 1, 1},
      {"an object", net, -1, -1},
      {"one of them is null", "[" + net + ",null]", -1, -1},
      {"text", "\"x\"", -1, -1},
      {"names as text", "[{" + box + ",\"Names\":\"web\"}]", 1, -1},
      {"a name that is a number", "[{" + box + ",\"Names\":[1]}]", 1, -1},
      {"a short id", "[{\"Id\":\"abc\"}]", 1, -1},
      {"labels with a list in them", "[{" + box + ",\"Labels\":{\"a\":[]}}]", -1, -1},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    auto networks = wire::parse_networks(row.text);
    auto containers = wire::parse_containers(row.text);
    CHECK((networks ? static_cast<int>(networks.value().size()) : -1) == row.networks);
    CHECK((containers ? static_cast<int>(containers.value().size()) : -1) == row.containers);
    if (!networks) CHECK(networks.error().code == Errc::invalid);
    if (!containers) CHECK(containers.error().code == Errc::invalid);
  }
  auto linked = wire::parse_containers("[{" + box + ",\"Names\":[\"/web/alias\",\"/db\"]}]");
  REQUIRE(linked);
  CHECK(linked.value()[0].name == "db");
  auto being_renamed = wire::parse_containers("[{" + box + ",\"Names\":[\"/old\",\"/new\"]}]");
  REQUIRE(being_renamed);
  CHECK(being_renamed.value()[0].name.empty());  // either may be the one that goes
}

TEST_CASE("this node's address in the Swarm") {
  struct {
    const char *title, *text, *outcome;
  } rows[] = {
      {"a node of a Swarm", R"({"ID":"x","Swarm":{"NodeID":"n1","NodeAddr":"10.99.0.21","LocalNodeState":"active"}})",
       "10.99.0.21"},
      {"over IPv6", R"({"Swarm":{"NodeAddr":"fd99::1","LocalNodeState":"active"}})", "fd99::1"},
      {"in no Swarm", R"({"Swarm":{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive"}})", "none"},
      {"an engine that knows of no Swarm", R"({"ID":"x"})", "none"},
      {"null", R"({"Swarm":null})", "none"},
      {"a Swarm that is locked", R"({"Swarm":{"NodeAddr":"","LocalNodeState":"locked"}})",
       "unavailable: this node's Swarm is locked, so the node's address is not known"},
      {"a Swarm that is starting", R"({"Swarm":{"NodeAddr":"","LocalNodeState":"pending"}})",
       "unavailable: this node's Swarm is pending, so the node's address is not known"},
      {"no JSON", "<html>", "invalid"},
      {"a list", "[]", "invalid"},
      {"Swarm as text", R"({"Swarm":"x"})", "invalid"},
      {"an address that is a number", R"({"Swarm":{"NodeAddr":7}})", "invalid"},
      {"an address that is none", R"({"Swarm":{"NodeAddr":"node1","LocalNodeState":"active"}})", "invalid"},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    auto address = wire::parse_node_address(row.text);
    std::string outcome;
    if (address) outcome = address.value() ? address.value()->str() : "none";
    else if (address.error().code == Errc::unavailable) outcome = "unavailable: " + address.error().text;
    else outcome = address.error().code == Errc::invalid ? "invalid" : "?";
    CHECK(outcome == std::string(row.outcome));
  }
}

TEST_CASE("events") {
  auto event = wire::parse_event(
      R"({"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"c1","name":"shop_app"}},)"
      R"("scope":"local","time":1795295434,"timeNano":1795295434185790928})");
  REQUIRE(event);
  CHECK(event->type == "network");
  CHECK(event->action == "connect");
  CHECK(event->actor_id == "n1");
  CHECK(event->attributes == std::map<std::string, std::string>{{"container", "c1"}, {"name", "shop_app"}});
  CHECK(wire::parse_event(R"({"Type":"daemon","Action":"reload"})"));
  CHECK(wire::parse_event(R"({"Type":"daemon","Action":"reload","Actor":{"ID":"x","Attributes":null}})"));
  for (const char* bad : {"", "{", "[]", "7", R"({"Type":"network"})", R"({"Type":1,"Action":"x"})",
                          R"({"Type":"a","Action":"b","Actor":[]})", R"({"Type":"a","Action":"b","Actor":{"ID":1}})",
                          R"({"Type":"a","Action":"b","Actor":{"Attributes":{"x":1}}})"}) {
    CAPTURE(std::string(bad));
    auto refused = wire::parse_event(bad);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::invalid);
  }
}

TEST_CASE("the lines of a stream, however it is cut") {
  const std::string text = "one\n\ntwo\r\n \nthree\nfo";
  for (std::size_t piece : {1u, 2u, 3u, 5u, 100u}) {
    Lines lines;
    std::string seen;
    for (std::size_t at = 0; at < text.size(); at += piece)
      CHECK(lines.feed(text.substr(at, piece), [&](std::string_view line) -> Status {
        seen += std::string(line) + "|";
        return {};
      }));
    CHECK(seen == "one|two\r|three|");
  }
  Lines endless;
  Status status;
  int fed = 0;
  while (status && ++fed < 10) status = endless.feed(std::string(1 << 20, 'x'), [](auto) { return Status(); });
  CHECK(fed == 5);
  CHECK(!status);
}

TEST_CASE("request targets") {
  CHECK(wire::container_by_name_target("shop-web-1") ==
        "/containers/json?all=1&filters=%7B%22name%22%3A%5B%22%5E%2Fshop-web-1%24%22%5D%7D");
  // {"name":["^/a\\.b$"]}: the dot is no wildcard
  CHECK(wire::container_by_name_target("a.b") ==
        "/containers/json?all=1&filters=%7B%22name%22%3A%5B%22%5E%2Fa%5C%5C.b%24%22%5D%7D");
  CHECK(wire::container_by_name_target("\xff\"&?#\r\n").find_first_of("\"#\r\n \xff") == std::string::npos);
  CHECK(wire::container_by_id_target("abc") == "/containers/json?all=1&filters=%7B%22id%22%3A%5B%22abc%22%5D%7D");
  CHECK(wire::network_target(NetworkId::parse("abc").value()) == "/networks/abc");
  CHECK(wire::events_target(12, 5) ==
        "/events?since=12.000000005&filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%7D");
}

TEST_CASE("which drivers are ours") {
  CHECK(is_driver("microseg", "microseg"));
  CHECK(is_driver("microseg:latest", "microseg"));
  CHECK(is_driver("team/microseg:1.0", "microseg"));
  CHECK(is_driver("localhost:5000/team/microseg:latest", "microseg"));
  CHECK(!is_driver("microseg2", "microseg"));
  CHECK(!is_driver("micro", "microseg"));
  CHECK(!is_driver("bridge", "microseg"));
  CHECK(!is_driver("microseg:latest/other:latest", "microseg"));
  CHECK(!is_driver("microseg/", "microseg"));
}

TEST_CASE("what an error answer says") {
  CHECK(wire::error_message(R"({"message":"network x not found"})") == "network x not found");
  CHECK(wire::error_message("404 page not found") == "404 page not found");
  CHECK(wire::error_message(std::string(1000, 'x')).size() == 200);
}
