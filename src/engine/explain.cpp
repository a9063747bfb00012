// `explain`: names given by people -> endpoints or services -> the statement that decides between them.
#include <algorithm>

#include "microseg/policy/compile.h"
#include "views.h"

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

// One side of the question.
struct Side {
  std::string shown;
  policy::Identity identity;
  std::string quarantined;
  bool here = true;  // an endpoint of this node, so that its labels are known; else the bare name
};

bool is_meant(const Endpoint& endpoint, const std::string& text) {
  if (endpoint.identity &&
      (endpoint.identity->identity.service == text || endpoint.identity->container_name == text))
    return true;
  if (text.size() >= 4 && endpoint.id.str().starts_with(text)) return true;
  auto has = [&](const std::optional<Prefix>& p) { return p && p->ip().str() == text; };
  return has(endpoint.v4) || has(endpoint.v6);
}

// All that `text` may mean in the network: its endpoints, or the bare name where nobody bears it yet.
std::vector<Side> sides(const Core& core, const Network& network, const std::string& text) {
  std::vector<Side> out;
  for (auto& [id, endpoint] : core.state().endpoints) {
    if (endpoint.network != network.id || !is_meant(endpoint, text)) continue;
    Side side{text, {}, quarantine_reason(core, endpoint), true};
    if (endpoint.identity) side.identity = endpoint.identity->identity;
    if (!side.identity.service.empty() && side.identity.service != text) side.shown = side.identity.service + " (" + text + ")";
    const bool known = std::any_of(out.begin(), out.end(), [&](const Side& s) {
      return s.identity == side.identity && s.quarantined == side.quarantined;
    });
    if (!known) out.push_back(std::move(side));
  }
  if (out.empty()) out.push_back({text, {text, {}}, "", false});
  return out;
}

bool knows(const Core& core, const Network& network, const std::string& text) {
  for (auto& [id, endpoint] : core.state().endpoints)
    if (endpoint.network == network.id && is_meant(endpoint, text)) return true;
  auto alphabet = policy::alphabet_of(core.runtimes().at(network.id).verdict.policy);
  return std::binary_search(alphabet.names.begin(), alphabet.names.end(), text);
}

Result<const Network*> choose_network(const Core& core, const ExplainRequest& request) {
  if (!request.network.empty()) return core.find_network(request.network);
  std::vector<const Network*> fitting;
  std::string all;
  for (auto& [id, network] : core.state().networks) {
    all += (all.empty() ? "" : ", ") + network.name.value_or(id.brief());
    if (knows(core, network, request.from) && knows(core, network, request.to)) fitting.push_back(&network);
  }
  if (core.state().networks.size() == 1) return &core.state().networks.begin()->second;
  if (fitting.size() == 1) return fitting.front();
  return Error{Errc::invalid, 0,
               all.empty() ? "there is no microseg network"
                           : "which network? say --network; there is: " + all};
}

// What is not known of endpoints on other hosts, where it may matter.
std::string unknown_labels(const Network& network, const policy::Policy& policy, const Side& from, const Side& to) {
  if (!network.settings.spans_hosts() || policy::alphabet_of(policy).selectors.empty()) return "";
  std::string who;
  if (!from.here) who = from.shown;
  if (!to.here && to.shown != from.shown) who += (who.empty() ? "" : " and ") + to.shown;
  if (who.empty()) return "";
  return "no endpoint of this node is " + who + ", so it was judged by its name alone, as if it had no labels; the policy "
         "asks for labels: ask on the node where it runs";
}

ExplainView answer(const Core& core, const Network& network, const Side& from, const Side& to,
                   const ExplainRequest& request) {
  ExplainView out;
  out.network = network.name.value_or(network.id.brief());
  out.from = from.shown;
  out.to = to.shown;
  auto& verdict = core.runtimes().at(network.id).verdict;
  for (auto* side : {&from, &to})
    if (!side->quarantined.empty()) {
      out.reason = side->shown + " is quarantined: " + side->quarantined;
      return out;
    }
  if (!verdict.closed.empty()) {
    out.reason = verdict.closed;
    return out;
  }
  auto why = policy::explain(verdict.policy, from.identity, to.identity, request.protocol, request.port);
  out.allowed = why.allowed;
  if (why.decides) {
    out.statement = why.decides->str();
    out.origin = why.decides->origin;
    out.reason = std::string(why.allowed ? "allowed" : "refused") + " by `" + out.statement + "` (" + out.origin + ")";
  } else {
    out.reason = "no statement allows it";
  }
  out.note = unknown_labels(network, verdict.policy, from, to);
  if (network.settings.mode == model::Mode::monitor && !out.allowed)
    out.reason += "; the network is in monitor mode, so the packets pass and are counted";
  return out;
}

}  // namespace

Result<ExplainView> explain(const Core& core, const ExplainRequest& request) {
  MS_TRY(auto* network, choose_network(core, request));
  // Elsewhere an address that nobody bears is a name that nobody bears; here it may be somebody's on another node.
  for (auto& text : {request.from, request.to})
    if (network->settings.spans_hosts() && Ip::parse(text) && !knows(core, *network, text))
      return Error{Errc::not_found, 0,
                   "no endpoint of this node has the address " + text +
                       ", and whose it is on another node is not known here: name its service, or ask on its node"};
  std::optional<ExplainView> out;
  // A name may stand for endpoints with different labels: where they differ, the refused one is the answer.
  for (auto& from : sides(core, *network, request.from))
    for (auto& to : sides(core, *network, request.to)) {
      auto view = answer(core, *network, from, to, request);
      if (!out || (out->allowed && !view.allowed)) out = std::move(view);
    }
  return *out;
}

}  // namespace microseg::engine
