#include "judgement.h"

#include <algorithm>

#include "blocks.h"

namespace microseg::engine {

Verdict judge(const model::Network& network, std::int64_t now_ms, bool with_docker) {
  Verdict out;
  out.blocks = network.blocks;
  auto add = [&](const char* origin, const std::string& text) {
    if (!text.empty()) out.sources.push_back({origin, text, {}});
  };
  add(kOptionOrigin, network.settings.policy);
  if (network.labels) add(kLabelOrigin, model::policy_in_labels(*network.labels));
  add(kAppliedOrigin, network.applied.text);

  std::vector<policy::Policy> parts;
  for (auto& source : out.sources) {
    auto parsed = policy::parse(source.text, source.origin);
    if (parsed) {
      parts.push_back(std::move(parsed).value());
    } else {
      source.error = parsed.error().text;
      if (out.closed.empty()) out.closed = "policy error: " + source.error;
    }
  }
  if (!network.labels) out.closed = "the network's labels are not known yet";
  if (!out.closed.empty()) return out;

  out.policy = policy::merge(std::move(parts));
  auto blocks = deal(network.blocks, policy::alphabet_of(out.policy), now_ms);
  if (!blocks) {
    out.closed = "policy error: " + blocks.error().text;
    return out;
  }
  out.judgement.numbering = blocks.value().back().numbering;
  out.judgement.needs_labels = with_docker && !out.judgement.numbering->alphabet.selectors.empty();
  out.blocks = std::move(blocks).value();
  return out;
}

Status enforce(Verdict& verdict, const std::vector<const model::Endpoint*>& endpoints) {
  if (!verdict.judgement.numbering) return {};
  std::vector<std::uint16_t> present;
  for (auto* endpoint : endpoints)
    if (endpoint->phase == model::Endpoint::Phase::joined)
      if (auto number = render::class_of(*endpoint, verdict.judgement)) present.push_back(number);
  std::sort(present.begin(), present.end());
  present.erase(std::unique(present.begin(), present.end()), present.end());
  if (verdict.present == present) return {};
  auto facts = policy::compile(verdict.policy, *verdict.judgement.numbering, present);
  if (!facts) {
    verdict.closed = "policy error: " + facts.error().text;
    verdict.judgement = {};
    return std::move(facts).error();
  }
  verdict.judgement.allow = render::allow_elements(facts.value());
  verdict.present = std::move(present);
  return {};
}

}  // namespace microseg::engine
