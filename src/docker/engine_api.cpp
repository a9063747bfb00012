#include "microseg/docker/engine_api.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "docker/lines.h"
#include "docker/wire.h"
#include "microseg/http/http.h"

namespace microseg::docker {
namespace {

// What callers of this module act on: an engine whose socket we may not use is an engine that we do not have.
Error as_engine_error(Error error) {
  if (error.code != Errc::invalid && error.code != Errc::not_found) error.code = Errc::unavailable;
  return error;
}

Status check_status(int status, std::string_view body) {
  if (status == 200) return {};
  const std::string text = "the Docker engine answered " + std::to_string(status) + ": " + wire::error_message(body);
  if (status == 404) return Error{Errc::not_found, 0, text};
  return Error{status >= 500 ? Errc::unavailable : Errc::invalid, 0, text};
}

class UnixEngineApi : public EngineApi {
 public:
  explicit UnixEngineApi(std::string path) : path_(std::move(path)) {}

  Result<NetworkInfo> network(const NetworkId& id, Deadline deadline) override {
    MS_TRY(const std::string body, get(wire::network_target(id), deadline));
    MS_TRY(auto network, wire::parse_network(body).in("network " + id.brief()));
    // The path takes names and beginnings of ids too, and a network may be named like another one's id.
    if (network.id != id)
      return Error{Errc::not_found, 0, "the Docker engine knows no network with the id " + id.str()};
    return network;
  }

  Result<std::vector<NetworkInfo>> networks(Deadline deadline) override {
    MS_TRY(const std::string body, get("/networks", deadline));
    MS_TRY(auto networks, wire::parse_networks(body).in("list networks"));
    for (auto& network : networks) {  // some versions list them, some do not
      network.endpoints.clear();
      network.container_ids.clear();
    }
    return networks;
  }

  Result<GatewayBridge> gateway_bridge(Deadline deadline) override {
    MS_TRY(const std::string body, get(wire::kGatewayBridgeTarget, deadline));
    return wire::parse_gateway_bridge(body).in("docker_gwbridge");
  }

  Result<model::Container> container_by_name(const std::string& name, Deadline deadline) override {
    return container(wire::container_by_name_target(name), deadline, "named '" + name + "'",
                     [&](const model::Container& c) { return c.name == name; });
  }

  Result<model::Container> container_by_id(const std::string& id, Deadline deadline) override {
    return container(wire::container_by_id_target(id), deadline, "with the id '" + id + "'",
                     [&](const model::Container& c) { return c.id == id; });
  }

  Result<std::optional<Ip>> node_address(Deadline deadline) override {
    MS_TRY(const std::string body, get("/info", deadline));
    return wire::parse_node_address(body).in("this node's address");
  }

  Status follow(const std::function<void()>& on_open, const std::function<void(const Event&)>& on_event,
                const std::function<bool()>& stop) override {
    // The engine sends its header a moment before it subscribes us. `since` makes it repeat, atomically with the
    // subscription, what happened in that gap; the second before is for clocks that are set.
    const auto now = std::chrono::system_clock::now().time_since_epoch() - std::chrono::seconds(1);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
    const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds);

    int status = 0;
    std::string refusal;
    Lines lines;
    Status outcome;
    const auto take = [&](std::string_view line) -> Status {
      MS_TRY(const Event event, wire::parse_event(line));
      on_event(event);
      return {};
    };
    const auto streamed = http::stream_unix(
        path_, wire::events_target(seconds.count(), rest.count()),
        [&](int code) {
          status = code;
          if (code == 200) on_open();
        },
        [&](std::string_view data) {
          if (status != 200) {
            refusal.append(data.substr(0, 1000 - std::min<std::size_t>(1000, refusal.size())));
          } else if (outcome) {
            outcome = lines.feed(data, take);
          }
        },
        [&] { return !outcome || (stop && stop()); });
    if (!outcome) return std::move(outcome).in("follow events");
    if (!streamed) return as_engine_error(streamed.error()).in("follow events");
    if (status != 0) return check_status(status, refusal).in("follow events");
    return {};  // stopped before the engine answered
  }

 private:
  Result<std::string> get(const std::string& target, Deadline deadline) {
    auto response = http::request_unix(path_, "GET", target, "", deadline);
    if (!response) return as_engine_error(std::move(response).error());
    MS_CHECK(check_status(response->status, response->body).in("GET " + target));
    return std::move(response->body);
  }

  template <class Matches>
  Result<model::Container> container(const std::string& target, Deadline deadline, const std::string& which,
                                     const Matches& matches) {
    MS_TRY(const std::string body, get(target, deadline));
    MS_TRY(auto containers, wire::parse_containers(body).in("container " + which));
    auto it = std::find_if(containers.begin(), containers.end(), matches);
    if (it == containers.end()) return Error{Errc::not_found, 0, "the Docker engine knows no container " + which};
    return std::move(*it);
  }

  std::string path_;
};

}  // namespace

bool is_driver(std::string_view candidate, std::string_view driver) {
  const auto slash = candidate.rfind('/');
  if (slash != std::string_view::npos) candidate.remove_prefix(slash + 1);
  return candidate.starts_with(driver) && (candidate.size() == driver.size() || candidate[driver.size()] == ':');
}

std::unique_ptr<EngineApi> make_engine_api(const std::string& socket_path) {
  return std::make_unique<UnixEngineApi>(socket_path);
}

}  // namespace microseg::docker
