// The driver protocol's edge: the first byte picks the method ('a' the first of kPaths, 'b' the second ...), the rest
// is the body. Whatever comes in, the answer is one of three statuses and a JSON object, and an engine is only asked
// with well-formed requests, which their types guarantee.
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>

#include "microseg/base/log.h"
#include "microseg/cnm/driver.h"
#include "support/stub_commands.h"

namespace {

constexpr const char* kPaths[] = {
    "/NetworkDriver.CreateNetwork",
    "/NetworkDriver.CreateEndpoint",
    "/NetworkDriver.Join",
    "/NetworkDriver.AllocateNetwork",
    "/NetworkDriver.EndpointOperInfo",
    "/NetworkDriver.Leave",
    "/NetworkDriver.DeleteEndpoint",
    "/NetworkDriver.DeleteNetwork",
    "/NetworkDriver.FreeNetwork",
    "/NetworkDriver.DiscoverNew",
    "/NetworkDriver.DiscoverDelete",
    "/NetworkDriver.ProgramExternalConnectivity",
    "/NetworkDriver.RevokeExternalConnectivity",
    "/NetworkDriver.GetCapabilities",
    "/Plugin.Activate",
    "/NetworkDriver.GwAllocCheck",
    "/AuthZPlugin.AuthZReq",
    "/AuthZPlugin.AuthZRes",
};

void demand(bool holds, const char* what, const microseg::http::Response& response) {
  if (holds) return;
  (void)std::fprintf(stderr, "%s: %d %s\n", what, response.status, response.body.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  microseg::set_log_level(microseg::LogLevel::error);  // every refusal is a warning
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto* path = kPaths[static_cast<std::uint8_t>(data[0] - 'a') % std::size(kPaths)];
  microseg::test::StubDriverCommands engine;
  const microseg::cnm::Driver driver(engine, microseg::cnm::Scope::local);
  const auto response =
      driver.handle({"POST", path, "", std::string(reinterpret_cast<const char*>(data + 1), size - 1)});
  const int status = response.status;
  demand(status == 200 || status == 400 || status == 404, "status", response);
  const auto answer = nlohmann::json::parse(response.body, nullptr, false);
  demand(answer.is_object(), "not a JSON object", response);
  demand(answer.contains("Err") == (status != 200), "Err does not go with the status", response);
  demand(status == 200 || engine.calls.empty(), "the engine was asked though the request was refused", response);
  return 0;
}
