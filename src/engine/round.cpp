// The round: observe, diff, apply. Start, drift, retry and every command end here.
#include <algorithm>

#include "core.h"
#include "microseg/base/log.h"
#include "microseg/reconcile/steps.h"

namespace microseg::engine {
namespace {

constexpr std::int64_t kFirstRetryMs = 200, kLastRetryMs = 30'000, kFinishAfterMs = 100;

// A link's alias is "microseg:<endpoint id>"; plans name links only.
const model::Endpoint* endpoint_of(const model::State& state, const IfName& link) {
  for (auto& [id, endpoint] : state.endpoints)
    if (render::link_name(id) == link) return &endpoint;
  return nullptr;
}

bool concerns_vxlan(const kstate::Op& op) {
  return std::holds_alternative<kstate::AddVxlan>(op) || std::holds_alternative<kstate::MendVxlan>(op) ||
         std::holds_alternative<kstate::DelVxlan>(op);
}

std::vector<std::string> keys(const std::map<std::string, std::string>& map) {
  std::vector<std::string> out;
  for (auto& [key, value] : map) out.push_back(key);
  return out;
}

}  // namespace

Status Core::run_plan(const NetworkId& id, const kstate::Plan& plan, Runtime& runtime) {
  for (auto& op : plan) {
    auto done = kernel_.apply(id.brief(), op);
    if (done) continue;
    const bool removes = std::holds_alternative<kstate::DelLink>(op) || std::holds_alternative<kstate::DelVxlan>(op);
    if (removes && done.error().code == Errc::not_found) continue;
    // One endpoint's link is that endpoint's trouble: its sandbox may be gone. The others go on.
    // The way to other hosts is one thing, the containers of this host another. An announcement that did not go out is
    // made up for by the next question for the address.
    if (std::holds_alternative<kstate::Announce>(op)) continue;
    if (concerns_vxlan(op)) {
      if (runtime.vxlan_trouble.empty())
        log_warn("VXLAN not set up", {{"net", id.brief()}, {"error", done.error().text}});
      runtime.vxlan_trouble = done.error().text;
      continue;
    }
    const IfName* link = nullptr;
    if (auto* add = std::get_if<kstate::AddLink>(&op)) link = &add->name;
    if (auto* mend = std::get_if<kstate::MendLink>(&op)) link = &mend->name;
    auto* endpoint = link ? endpoint_of(state_, *link) : nullptr;
    if (!endpoint) return done;
    runtime.link_trouble[endpoint->id] = done.error().text;
    log_warn("link not set up", {{"net", id.brief()}, {"ep", endpoint->id.brief()}, {"error", done.error().text}});
  }
  return {};
}

Status Core::round(const NetworkId& id, RoundOptions options) {
  auto& network = state_.networks.at(id);
  auto& runtime = runtimes_.at(id);
  const auto endpoints = endpoints_of(id);
  if (auto done = enforce(runtime.verdict, endpoints); !done)
    log_error("network closed: all its endpoints are quarantined", {{"net", id.brief()}, {"why", done.error().text}});
  // A new peer is let in before it is sent to; and whoever's class or policy has changed has other permissions beyond.
  if (network.settings.spans_hosts() || setup_.guards_gateway) (void)host_round();
  auto desired = this->desired(network, runtime);
  if (desired.vxlan) runtime.flooded.insert(desired.vxlan->peers.begin(), desired.vxlan->peers.end());
  if (options.fresh)
    if (auto it = desired.links.find(render::link_name(*options.fresh)); it != desired.links.end()) it->second.peer.sandbox.clear();

  bool unfinished = false;
  auto attempt = [&]() -> Status {
    if (!runtime.known) {
      MS_CHECK(kernel_.create_segment(id.brief()));
      MS_TRY(runtime.known, kernel_.observe(id.brief(), keys(desired.sysctls)));
      if (auto seen = runtime.known->table ? render::generation_in(*runtime.known->table) : std::nullopt)
        runtime.generation = seen->number;
    }
    auto step = reconcile::plan(desired, *runtime.known, runtime.generation, options.later);
    unfinished = step.unfinished;
    runtime.link_trouble.clear();
    runtime.vxlan_trouble.clear();
    if (step.plan.empty()) return {};
    log_debug("plan", {{"net", id.brief()}, {"ops", kstate::to_text(step.plan)}});
    // Until all of it is done we know nothing for sure.
    runtime.known.reset();
    runtime.generation = std::max(runtime.generation, step.generation);
    MS_CHECK(run_plan(id, step.plan, runtime));
    runtime.generation = step.generation;
    if (runtime.link_trouble.empty() && runtime.vxlan_trouble.empty()) runtime.known = std::move(step.after);
    return {};
  };
  auto outcome = attempt();
  // What we believed to know may have been stale, or somebody was faster: look once more before giving up.
  if (!outcome) {
    runtime.known.reset();
    outcome = attempt();
  }
  if (!outcome) runtime.known.reset();
  set_trouble(id, runtime, outcome);
  if (outcome && runtime.vxlan_trouble.empty() && network.settings.spans_hosts()) {
    runtime.flooded = desired.vxlan ? desired.vxlan->peers : std::set<Ip>{};
    (void)host_round();  // a peer that is gone is let in no more, now that nothing is sent to it
  }
  if (unfinished && !runtime.retry_at) runtime.retry_at = now_() + kFinishAfterMs;
  return outcome;
}

void Core::set_trouble(const NetworkId& id, Runtime& runtime, const Status& outcome) {
  if (outcome && runtime.link_trouble.empty() && runtime.vxlan_trouble.empty()) {
    if (!runtime.trouble.empty()) log_info("network as desired again", {{"net", id.brief()}});
    runtime.trouble.clear();
    runtime.retry_at.reset();
    runtime.backoff_ms = 0;
    return;
  }
  if (!outcome && runtime.trouble != outcome.error().text)
    log_error("network not as desired; retrying", {{"net", id.brief()}, {"error", outcome.error().text}});
  runtime.trouble = outcome ? "" : outcome.error().text;
  runtime.backoff_ms = std::clamp(runtime.backoff_ms * 2, kFirstRetryMs, kLastRetryMs);
  runtime.retry_at = now_() + runtime.backoff_ms;
}

void Core::touched(const std::string& segment) {
  if (segment == kernel::kHostPorts) {
    (void)ports_round();
    (void)host_round();  // who was known may not be any more
    return;
  }
  if (segment == kernel::kHost) {
    host_.known.reset();
    (void)host_round();
    return;
  }
  for (auto& [id, runtime] : runtimes_)
    if (id.brief() == segment) {
      runtime.known.reset();
      (void)round(id);
    }
}

std::optional<std::int64_t> Core::retry_due() {
  if (host_.retry_at && *host_.retry_at <= now_()) (void)host_round();
  if (ports_.retry_at && *ports_.retry_at <= now_()) touched(kernel::kHostPorts);
  std::vector<NetworkId> due;
  for (auto& [id, runtime] : runtimes_)
    if (runtime.retry_at && *runtime.retry_at <= now_()) due.push_back(id);
  for (auto& id : due) (void)round(id);
  std::optional<std::int64_t> next;
  for (auto& [id, runtime] : runtimes_)
    if (runtime.retry_at) next = std::min(next.value_or(*runtime.retry_at), *runtime.retry_at);
  for (auto& at : {host_.retry_at, ports_.retry_at})
    if (at) next = std::min(next.value_or(*at), *at);
  return next;
}

void Core::check_all() {
  kernel_.doubt();
  touched(kernel::kHost);
  touched(kernel::kHostPorts);
  for (auto& id : network_ids()) touched(id.brief());
}

void Core::check_mounts() {
  auto present = kernel_.segments();
  if (!present) return;
  for (auto& id : network_ids())
    if (std::find(present.value().begin(), present.value().end(), id.brief()) == present.value().end()) {
      log_warn("segment lost its mount", {{"net", id.brief()}});
      touched(id.brief());
    }
}

}  // namespace microseg::engine
