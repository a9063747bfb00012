#include "microseg/api/admin.h"

#include <optional>

#include <algorithm>

#include "query.h"
#include "views.h"

namespace microseg::api {
namespace {

using engine::AdminCommands;
using http::Request;
using http::Response;

Response bad_request(const std::string& message) { return {400, error_json("bad_request", message)}; }
Response bad_request(const Error& error) { return bad_request(error.text); }

// What the engine refused. Its `invalid` is a request that could be read and can not be done: a bad policy, say.
Response failed(const Error& error) {
  switch (error.code) {
    case Errc::invalid: return {422, error_json("invalid", error.text)};
    case Errc::not_found: return {404, error_json("not_found", error.text)};
    case Errc::exists: return {409, error_json("exists", error.text)};
    case Errc::unsupported: return {409, error_json("unsupported", error.text)};
    case Errc::unavailable: return {503, error_json("unavailable", error.text)};
    case Errc::denied: return {500, error_json("denied", error.text)};
    case Errc::kernel: break;
  }
  return {500, error_json("kernel", error.text)};
}

Response only(const Request& request, const std::string& methods) {
  return bad_request(request.path + ": expected " + methods + ", got " + request.method);
}

// A daemon that could not start knows nothing: that must not look like "there is nothing".
std::optional<Response> refuse_when_failed(AdminCommands& commands) {
  auto status = commands.status();
  if (status.health != "failed") return std::nullopt;
  return failed(Error{Errc::unavailable, 0, status.problems.empty() ? "microseg has failed" : status.problems.front()});
}

Response networks_view(AdminCommands& commands) {
  if (auto refusal = refuse_when_failed(commands)) return *refusal;
  return {200, to_json(commands.networks())};
}

Response endpoints(AdminCommands& commands, const Request& request) {
  auto query = parse_query(request.query);
  if (!query) return bad_request(query.error());
  if (auto refusal = refuse_when_failed(commands)) return *refusal;
  auto views = commands.endpoints();
  if (const auto& network = query.value()["network"]; !network.empty()) {
    auto named = commands.policy(network);  // the engine alone knows what a name or a prefix stands for
    if (!named) return failed(named.error());
    std::erase_if(views, [&](auto& view) { return view.network != named->network; });
  }
  return {200, to_json(views)};
}

Response policy(AdminCommands& commands, const Request& request, const std::string& network) {
  if (request.method == "GET") {
    auto view = commands.policy(network);
    return view ? Response{200, to_json(view.value())} : failed(view.error());
  }
  if (request.method == "PUT") {
    auto text = parse_policy_body(request.body);
    if (!text) return bad_request(text.error());
    auto version = commands.apply_policy(network, text.value());
    return version ? Response{200, applied_json(network, version.value())} : failed(version.error());
  }
  if (request.method == "DELETE") {
    auto removed = commands.remove_policy(network);
    return removed ? Response{200, removed_json(network)} : failed(removed.error());
  }
  return only(request, "GET, PUT or DELETE");
}

Response history(AdminCommands& commands, const Request& request, const std::string& network) {
  if (request.method != "GET") return only(request, "GET");
  auto view = commands.policy_history(network);
  return view ? Response{200, to_json(view.value())} : failed(view.error());
}

Response check(AdminCommands& commands, const Request& request) {
  if (request.method != "POST") return only(request, "POST");
  auto text = parse_policy_body(request.body);
  if (!text) return bad_request(text.error());
  auto view = commands.check_policy(text.value());
  return view ? Response{200, to_json(view.value())} : failed(view.error());
}

Response explain(AdminCommands& commands, const Request& request) {
  auto query = parse_query(request.query);
  if (!query) return bad_request(query.error());
  auto& values = query.value();
  for (const char* needed : {"from", "to", "port"})
    if (values[needed].empty()) return bad_request(std::string(needed) + ": missing from the query");
  auto port = parse_port(values["port"]);
  if (!port) return bad_request(port.error());
  auto view = commands.explain({values["network"], values["from"], values["to"], port->protocol, port->port});
  return view ? Response{200, to_json(view.value(), values["port"])} : failed(view.error());
}

// N of "/v1/networks/N" and `what`.
std::optional<std::string> network_in(const std::string& path, std::string_view what) {
  constexpr std::string_view before = "/v1/networks/";
  if (!path.starts_with(before) || !path.ends_with(what) || path.size() <= before.size() + what.size()) return std::nullopt;
  return path.substr(before.size(), path.size() - before.size() - what.size());
}

}  // namespace

Response Admin::handle(const Request& request) const {
  const std::string& path = request.path;
  if (auto network = network_in(path, "/policy")) return policy(commands_, request, *network);
  if (auto network = network_in(path, "/policy/history")) return history(commands_, request, *network);
  const bool get = request.method == "GET";
  if (path == "/v1/status") return get ? Response{200, to_json(commands_.status())} : only(request, "GET");
  if (path == "/v1/networks") return get ? networks_view(commands_) : only(request, "GET");
  if (path == "/v1/endpoints") return get ? endpoints(commands_, request) : only(request, "GET");
  if (path == "/v1/explain") return get ? explain(commands_, request) : only(request, "GET");
  if (path == "/v1/check") return check(commands_, request);
  return {404, error_json("not_found", "no such call: " + request.method + " " + path.substr(0, 200))};
}

}  // namespace microseg::api
