#include "microseg/engine/engine.h"

#include <set>

#include "look_up.h"
#include "microseg/base/log.h"
#include "private.h"
#include "resolvers.h"
#include "views.h"

namespace microseg::engine {
namespace {

using std::chrono::steady_clock, std::chrono::milliseconds;

// Mounts are looked at by the clock, because no event tells of them; the whole of every segment more rarely, in case
// an event was missed.
constexpr milliseconds kMountCheck{400};
constexpr milliseconds kFullCheck{10'000};

}  // namespace

Engine::Engine(Config config) : p_(std::make_unique<Private>()) {
  p_->config = std::move(config);
  if (!p_->config.docker) return;
  p_->docker_state = "unreachable: no answer yet";
  p_->config.docker = p_->reads = std::make_shared<NetworkReads>(std::move(p_->config.docker));
}
Engine::~Engine() = default;

void Engine::run(const std::function<Result<Parts>()>& assemble) {
  auto& p = *p_;
  auto parts = assemble();
  Status started;
  if (parts) {
    p.parts = std::move(parts).value();
    auto core = std::make_unique<Core>(*p.parts.kernel, *p.parts.store, unix_ms,
                                       Setup{.with_docker = p.config.docker != nullptr,
                                             .guards_host = p.config.guards_host,
                                             .vxlan_port = p.config.vxlan_port,
                                             .guards_gateway = p.config.docker != nullptr,
                                             .resolvers = host_resolvers});
    started = core->start();
    if (started) p.core = std::move(core);
  } else {
    started = std::move(parts).error();
  }
  if (started) {
    p.parts.kernel->watch([&p](const std::string& segment) { p.note_touched(segment); });
    p.wake_watcher();
    log_info("ready", {{"networks", std::to_string(p.core->state().networks.size())},
                       {"endpoints", std::to_string(p.core->state().endpoints.size())}});
  } else {
    p.failure = started.error().text;
    log_error("not working; what the kernel holds stays enforced", {{"error", p.failure}});
  }

  auto next_mounts = steady_clock::now() + kMountCheck, next_full = steady_clock::now() + kFullCheck;
  while (!p.queue.stopped()) {
    auto until = std::min(next_mounts, next_full);
    if (p.core)
      if (auto retry = p.core->retry_due())
        until = std::min(until, steady_clock::now() + milliseconds(std::max<std::int64_t>(*retry - unix_ms(), 1)));
    if (auto work = p.queue.take(until)) Private::perform(*work);
    if (!p.core) continue;
    const auto now = steady_clock::now();
    if (now >= next_mounts) {
      p.core->check_mounts();
      next_mounts = steady_clock::now() + kMountCheck;
    }
    if (now >= next_full) {
      p.core->check_all();
      next_full = steady_clock::now() + kFullCheck;
    }
  }
  p.parts.kernel.reset();  // ends the monitor before what it would call
}

void Engine::stop() {
  {
    std::lock_guard lock(p_->mutex);
    p_->stopping = true;
  }
  p_->poked.notify_all();
  p_->queue.stop();
}

// ---- the driver's commands ----

Status Engine::admit_network(const NewNetwork& request) {
  if (!docker::is_driver(request.driver, p_->config.driver)) return {};
  return admit(request, p_->config.guards_host);
}
Status Engine::create_network(const CreateNetwork& request) {
  auto created = p_->with_core("create network", [&](Core& core) { return core.create_network(request); });
  if (created) {  // Docker tells its name, labels and peers a moment after it has our answer
    p_->wake_watcher();
    p_->wake(p_->peers_pokes);
  }
  return created;
}
Status Engine::delete_network(const NetworkId& id) {
  return p_->with_core("remove network", [&](Core& core) { return core.delete_network(id); });
}
Result<std::optional<Mac>> Engine::create_endpoint(const CreateEndpoint& request) {
  return p_->with_core("create endpoint", [&](Core& core) { return core.create_endpoint(request); });
}
Status Engine::delete_endpoint(const NetworkId& network, const EndpointId& id) {
  if (p_->reads) p_->reads->removal_ends(network, id);
  return p_->with_core("remove endpoint", [&](Core& core) { return core.delete_endpoint(id); });
}

Result<Joined> Engine::join(const Join& request) {
  const auto began = steady_clock::now();
  if (p_->reads) p_->reads->removal_ends(request.network, request.endpoint);
  Facts facts;
  const bool look = p_->config.docker && p_->view([&](Core& core) { return core.needs_look_up(request.endpoint); });
  if (look) facts = look_up(*p_->config.docker, {request.network, request.endpoint}, began + p_->config.look_up_limit);
  if (p_->config.docker) {
    facts.gateway_asked = steady_clock::now().time_since_epoch().count();
    if (auto bridge = list_gateways(*p_->config.docker, began + p_->config.look_up_limit)) facts.gateway = std::move(bridge).value();
  }
  auto answer = p_->with_core("join", [&](Core& core) { return core.join(request, facts); });
  if (!facts.container) p_->wake_watcher();
  p_->wake_gateways();  // its address there is given out after our answer
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began).count();
  log_debug("join answered", {{"ep", request.endpoint.brief()}, {"took_ms", std::to_string(took)}});
  return answer;
}

Status Engine::leave(const NetworkId& network, const EndpointId& id) {
  if (p_->reads) p_->reads->removal_begins(network, id);
  auto left = p_->with_core("leave", [&](Core& core) { return core.leave(id); });
  if (p_->reads) p_->reads->await_reads(network);
  return left;
}

// Swarm's allocator asks one network after another and waits for us; a manager's own API may wait for the allocator. So
// Docker is given a moment to list the other networks, and without its list there are still our own.
Result<model::Options> Engine::allocate_network(const NetworkId& id, const model::Options& options) {
  std::set<std::uint32_t> used = p_->view([&](Core& core) {
    std::set<std::uint32_t> out;
    for (auto& [other, network] : core.state().networks)
      if (other != id && network.settings.spans_hosts() && network.settings.vni) out.insert(*network.settings.vni);
    return out;
  });
  if (p_->config.docker) {
    auto listed = p_->config.docker->networks(steady_clock::now() + p_->config.look_up_limit);
    if (!listed) log_warn("networks not listed", {{"net", id.brief()}, {"error", listed.error().text}});
    else
      for (auto& other : listed.value())  // by the option, not the driver: under whatever name the plugin was installed
        if (auto vni = model::vni_in(other.options); vni && other.id != id) used.insert(*vni);
  }
  auto answer = p_->allocations.allocate(id, options, std::move(used)).in("allocate network " + id.brief());
  if (!answer)
    p_->wake_watcher();  // it finds out the network's name
  else
    log_info("network allocated", {{"net", id.brief()}, {"vni", std::to_string(*model::vni_in(answer.value()))}});
  return answer;
}
Status Engine::free_network(const NetworkId& id) {
  p_->allocations.free(id);
  return {};
}
void Engine::nodes_changed() { p_->wake(p_->peers_pokes); }

std::map<std::string, std::string> Engine::endpoint_info(const NetworkId&, const EndpointId& id) {
  using Info = std::map<std::string, std::string>;
  return p_->view([&](Core& core) {
    Info out;
    auto it = core.state().endpoints.find(id);
    if (it == core.state().endpoints.end()) return out;
    if (it->second.identity) out["microseg.service"] = it->second.identity->identity.service;
    if (auto why = quarantine_reason(core, it->second); !why.empty()) out["microseg.quarantined"] = why;
    return out;
  });
}

// ---- the admin's commands ----

StatusView Engine::status() {
  auto out = p_->view([](Core& core) {
    StatusView v;
    v.networks = core.state().networks.size();
    v.endpoints = core.state().endpoints.size();
    for (auto& [id, endpoint] : core.state().endpoints)
      if (!quarantine_reason(core, endpoint).empty()) ++v.quarantined;
    v.problems = problems(core);
    v.health = v.problems.empty() ? "ok" : "degraded";
    return v;
  });
  try {
    p_->queue.ask([&] {
      for (auto& c : p_->parts.capabilities) out.kernel[c.name] = c.missing.empty() ? "yes" : c.missing;
      if (p_->core) {
        const auto vxlan = out.kernel.find(kernel::kGroupPolicy);
        if (vxlan != out.kernel.end() && vxlan->second != "yes" && !p_->core->underlays().empty()) {
          out.problems.push_back("networks that span hosts do not reach other hosts: this kernel lacks " +
                                 vxlan->first + " (" + vxlan->second + ")");
          out.health = "degraded";
        }
        return;
      }
      out.health = "failed";
      out.problems = {p_->failure};
    });
  } catch (const std::future_error&) {
    out.health = "failed";
    out.problems = {"microseg is stopping"};
  }
  for (auto& [id, refused] : p_->allocations.refused()) {
    out.problems.push_back("network " + (refused.name.empty() ? id.brief() : refused.name) +
                           " was refused when Swarm allocated it: " + refused.why +
                           "; nothing can be attached to it: remove it (docker network rm) and create it again");
    if (out.health == "ok") out.health = "degraded";
  }
  out.version = p_->config.version;
  out.started_ms = p_->started_ms;
  std::lock_guard lock(p_->mutex);
  out.docker = p_->docker_state;
  return out;
}

std::vector<NetworkView> Engine::networks() {
  return p_->view([](Core& core) { return view_networks(core); });
}
std::vector<EndpointView> Engine::endpoints() {
  return p_->view([](Core& core) { return view_endpoints(core); });
}
Result<PolicyView> Engine::policy(const std::string& network) {
  return p_->with_core("policy", [&](Core& core) -> Result<PolicyView> {
    MS_TRY(auto* found, core.find_network(network));
    return view_policy(core, *found);
  });
}
Result<HistoryView> Engine::policy_history(const std::string& network) {
  return p_->with_core("policy history", [&](Core& core) { return core.policy_history(network); });
}
Result<std::uint64_t> Engine::apply_policy(const std::string& network, const std::string& text) {
  return p_->with_core("apply policy", [&](Core& core) { return core.apply_policy(network, text); });
}
Status Engine::remove_policy(const std::string& network) {
  return p_->with_core("remove policy", [&](Core& core) { return core.remove_policy(network); });
}
Result<ExplainView> Engine::explain(const ExplainRequest& request) {
  return p_->with_core("explain", [&](Core& core) { return engine::explain(core, request); });
}
Result<CheckView> Engine::check_policy(const std::string& text) { return check(text); }

}  // namespace microseg::engine
