// What Docker sends, what the engine is asked, what Docker gets: one row each.
#include <doctest/doctest.h>

#include "microseg/base/log.h"
#include "microseg/cnm/driver.h"
#include "support/stub_commands.h"

using namespace microseg;

namespace {

http::Response post(const cnm::Driver& driver, const std::string& method, const std::string& body) {
  return driver.handle({"POST", "/" + method, "", body});
}

std::string called(const test::StubDriverCommands& stub) { return stub.calls.empty() ? "" : stub.calls.back(); }

const std::string kIds = R"("NetworkID":"a1","EndpointID":"b2")";

}  // namespace

TEST_CASE("every method: request, command, answer") {
  struct {
    const char *method, *body, *command, *answer;
  } rows[] = {
      {"Plugin.Activate", "", "", R"({"Implements":["NetworkDriver","authz"]})"},
      {"NetworkDriver.GetCapabilities", "", "",
       R"({"ConnectivityScope":"local","GwAllocChecker":false,"Scope":"local"})"},
      {"NetworkDriver.GetCapabilities", "null", "",
       R"({"ConnectivityScope":"local","GwAllocChecker":false,"Scope":"local"})"},
      {"NetworkDriver.AllocateNetwork", R"({"NetworkID":"a1","Options":{"k":"v"},"IPv4Data":[],"IPv6Data":null})",
       "allocate_network a1 [k=v]", R"({"Options":{"k":"v","microseg.vni":"4242"}})"},
      {"NetworkDriver.AllocateNetwork", R"({"NetworkID":"a1","Options":null})", "allocate_network a1",
       R"({"Options":{"microseg.vni":"4242"}})"},
      {"NetworkDriver.FreeNetwork", R"({"NetworkID":"a1"})", "free_network a1", "{}"},
      {"NetworkDriver.CreateNetwork",
       R"({"NetworkID":"a1","Options":{"com.docker.network.internal":true,"com.docker.network.enable_ipv6":true,
           "com.docker.network.generic":{"microseg.policy":"allow web -\u003e db"}},
           "IPv4Data":[{"AddressSpace":"LocalDefault","Pool":"10.5.0.0/24","Gateway":"10.5.0.1/24","AuxAddresses":{"h":"10.5.0.5/24"}},
                       {"Pool":"10.6.0.0/24"}],
           "IPv6Data":[{"Pool":"fd57::/64","Gateway":"fd57::1/64"}]})",
       "create_network a1 internal 10.5.0.0/24 via 10.5.0.1 10.6.0.0/24 fd57::/64 via fd57::1 "
       "[microseg.policy=allow web -> db]",
       "{}"},
      {"NetworkDriver.CreateNetwork",
       R"({"NetworkID":"a1","Options":{"com.docker.network.generic":null},"IPv4Data":null,"IPv6Data":null})",
       "create_network a1", "{}"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":null})", "create_network a1", "{}"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":{"com.docker.network.internal":false}})",
       "create_network a1", "{}"},
      {"NetworkDriver.DeleteNetwork", R"({"NetworkID":"a1"})", "delete_network a1", "{}"},
      {"NetworkDriver.CreateEndpoint",
       R"({"NetworkID":"a1","EndpointID":"b2","Interface":{"Address":"10.5.0.2/24","AddressIPv6":"fd57::2/64","MacAddress":""},
           "Options":{"com.docker.network.portmap":[{"Proto":6}],"com.docker.network.endpoint.exposedports":null,"microseg.service":"db"}})",
       "create_endpoint a1 b2 10.5.0.2/24 fd57::2/64 [microseg.service=db]",
       R"({"Interface":{"MacAddress":"02:6d:00:00:00:07"}})"},
      // Docker takes the MAC it gave, given back, for a change and deletes the endpoint.
      {"NetworkDriver.CreateEndpoint",
       R"({"NetworkID":"a1","EndpointID":"b2","Interface":{"Address":"","MacAddress":"02:11:22:33:44:55"},"Options":null})",
       "create_endpoint a1 b2 02:11:22:33:44:55", R"({"Interface":{}})"},
      {"NetworkDriver.CreateEndpoint", R"({"NetworkID":"a1","EndpointID":"b2","Interface":null})",
       "create_endpoint a1 b2", R"({"Interface":{"MacAddress":"02:6d:00:00:00:07"}})"},
      {"NetworkDriver.DeleteEndpoint", R"({"NetworkID":"a1","EndpointID":"b2"})", "delete_endpoint a1 b2", "{}"},
      {"NetworkDriver.EndpointOperInfo", R"({"NetworkID":"a1","EndpointID":"b2"})", "endpoint_info a1 b2",
       R"({"Value":{}})"},
      {"NetworkDriver.Leave", R"({"NetworkID":"a1","EndpointID":"b2"})", "leave a1 b2", "{}"},
      {"NetworkDriver.ProgramExternalConnectivity", R"({"NetworkID":"a1","EndpointID":"b2","Options":{}})", "", "{}"},
      {"NetworkDriver.RevokeExternalConnectivity", R"({"NetworkID":"a1","EndpointID":"b2"})", "", "{}"},
      {"NetworkDriver.DiscoverNew", R"({"DiscoveryType":1,"DiscoveryData":{"Address":"10.0.0.7","Self":false}})",
       "nodes_changed", "{}"},
      {"NetworkDriver.DiscoverDelete", R"({"DiscoveryType":1,"DiscoveryData":null})", "nodes_changed", "{}"},
      {"NetworkDriver.FreeNetwork", R"({"NetworkID":"zz","NetworkID":"a1"})", "free_network a1", "{}"},  // as Go: last
  };
  for (auto& row : rows) {
    CAPTURE(row.method);
    CAPTURE(row.body);
    test::StubDriverCommands stub;
    auto response = post(cnm::Driver(stub, cnm::Scope::local), row.method, row.body);
    CHECK(response.status == 200);
    CHECK(response.body == row.answer);
    CHECK(called(stub) == row.command);
  }
}

TEST_CASE("what Docker asks of an authorization plugin: only networks to be made are of interest") {
  // {"Name":"app","Driver":"microseg","Options":{"microseg.policy":"allow web"},"Labels":{"k":"v"}}, and two more forms.
  const std::string network =
      "eyJOYW1lIjoiYXBwIiwiRHJpdmVyIjoibWljcm9zZWciLCJPcHRpb25zIjp7Im1pY3Jvc2VnLnBvbGljeSI6ImFsbG93IHdlYiJ9LCJMYWJlbHMiOnsia"
      "yI6InYifX0=";
  struct {
    const char* title;
    std::string body, command;
  } rows[] = {
      {"a network", R"({"RequestMethod":"POST","RequestUri":"/v1.45/networks/create","RequestBody":")" + network + "\"}",
       "admit_network microseg [microseg.policy=allow web] labels [k=v]"},
      {"of no version", R"({"RequestMethod":"POST","RequestUri":"/networks/create?x=/y","RequestBody":")" + network + "\"}",
       "admit_network microseg [microseg.policy=allow web] labels [k=v]"},
      {"by default, without a line's end", R"({"RequestMethod":"POST","RequestUri":"/v1.45/networks/create","RequestBody":"e30="})",
       "admit_network  labels"},
      {"something else", R"({"RequestMethod":"GET","RequestUri":"/v1.45/containers/json"})", ""},
      {"one that is asked for", R"({"RequestMethod":"GET","RequestUri":"/v1.45/networks/create"})", ""},
      {"not base64", R"({"RequestMethod":"POST","RequestUri":"/networks/create","RequestBody":"e30"})", ""},
      {"not base64 either", R"({"RequestMethod":"POST","RequestUri":"/networks/create","RequestBody":"e3*="})", ""},
      {"nothing", R"({"RequestMethod":"POST","RequestUri":"/networks/create"})", ""},
      {"options that Docker refuses", R"({"RequestMethod":"POST","RequestUri":"/networks/create","RequestBody":"eyJPcHRpb25zIjp7ImEiOjF9fQ=="})",
       ""},
  };
  for (auto& row : rows) {
    CAPTURE(row.title);
    test::StubDriverCommands stub;
    auto response = post(cnm::Driver(stub, cnm::Scope::local), "AuthZPlugin.AuthZReq", row.body);
    CHECK(response.status == 200);
    CHECK(response.body == R"({"Allow":true})");
    CHECK(called(stub) == row.command);
    stub.fail = Error{Errc::invalid, 0, "line 1, column 10: expected '->'"};
    response = post(cnm::Driver(stub, cnm::Scope::local), "AuthZPlugin.AuthZReq", row.body);
    CHECK(response.status == 200);
    CHECK(response.body == (row.command.empty() ? R"({"Allow":true})"
                                                : R"({"Allow":false,"Msg":"line 1, column 10: expected '->'"})"));
  }
  test::StubDriverCommands stub;
  CHECK(post(cnm::Driver(stub, cnm::Scope::local), "AuthZPlugin.AuthZReq", "{").status == 400);
  CHECK(post(cnm::Driver(stub, cnm::Scope::local), "AuthZPlugin.AuthZReq", R"({"RequestMethod":7})").status == 400);
  CHECK(post(cnm::Driver(stub, cnm::Scope::local), "AuthZPlugin.AuthZRes", "whatever it was").body == R"({"Allow":true})");
  CHECK(stub.calls.empty());
}

TEST_CASE("Join tells Docker the link and the routes, never a gateway") {
  test::StubDriverCommands stub;
  stub.join_answer = {IfName::parse("ms3f2a").value(),
                      "net",
                      {{Prefix::parse("10.5.0.1/32").value(), std::nullopt},
                       {Prefix::parse("10.5.0.0/25").value(), Ip::parse("10.5.0.1").value()},
                       {Prefix::parse("fd57::/65").value(), Ip::parse("fd57::1").value()}}};
  auto response = post(cnm::Driver(stub, cnm::Scope::local), "NetworkDriver.Join",
                       "{" + kIds + R"(,"SandboxKey":"/var/run/docker/netns/1a2b","Options":{"x":[]}})");
  CHECK(response.status == 200);
  CHECK(called(stub) == "join a1 b2 /var/run/docker/netns/1a2b");
  CHECK(response.body == R"({"DisableGatewayService":false,"InterfaceName":{"DstPrefix":"net","SrcName":"ms3f2a"},)"
                         R"("StaticRoutes":[{"Destination":"10.5.0.1/32","NextHop":"","RouteType":1},)"
                         R"({"Destination":"10.5.0.0/25","NextHop":"10.5.0.1","RouteType":0},)"
                         R"({"Destination":"fd57::/65","NextHop":"fd57::1","RouteType":0}]})");
}

TEST_CASE("Join brings the published ports, CreateEndpoint the container's own DNS servers") {
  test::StubDriverCommands stub;
  const cnm::Driver driver(stub, cnm::Scope::local);
  (void)post(driver, "NetworkDriver.Join", "{" + kIds + R"(,"SandboxKey":"s","Options":{"com.docker.network.portmap":[
      {"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080},
      {"Proto":17,"IP":"","Port":53,"HostIP":"","HostPort":0,"HostPortEnd":0},
      {"Proto":6,"Port":90,"HostPort":8000,"HostPortEnd":8010}]}})");
  CHECK(called(stub) == "join a1 b2 s 8080:80/6 0:53/17 0:90/6");
  (void)post(driver, "NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Options":{
      "com.docker.network.endpoint.dnsservers":["192.0.2.53","fe80::1%eth0","2001:db8::53"]}})");
  CHECK(called(stub) == "create_endpoint a1 b2 dns 192.0.2.53 dns 2001:db8::53");
}

TEST_CASE("a daemon of global scope says so") {
  test::StubDriverCommands stub;
  CHECK(post(cnm::Driver(stub, cnm::Scope::global), "NetworkDriver.GetCapabilities", "").body ==
        R"({"ConnectivityScope":"global","GwAllocChecker":false,"Scope":"global"})");
  CHECK(cnm::parse_scope("local").value() == cnm::Scope::local);
  CHECK(cnm::parse_scope("global").value() == cnm::Scope::global);
  CHECK(cnm::parse_scope("swarm").error().text == "scope: expected 'local' or 'global', got 'swarm'");
}

TEST_CASE("operational information is passed on") {
  test::StubDriverCommands stub;
  stub.info = {{"microseg.service", "db"}};
  CHECK(post(cnm::Driver(stub, cnm::Scope::local), "NetworkDriver.EndpointOperInfo", "{" + kIds + "}").body ==
        R"({"Value":{"microseg.service":"db"}})");
}

TEST_CASE("understood and failed is 200 with Err") {
  set_log_level(LogLevel::error);
  const char* rows[][2] = {
      {"NetworkDriver.AllocateNetwork", R"({"NetworkID":"a1"})"},
      {"NetworkDriver.FreeNetwork", R"({"NetworkID":"a1"})"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1"})"},
      {"NetworkDriver.DeleteNetwork", R"({"NetworkID":"a1"})"},
      {"NetworkDriver.CreateEndpoint", R"({"NetworkID":"a1","EndpointID":"b2"})"},
      {"NetworkDriver.DeleteEndpoint", R"({"NetworkID":"a1","EndpointID":"b2"})"},
      {"NetworkDriver.Join", R"({"NetworkID":"a1","EndpointID":"b2","SandboxKey":"s"})"},
      {"NetworkDriver.Leave", R"({"NetworkID":"a1","EndpointID":"b2"})"},
  };
  for (auto& [method, body] : rows) {
    CAPTURE(method);
    test::StubDriverCommands stub;
    stub.fail = Error{Errc::not_found, 0, "no network a1 \xff"};  // quoted from outside, cut anywhere
    auto response = post(cnm::Driver(stub, cnm::Scope::local), method, body);
    CHECK(response.status == 200);
    CHECK(response.body == "{\"Err\":\"no network a1 \xef\xbf\xbd\"}");
  }
}

TEST_CASE("what can not be decoded is refused with the field's name, and the engine never hears of it") {
  set_log_level(LogLevel::error);
  const std::string long_id(65, 'a');
  struct {
    std::string method, body;
    int status;
    std::string error;
  } rows[] = {
      {"NetworkDriver.Join", "", 400, "empty body: NetworkDriver.Join needs a request; repeat the docker command"},
      {"NetworkDriver.DeleteNetwork", "\n", 400,
       "empty body: NetworkDriver.DeleteNetwork needs a request; repeat the docker command"},
      {"NetworkDriver.CreateNetwork", "{", 400, "the body is not JSON: syntax error at byte 2"},
      {"NetworkDriver.CreateNetwork", "{} trailing", 400, "the body is not JSON: syntax error at byte 6"},
      {"NetworkDriver.CreateNetwork", "{\"NetworkID\":\"\xff\"}", 400, "the body is not JSON: syntax error at byte 15"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":1e999})", 400, "the body is not JSON: a number is out of range"},
      {"NetworkDriver.CreateNetwork", "[]", 400, "the body: expected an object, got array"},
      {"NetworkDriver.CreateNetwork", "null", 400, "the body: expected an object, got null"},
      {"NetworkDriver.CreateNetwork", "{\"x\":" + std::string(100'000, '['), 400,
       "the body is not JSON: syntax error at byte 100006"},
      {"NetworkDriver.CreateNetwork", "{\"x\":" + std::string(50'000, '[') + std::string(50'000, ']') + "}", 400,
       "the body nests more than 32 levels deep"},
      {"NetworkDriver.CreateNetwork", "{}", 400, "NetworkID: expected text, got nothing"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":null})", 400, "NetworkID: expected text, got nothing"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":7})", 400, "NetworkID: expected text, got number"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"../etc"})", 400, "NetworkID: not a Docker id: '../etc'"},
      {"NetworkDriver.DeleteNetwork", R"({"NetworkID":""})", 400, "NetworkID: not a Docker id: ''"},
      {"NetworkDriver.FreeNetwork", R"({"NetworkID":")" + long_id + R"("})", 400,
       "NetworkID: not a Docker id: '" + long_id + "'"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":[]})", 400,
       "Options: expected an object, got array"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":{"com.docker.network.generic":"x"}})", 400,
       "Options.com.docker.network.generic: expected an object, got string"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":{"com.docker.network.generic":{"k":[1]}}})", 400,
       "Options.com.docker.network.generic.k: expected text, got array"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","Options":{"com.docker.network.internal":"yes"}})", 400,
       "Options.com.docker.network.internal: expected true or false, got string"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv4Data":{}})", 400,
       "IPv4Data: expected a list, got object"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv4Data":["10.5.0.0/24"]})", 400,
       "IPv4Data[0]: expected an object, got string"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv4Data":[{"Pool":"10.5.0.0"}]})", 400,
       "IPv4Data[0].Pool: not an address with a prefix length: '10.5.0.0'"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv4Data":[{"Pool":"10.5.0.0/33"}]})", 400,
       "IPv4Data[0].Pool: not an address with a prefix length: '10.5.0.0/33'"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv4Data":[{"Gateway":"10.5.0.1/24"}]})", 400,
       "IPv4Data[0].Pool: expected an address pool, got nothing"},
      {"NetworkDriver.CreateNetwork",
       R"({"NetworkID":"a1","IPv4Data":[{"Pool":"10.5.0.0/24"},{"Pool":"10.6.0.0/24","Gateway":"10.6.0.x/24"}]})", 400,
       "IPv4Data[1].Gateway: not an address with a prefix length: '10.6.0.x/24'"},
      {"NetworkDriver.CreateNetwork", R"({"NetworkID":"a1","IPv6Data":[{"Pool":"10.5.0.0/24"}]})", 400,
       "IPv6Data[0].Pool: expected an IPv6 address, got '10.5.0.0/24'"},
      {"NetworkDriver.CreateEndpoint", R"({"NetworkID":"a1"})", 400, "EndpointID: expected text, got nothing"},
      {"NetworkDriver.CreateEndpoint", R"({"NetworkID":"a1","EndpointID":"B2"})", 400,
       "EndpointID: not a Docker id: 'B2'"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Interface":"eth0"})", 400,
       "Interface: expected an object, got string"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Interface":{"Address":"fd57::2/64"}})", 400,
       "Interface.Address: expected an IPv4 address, got 'fd57::2/64'"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Interface":{"AddressIPv6":42}})", 400,
       "Interface.AddressIPv6: expected text, got number"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Interface":{"MacAddress":"02:11"}})", 400,
       "Interface.MacAddress: not a MAC address: '02:11'"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Interface":{"MacAddress":"ff:ff:ff:ff:ff:ff"}})", 400,
       "Interface.MacAddress: not a unicast MAC address: 'ff:ff:ff:ff:ff:ff'"},
      {"NetworkDriver.CreateEndpoint", "{" + kIds + R"(,"Options":{"Microseg.Service":["db"]}})", 400,
       "Options.Microseg.Service: expected text, got array"},
      {"NetworkDriver.Join", "{" + kIds + "}", 400, "SandboxKey: expected text, got nothing"},
      {"NetworkDriver.Join", "{" + kIds + R"(,"SandboxKey":"s","Options":{"com.docker.network.portmap":[{"Proto":6,"Port":65536}]}})",
       400, "Options.com.docker.network.portmap[0].Port: expected a number from 0 to 65535, got number"},
      {"NetworkDriver.Leave", R"({"NetworkID":"a1","EndpointID":{}})", 400, "EndpointID: expected text, got object"},
      {"NetworkDriver.ProgramExternalConnectivity", "{}", 400, "NetworkID: expected text, got nothing"},
      {"NetworkDriver.DiscoverNew", R"({"DiscoveryType":"node"})", 400, "DiscoveryType: expected a number, got string"},
      {"NetworkDriver.GwAllocCheck", "{}", 404, "unknown method '/NetworkDriver.GwAllocCheck'"},
      {"IpamDriver.GetCapabilities", "", 404, "unknown method '/IpamDriver.GetCapabilities'"},
      {"", "", 404, "unknown method '/'"},
  };
  for (auto& row : rows) {
    CAPTURE(row.method);
    CAPTURE(row.body.substr(0, 200));
    test::StubDriverCommands stub;
    auto response = post(cnm::Driver(stub, cnm::Scope::local), row.method, row.body);
    CHECK(response.status == row.status);
    CHECK(response.body == "{\"Err\":\"" + row.error + "\"}");
    CHECK(stub.calls.empty());
  }
}

TEST_CASE("only POST is a call") {
  set_log_level(LogLevel::error);
  test::StubDriverCommands stub;
  auto response = cnm::Driver(stub, cnm::Scope::local).handle({"GET", "/NetworkDriver.Leave", "", "{" + kIds + "}"});
  CHECK(response.status == 400);
  CHECK(response.body == R"({"Err":"expected POST, got GET: call NetworkDriver.Leave as Docker does"})");
  CHECK(stub.calls.empty());
}
