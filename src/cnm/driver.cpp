#include "microseg/cnm/driver.h"

#include <array>

#include "microseg/base/log.h"
#include "authorization.h"
#include "wire.h"

namespace microseg::cnm {
namespace {

using engine::DriverCommands;

struct Call {
  DriverCommands& commands;
  Scope scope;
  const std::string& body;
};

// Docker distinguishes what could not be decoded (400) from what was understood and failed (200 with Err).
http::Response refused(int status, const Error& error) { return {status, wire::error(error.text)}; }

// Decoded request -> the engine's answer -> body.
template <class Request, class Act>
http::Response answer(Result<Request> request, Act act) {
  if (!request) return refused(400, request.error());
  Result<std::string> done = act(request.value());
  if (!done) return refused(200, done.error());
  return {200, std::move(done).value()};
}

Result<std::string> done(Status status) {
  MS_CHECK(std::move(status));
  return std::string(wire::kDone);
}

const char* name_of(Scope scope) { return scope == Scope::local ? "local" : "global"; }

http::Response activate(const Call&) { return {200, wire::kActivated}; }

http::Response get_capabilities(const Call& call) { return {200, wire::capabilities(name_of(call.scope))}; }

http::Response allocate_network(const Call& call) {
  return answer(wire::allocate_network(call.body), [&](const wire::Allocate& r) -> Result<std::string> {
    MS_TRY(auto options, call.commands.allocate_network(r.network, r.options));
    return wire::allocated(options);
  });
}

http::Response free_network(const Call& call) {
  return answer(wire::network_ref(call.body),
                [&](const NetworkId& id) { return done(call.commands.free_network(id)); });
}

http::Response create_network(const Call& call) {
  return answer(wire::create_network(call.body),
                [&](const engine::CreateNetwork& r) { return done(call.commands.create_network(r)); });
}

http::Response delete_network(const Call& call) {
  return answer(wire::network_ref(call.body),
                [&](const NetworkId& id) { return done(call.commands.delete_network(id)); });
}

http::Response create_endpoint(const Call& call) {
  return answer(wire::create_endpoint(call.body), [&](const engine::CreateEndpoint& r) -> Result<std::string> {
    MS_TRY(auto chosen, call.commands.create_endpoint(r));
    return wire::created_endpoint(r.mac ? std::nullopt : chosen);
  });
}

http::Response delete_endpoint(const Call& call) {
  return answer(wire::endpoint_ref(call.body),
                [&](const wire::EndpointRef& r) { return done(call.commands.delete_endpoint(r.network, r.endpoint)); });
}

http::Response endpoint_info(const Call& call) {
  return answer(wire::endpoint_ref(call.body), [&](const wire::EndpointRef& r) -> Result<std::string> {
    return wire::endpoint_info(call.commands.endpoint_info(r.network, r.endpoint));
  });
}

http::Response join(const Call& call) {
  return answer(wire::join(call.body), [&](const engine::Join& r) -> Result<std::string> {
    MS_TRY(auto joined, call.commands.join(r));
    return wire::joined(joined);
  });
}

http::Response leave(const Call& call) {
  return answer(wire::endpoint_ref(call.body),
                [&](const wire::EndpointRef& r) { return done(call.commands.leave(r.network, r.endpoint)); });
}

// Docker's own docker_gwbridge publishes the ports; there is nothing for us to program.
http::Response external_connectivity(const Call& call) {
  return answer(wire::endpoint_ref(call.body), [](const wire::EndpointRef&) { return done({}); });
}

// Never replayed to a plugin that starts late, so nothing may depend on it: members are asked of the Engine API, a
// little sooner for this.
http::Response discover(const Call& call) {
  if (auto ok = wire::discovery(call.body); !ok) return refused(400, ok.error());
  call.commands.nodes_changed();
  return {200, wire::kDone};
}

// Where dockerd was told to ask; the user sees why at once.
http::Response authorize(const Call& call) {
  return answer(authorization::wanted(call.body), [&](const auto& network) -> Result<std::string> {
    if (!network) return std::string(authorization::kAllowed);
    auto possible = call.commands.admit_network(*network);
    if (possible) return std::string(authorization::kAllowed);
    log_info("network refused before it was made", {{"error", possible.error().text}});
    return authorization::denied(possible.error().text);
  });
}

// What has been answered is done: nothing to say.
http::Response authorize_answer(const Call&) { return {200, authorization::kAllowed}; }

struct Method {
  std::string_view path;
  bool needs_body;
  http::Response (*run)(const Call&);
};

constexpr std::array kMethods = {
    Method{"/Plugin.Activate", false, activate},
    Method{"/NetworkDriver.GetCapabilities", false, get_capabilities},
    Method{"/NetworkDriver.AllocateNetwork", true, allocate_network},
    Method{"/NetworkDriver.FreeNetwork", true, free_network},
    Method{"/NetworkDriver.CreateNetwork", true, create_network},
    Method{"/NetworkDriver.DeleteNetwork", true, delete_network},
    Method{"/NetworkDriver.CreateEndpoint", true, create_endpoint},
    Method{"/NetworkDriver.DeleteEndpoint", true, delete_endpoint},
    Method{"/NetworkDriver.EndpointOperInfo", true, endpoint_info},
    Method{"/NetworkDriver.Join", true, join},
    Method{"/NetworkDriver.Leave", true, leave},
    Method{"/NetworkDriver.ProgramExternalConnectivity", true, external_connectivity},
    Method{"/NetworkDriver.RevokeExternalConnectivity", true, external_connectivity},
    Method{"/NetworkDriver.DiscoverNew", true, discover},
    Method{"/NetworkDriver.DiscoverDelete", true, discover},
    Method{"/AuthZPlugin.AuthZReq", true, authorize},
    Method{"/AuthZPlugin.AuthZRes", true, authorize_answer},
};

http::Response dispatch(DriverCommands& commands, Scope scope, const http::Request& request) {
  for (auto& method : kMethods) {
    if (method.path != request.path) continue;
    const std::string name = request.path.substr(1);
    if (request.method != "POST")
      return {400, wire::error("expected POST, got " + request.method + ": call " + name + " as Docker does")};
    // What Docker's client sends when it repeats a call whose connection broke: never to be read as a request.
    if (method.needs_body && request.body.find_first_not_of(" \t\r\n") == std::string::npos)
      return {400, wire::error("empty body: " + name + " needs a request; repeat the docker command")};
    return method.run({commands, scope, request.body});
  }
  return {404, wire::error("unknown method '" + request.path.substr(0, 80) + "'")};
}

}  // namespace

Result<Scope> parse_scope(const std::string& s) {
  if (s == "local") return Scope::local;
  if (s == "global") return Scope::global;
  return Error{Errc::invalid, 0, "scope: expected 'local' or 'global', got '" + s + "'"};
}

http::Response Driver::handle(const http::Request& request) const {
  auto response = dispatch(commands_, scope_, request);
  // Docker shows the errors of creations to the user and loses those of removals.
  if (response.body.starts_with(R"({"Err":)"))
    log_warn("driver call refused",
             {{"call", request.path}, {"status", std::to_string(response.status)}, {"answer", response.body}});
  return response;
}

}  // namespace microseg::cnm
