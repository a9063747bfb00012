// The host's own table. It guards the underlay, so it comes before every VXLAN device and goes after it, and what passes
// Docker's gateway bridge, so it comes before every container (gateway.cpp says what is in it for them).
#include <algorithm>

#include "core.h"
#include "microseg/base/log.h"
#include "microseg/reconcile/host.h"

namespace microseg::engine {
namespace {

constexpr std::int64_t kFirstRetryMs = 200, kLastRetryMs = 30'000;

}  // namespace

std::set<render::Tunnel> Core::tunnels() const {
  std::set<render::Tunnel> out;
  for (auto& [id, network] : state_.networks) {
    const auto& settings = network.settings;
    const auto& underlay = network.underlay;
    if (!settings.spans_hosts() || !settings.vni) continue;
    if (underlay.self)
      for (auto& peer : underlay.peers) out.insert({peer, *settings.vni});
    for (auto& peer : runtimes_.at(id).flooded) out.insert({peer, *settings.vni});
  }
  return out;
}

kstate::Segment Core::desired(const model::Network& network, const Runtime& runtime) const {
  auto out = render::segment(network, endpoints_of(network.id), runtime.verdict.judgement, setup_.vxlan_port);
  if (!out.vxlan) return out;
  if (host_.stands)
    std::erase_if(out.vxlan->peers, [&](const Ip& peer) { return !host_.open.contains({peer, out.vxlan->vni}); });
  else
    out.vxlan.reset();
  return out;
}

std::optional<kstate::Table> Core::desired_host_table(const std::set<render::Tunnel>& tunnels) {
  if (!setup_.guards_host && !setup_.guards_gateway) return std::nullopt;
  // Without a network there is nothing to guard, but for addresses that were ours a moment ago. The underlay is another
  // matter: other hosts may still take this one for a peer, whoever speaks through it.
  if (!setup_.guards_host && state_.networks.empty() && gateways_.parting().empty()) return std::nullopt;
  auto table = render::host_table();
  if (setup_.guards_host) render::add_underlay(table, setup_.vxlan_port, tunnels);
  if (setup_.guards_gateway) render::add_gateway(table, gateway());
  return table;
}

// One attempt: observe if need be, diff, apply.
Status Core::run_host_plan(const std::optional<kstate::Table>& desired) {
  if (!host_.known) {
    MS_TRY(host_.known, kernel_.observe(kernel::kHost, {}));
  }
  const auto plan = reconcile::plan_host(desired, host_.known->table);
  if (plan.empty()) return {};
  log_debug("plan", {{"net", kernel::kHost}, {"ops", kstate::to_text(plan)}});
  host_.known.reset();
  for (auto& op : plan) MS_CHECK(kernel_.apply(kernel::kHost, op));
  host_.known.emplace();
  host_.known->table = desired;
  return {};
}

Status Core::host_round() {
  const auto wanted = setup_.guards_host ? tunnels() : std::set<render::Tunnel>{};
  const auto desired = desired_host_table(wanted);
  if (host_.known && host_.trouble.empty() && host_.open == wanted && host_.known->table == desired) return {};
  const bool stood = host_.stands, troubled = !host_.trouble.empty();

  auto outcome = run_host_plan(desired);
  // As for segments: what we believed to know may have been stale.
  if (!outcome) {
    host_.known.reset();
    outcome = run_host_plan(desired);
  }
  if (outcome) {
    host_.stands = setup_.guards_host;
    host_.open = wanted;
  } else {
    host_.known.reset();
    host_.open.clear();
    // It may stand all the same: for those who are in it already, or as a daemon left it that has not ended yet.
    auto seen = kernel_.observe(kernel::kHost, {});
    host_.stands = setup_.guards_host && seen && reconcile::does(seen->table, render::host_table(setup_.vxlan_port, {}));
    if (host_.stands)
      for (auto& tunnel : wanted)
        if (reconcile::does(seen->table, render::host_table(setup_.vxlan_port, {tunnel}))) host_.open.insert(tunnel);
  }
  set_host_trouble(outcome);
  // A device that had to go may come, one that stands behind nothing must go, a peer that was held back is let in.
  if (stood != host_.stands || (troubled && outcome))
    for (auto& [id, underlay] : underlays()) runtimes_.at(id).retry_at = now_();
  return outcome;
}

void Core::set_host_trouble(const Status& outcome) {
  if (outcome) {
    if (!host_.trouble.empty()) log_info("the host's table is as desired again", {});
    host_.trouble.clear();
    host_.retry_at.reset();
    host_.backoff_ms = 0;
    return;
  }
  if (host_.trouble != outcome.error().text)
    log_error("the host's table is not as desired; retrying", {{"error", outcome.error().text}});
  host_.trouble = outcome.error().text;
  host_.backoff_ms = std::clamp(host_.backoff_ms * 2, kFirstRetryMs, kLastRetryMs);
  host_.retry_at = now_() + host_.backoff_ms;
}

}  // namespace microseg::engine
