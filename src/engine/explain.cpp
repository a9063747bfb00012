// `explain`: names given by people -> endpoints or services -> the statement that decides between them.
#include <algorithm>
#include <optional>
#include <variant>

#include "microseg/policy/north.h"
#include "views.h"

namespace microseg::engine {
namespace {

using model::Endpoint, model::Network;

// One side of the question.
struct Side {
  std::string shown;
  policy::Identity identity{};
  std::string quarantined{};
  bool here = true;  // an endpoint of this node, so that its labels are known; else the bare name
  std::optional<policy::Party> beyond{};  // the network
  std::vector<model::PublishedPort> published{};
  std::string sandbox{};
  policy::Party party() const { return beyond ? *beyond : policy::Party(identity); }
};

// What `text` means beyond the network, unless an endpoint bears it. An address of the network's own is nobody beyond it.
std::optional<policy::Party> beyond(const Network& network, const std::string& text) {
  if (text == "world") return policy::World{};
  if (text == "host") return policy::Host{};
  auto ip = Ip::parse(text);
  if (!ip || std::ranges::any_of(network.subnets, [&](auto& s) { return s.pool.contains(ip.value()); })) return std::nullopt;
  return ip.value();
}

std::string unquoted(const std::string& text) {
  return text.size() > 2 && text.front() == '"' && text.back() == '"' ? text.substr(1, text.size() - 2) : text;
}

bool is_meant(const Endpoint& endpoint, const std::string& text) {
  if (endpoint.identity &&
      (endpoint.identity->identity.service == text || endpoint.identity->container_name == text))
    return true;
  if (text.size() >= 4 && endpoint.id.str().starts_with(text)) return true;
  auto has = [&](const std::optional<Prefix>& p) { return p && p->ip().str() == text; };
  auto is = [&](const std::optional<Ip>& ip) { return ip && ip->str() == text; };
  return has(endpoint.v4) || has(endpoint.v6) || is(endpoint.gateway4) || is(endpoint.gateway6);
}

// All that `text` may mean in the network: its endpoints, or the bare name where nobody bears it yet.
std::vector<Side> sides(const Core& core, const Network& network, const std::string& asked) {
  std::vector<Side> out;
  if (asked == "world" || asked == "host") return {{.shown = asked, .beyond = beyond(network, asked)}};
  const auto text = unquoted(asked);
  for (auto& [id, endpoint] : core.state().endpoints) {
    if (endpoint.network != network.id || !is_meant(endpoint, text)) continue;
    Side side{.shown = text, .quarantined = quarantine_reason(core, endpoint), .published = endpoint.published,
              .sandbox = endpoint.sandbox};
    if (endpoint.identity) side.identity = endpoint.identity->identity;
    if (!side.identity.service.empty() && side.identity.service != text) side.shown = side.identity.service + " (" + text + ")";
    const bool known = std::any_of(out.begin(), out.end(), [&](const Side& s) {
      return s.identity == side.identity && s.quarantined == side.quarantined && s.published == side.published;
    });
    if (!known) out.push_back(std::move(side));
  }
  if (out.empty())
    out.push_back({.shown = text, .identity = {text, {}}, .here = false,
                   .beyond = text == asked ? beyond(network, text) : std::nullopt});
  return out;
}

bool knows(const Core& core, const Network& network, const std::string& asked) {
  const auto text = unquoted(asked);
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
    auto fits = [&](const std::string& text) { return knows(core, network, text) || beyond(network, text); };
    if (fits(request.from) && fits(request.to)) fitting.push_back(&network);
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
  if (!from.here && !from.beyond) who = from.shown;
  if (!to.here && !to.beyond && to.shown != from.shown) who += (who.empty() ? "" : " and ") + to.shown;
  if (who.empty()) return "";
  return "no endpoint of this node is " + who + ", so it was judged by its name alone, as if it had no labels; the policy "
         "asks for labels: ask on the node where it runs";
}

// A port that the endpoint publishes, where nothing else is needed.
bool is_published(const Network& network, const Side& from, const Side& to, const ExplainRequest& request) {
  if (!from.beyond || network.settings.publish != model::Publish::implicitly) return false;
  return std::ranges::any_of(to.published, [&](auto& port) {
    return port.protocol == request.protocol && port.port == request.port;
  });
}

// Whether an answer about the world as a whole is not that for all of its addresses.
bool differs_by_address(const policy::Policy& policy, const Side& from, const Side& to) {
  const Side& inside = from.beyond ? to : from;
  const Side& outside = from.beyond ? from : to;
  if (!outside.beyond || !std::holds_alternative<policy::World>(*outside.beyond)) return false;
  return std::ranges::any_of(policy.statements, [&](auto& statement) {
    auto& ours = from.beyond ? statement.to : statement.from;
    auto& theirs = from.beyond ? statement.from : statement.to;
    return theirs.kind == policy::Peer::Kind::cidr && policy::matches(ours, inside.identity);
  });
}

// What is not this network's to say about what goes beyond it.
std::string beyond_note(const Core& core, const Network& network, const Side& from, const Side& to, bool allowed) {
  if (!from.beyond && !to.beyond) return "";
  if (!core.setup().with_docker) return "without the Docker API (--docker-socket) nothing beyond the network is judged";
  if (differs_by_address(core.runtimes().at(network.id).verdict.policy, from, to))
    return "statements about addresses may say otherwise for some of the world: ask for an address";
  const auto& sandbox = (from.beyond ? to : from).sandbox;
  if (allowed || sandbox.empty()) return "";
  for (auto& [id, endpoint] : core.state().endpoints)
    if (endpoint.network != network.id && endpoint.sandbox == sandbox) {
      auto& other = core.state().networks.at(endpoint.network);
      return "the container is on " + other.name.value_or(other.id.brief()) + " as well, which may allow it: ask with --network";
    }
  return "";
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
  auto why = from.beyond || to.beyond
                 ? policy::explain(verdict.policy, from.party(), to.party(), request.protocol, request.port)
                 : policy::explain(verdict.policy, from.identity, to.identity, request.protocol, request.port);
  out.allowed = why.allowed;
  if (why.decides) {
    out.statement = why.decides->str();
    out.origin = why.decides->origin;
    out.reason = std::string(why.allowed ? "allowed" : "refused") + " by `" + out.statement + "` (" + out.origin + ")";
  } else if (is_published(network, from, to, request)) {
    out.allowed = true;
    out.reason = "published by docker run -p";
  } else {
    out.reason = "no statement allows it";
  }
  out.note = unknown_labels(network, verdict.policy, from, to);
  if (out.note.empty()) out.note = beyond_note(core, network, from, to, out.allowed);
  if (network.settings.mode == model::Mode::monitor && !out.allowed)
    out.reason += "; the network is in monitor mode, so the packets pass and are counted";
  return out;
}

}  // namespace

Result<ExplainView> explain(const Core& core, const ExplainRequest& request) {
  MS_TRY(auto* network, choose_network(core, request));
  // Elsewhere an address that nobody bears is a name that nobody bears; here it may be somebody's on another node.
  for (auto& text : {request.from, request.to})
    if (network->settings.spans_hosts() && Ip::parse(text) && !knows(core, *network, text) && !beyond(*network, text))
      return Error{Errc::not_found, 0,
                   "no endpoint of this node has the address " + text +
                       ", and whose it is on another node is not known here: name its service, or ask on its node"};
  std::optional<ExplainView> out;
  // A name may stand for endpoints with different labels: where they differ, the refused one is the answer.
  for (auto& from : sides(core, *network, request.from))
    for (auto& to : sides(core, *network, request.to)) {
      if (from.beyond && to.beyond)
        return Error{Errc::invalid, 0,
                     "neither " + request.from + " nor " + request.to + " is a container of the network: policy says nothing"};
      auto view = answer(core, *network, from, to, request);
      if (!out || (out->allowed && !view.allowed)) out = std::move(view);
    }
  return *out;
}

}  // namespace microseg::engine
