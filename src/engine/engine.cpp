#include "microseg/engine/engine.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "allocations.h"
#include "core.h"
#include "look_up.h"
#include "microseg/base/log.h"
#include "queue.h"
#include "resolvers.h"
#include "underlays.h"
#include "views.h"

namespace microseg::engine {
namespace {

using std::chrono::steady_clock, std::chrono::milliseconds;

// Mounts are looked at by the clock, because no event tells of them; the whole of every segment more rarely, in case
// an event was missed.
constexpr milliseconds kMountCheck{400};
constexpr milliseconds kFullCheck{10'000};

std::int64_t unix_ms() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Engine::Private {
  Config config;
  Queue queue;
  std::int64_t started_ms = unix_ms();

  // On the engine's thread only.
  Parts parts;
  std::unique_ptr<Core> core;
  std::string failure = "microseg is starting";

  Allocations allocations;

  // Between the engine and the watcher.
  std::mutex mutex;
  std::condition_variable poked;
  // How often each of the watcher's threads was woken.
  std::uint64_t resolver_pokes = 0, peers_pokes = 0, gateway_pokes = 0;
  bool stopping = false;
  std::string docker_state = "off";
  std::set<std::string> touched;  // segments that wait for a look

  // A bug in one piece of work must not end the engine: what it left half done, the next look at the kernel mends.
  static void perform(const Queue::Work& work) {
    try {
      work();
    } catch (const std::exception& e) {
      log_error("internal error", {{"what", e.what()}});
    }
  }

  Error failed(std::string_view what) const { return Error{Errc::unavailable, 0, std::string(what) + ": " + failure}; }

  // Runs `f(core)` on the engine's thread; refuses when there is no core.
  template <class F>
  auto with_core(std::string_view what, F f) -> decltype(f(*core)) {
    using Answer = decltype(f(*core));
    try {
      return queue.ask([&]() -> Answer {
        if (!core) return failed(what);
        return f(*core);
      });
    } catch (const std::future_error&) {
      return Error{Errc::unavailable, 0, std::string(what) + ": microseg is stopping"};
    }
  }
  template <class F, class Answer = decltype(std::declval<F>()(std::declval<Core&>()))>
  Answer view(F f) {
    try {
      return queue.ask([&]() -> Answer { return core ? f(*core) : Answer{}; });
    } catch (const std::future_error&) {
      return Answer{};
    }
  }

  // Many events, one look: what is still waiting to be looked at is not queued again.
  void note_touched(const std::string& segment) {
    if (segment == kernel::kHostPorts) wake_gateways();  // somebody has got an address there, or lost one
    {
      std::lock_guard lock(mutex);
      if (!touched.insert(segment).second) return;
    }
    queue.post([this, segment] {
      {
        std::lock_guard lock(mutex);
        touched.erase(segment);
      }
      core->touched(segment);
    });
  }

  void wake(std::uint64_t& pokes) {
    {
      std::lock_guard lock(mutex);
      ++pokes;
    }
    poked.notify_all();
  }
  void wake_watcher() { wake(resolver_pokes); }
  void wake_gateways() { wake(gateway_pokes); }
  bool stopping_now() {
    std::lock_guard lock(mutex);
    return stopping;
  }
  // Waits until woken again since `seen` or until `limit` has passed; false when stopping.
  bool wait(milliseconds limit, const std::uint64_t& pokes, std::uint64_t& seen) {
    std::unique_lock lock(mutex);
    poked.wait_for(lock, limit, [&] { return pokes != seen || stopping; });
    seen = pokes;
    return !stopping;
  }
  void set_docker_state(const std::string& state) {
    std::lock_guard lock(mutex);
    if (docker_state != state) log_info("docker", {{"state", state}});
    docker_state = state;
  }

  bool compare_with_docker();
  bool resolve_all();
  void resolve_loop();
  void peers_loop();
  void gateways_loop();
};

Engine::Engine(Config config) : p_(std::make_unique<Private>()) {
  p_->config = std::move(config);
  if (p_->config.docker) p_->docker_state = "unreachable: no answer yet";
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
Status Engine::delete_endpoint(const NetworkId&, const EndpointId& id) {
  return p_->with_core("remove endpoint", [&](Core& core) { return core.delete_endpoint(id); });
}

Result<Joined> Engine::join(const Join& request) {
  const auto began = steady_clock::now();
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

Status Engine::leave(const NetworkId&, const EndpointId& id) {
  return p_->with_core("leave", [&](Core& core) { return core.leave(id); });
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
    auto listed = p_->config.docker->networks(p_->config.driver, steady_clock::now() + p_->config.look_up_limit);
    if (!listed) log_warn("networks not listed", {{"net", id.brief()}, {"error", listed.error().text}});
    else
      for (auto& other : listed.value())
        if (auto vni = model::vni_in(other.options); vni && other.id != id) used.insert(*vni);
  }
  auto answer = p_->allocations.allocate(id, options, std::move(used)).in("allocate network " + id.brief());
  if (answer)
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
Result<std::uint64_t> Engine::apply_policy(const std::string& network, const std::string& text) {
  return p_->with_core("apply policy", [&](Core& core) { return core.apply_policy(network, text); });
}
Status Engine::remove_policy(const std::string& network) {
  return p_->with_core("remove policy", [&](Core& core) { return core.remove_policy(network); });
}
Result<ExplainView> Engine::explain(const ExplainRequest& request) {
  return p_->with_core("explain", [&](Core& core) { return engine::explain(core, request); });
}

// ---- Docker's side ----

// What Docker no longer has is removed here too: Docker does not repeat a removal that it could not deliver. True when
// something may be such a case and has to be asked for again soon.
bool Engine::Private::compare_with_docker() {
  auto ids = view([](Core& c) { return c.network_ids(); });
  bool again = false;
  for (auto& id : ids) {
    const auto asked_ms = unix_ms();
    auto network = config.docker->network(id, steady_clock::now() + std::chrono::seconds(5));
    if (!network && network.error().code != Errc::not_found) return true;
    std::vector<EndpointId> endpoints;
    if (network) {
      for (auto& [ep, name] : network.value().endpoints) endpoints.push_back(ep);
      for (auto& [ep, container] : network.value().container_ids) endpoints.push_back(ep);
    }
    again |= view([&](Core& c) { return c.docker_has(id, network ? &endpoints : nullptr, asked_ms); });
  }
  return again;
}

// One attempt for each network without a name and each endpoint without an identity; true when none is left.
bool Engine::Private::resolve_all() {
  bool all = true;
  // Early, so that a policy error in the labels is told before the first container, and the name can be used.
  for (auto& id : view([](Core& c) { return c.unknown_networks(); })) {
    auto network = config.docker->network(id, steady_clock::now() + std::chrono::seconds(2));
    all = all && network;
    if (!network) continue;
    Facts facts;
    facts.network_name = network->name;
    facts.network_labels = network->labels;
    queue.post([this, id, facts] {
      if (core) core->learn(id, facts);
    });
  }
  auto missing = view([](Core& c) { return c.unresolved(); });
  for (auto& which : missing) {
    auto facts = look_up(*config.docker, which, steady_clock::now() + std::chrono::seconds(2));
    all = all && facts.container;
    queue.post([this, which, facts] {
      if (core) core->learn(which, facts);
    });
  }
  return all;
}

void Engine::Private::resolve_loop() {
  constexpr milliseconds kFirst{50}, kLast{2000}, kSoon{1000}, kIdle{30'000};
  milliseconds backoff = kFirst;
  auto next_compare = steady_clock::now();
  milliseconds pause = kIdle;
  std::uint64_t seen = 0;
  while (wait(pause, resolver_pokes, seen)) {
    const bool resolved = resolve_all();
    backoff = resolved ? kFirst : std::min(backoff * 2, kLast);
    if (steady_clock::now() >= next_compare)
      next_compare = steady_clock::now() + (compare_with_docker() ? kSoon : kIdle);
    const auto until_compare = std::chrono::ceil<milliseconds>(next_compare - steady_clock::now());
    pause = std::max(milliseconds(1), resolved ? until_compare : std::min(backoff, until_compare));
  }
}

// No event tells of a network's peers, so they are asked for by the clock; sooner for a while after something happened,
// because the nodes tell each other a moment after they have told us.
void Engine::Private::peers_loop() {
  constexpr milliseconds kEach{1000}, kSoon{200}, kIdle{30'000};
  constexpr std::chrono::seconds kSoonFor{3};
  Underlays underlays(*config.docker);
  std::uint64_t seen = 0, before = 0;
  auto soon_until = steady_clock::now();
  milliseconds pause{0};
  while (wait(pause, peers_pokes, seen)) {
    if (seen != before) {
      soon_until = steady_clock::now() + kSoonFor;
      underlays.forget_self();
    }
    before = seen;
    const auto known = view([](Core& c) { return c.underlays(); });
    for (auto& [id, now] : underlays.changes(known, steady_clock::now()))
      queue.post([this, id = id, now = now] {
        if (core) core->learn_underlay(id, now);
      });
    pause = known.empty() ? kIdle : steady_clock::now() < soon_until ? kSoon : kEach;
  }
}

// Addresses of the gateway bridge: asked for again and again while one of ours is about to get one.
void Engine::Private::gateways_loop() {
  constexpr milliseconds kUrgent{20}, kEach{2000};
  std::uint64_t seen = 0;
  milliseconds pause{0};
  while (wait(pause, gateway_pokes, seen)) {
    const auto asked = steady_clock::now();
    auto bridge = list_gateways(*config.docker, asked + std::chrono::seconds(1));
    const bool urgent = view([&](Core& c) {
      if (bridge) c.learn_gateways(bridge.value(), asked.time_since_epoch().count());
      return c.gateways_urgent();
    });
    pause = urgent ? kUrgent : kEach;
  }
}

void Engine::watch_docker() {
  auto& p = *p_;
  if (!p.config.docker) return;
  std::thread resolver([&p] { p.resolve_loop(); }), peers([&p] { p.peers_loop(); }),
      gateways([&p] { p.gateways_loop(); });
  auto on_event = [&p](const docker::Event& event) {
    if (event.type == "network" && event.action == "connect") p.wake_watcher();
    if (event.type == "network" || event.action == "start" || event.action == "die") p.wake_gateways();
    if (event.type != "container" || event.action != "rename") return;
    auto container = p.config.docker->container_by_id(event.actor_id, steady_clock::now() + std::chrono::seconds(2));
    if (!container) return;
    p.queue.post([&p, container = std::move(container).value()] {
      if (p.core) p.core->renamed(container);
    });
  };
  auto on_open = [&p] {
    p.set_docker_state("connected");
    p.wake_watcher();
  };
  while (!p.stopping_now()) {
    auto ended = p.config.docker->follow(on_open, on_event, [&p] { return p.stopping_now(); });
    p.set_docker_state("unreachable: " + (ended ? std::string("the engine closed the event stream") : ended.error().text));
    std::unique_lock lock(p.mutex);
    p.poked.wait_for(lock, std::chrono::milliseconds(500), [&p] { return p.stopping; });
  }
  resolver.join();
  peers.join();
  gateways.join();
}

}  // namespace microseg::engine
