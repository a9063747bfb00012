#include "judgement.h"

#include "blocks.h"

namespace microseg::engine {

Verdict judge(const model::Network& network, std::int64_t now_ms) {
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
  const auto& numbering = blocks.value().back().numbering;
  auto facts = policy::compile(out.policy, numbering);
  if (!facts) {
    out.closed = "policy error: " + facts.error().text;
    return out;
  }
  out.judgement = {numbering, render::allow_elements(facts.value())};
  out.blocks = std::move(blocks).value();
  return out;
}

}  // namespace microseg::engine
