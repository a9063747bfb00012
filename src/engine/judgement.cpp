#include "judgement.h"

#include <algorithm>

#include "blocks.h"

namespace microseg::engine {
namespace {

bool knows_encoding(const model::Settings& settings) { return settings.encoding == policy::kEncodingVersion; }

// The numbering that every host makes of the same policy. Another policy than the one that was numbered once would
// give numbers another meaning on this host than on those that have not heard of it.
Result<std::vector<model::Block>> number_across_hosts(const std::vector<model::Block>& before,
                                                      const policy::Alphabet& alphabet) {
  MS_CHECK(policy::check_fits(alphabet));
  const std::vector<model::Block> blocks{{{1, alphabet}, std::nullopt}};
  if (!before.empty() && before != blocks)
    return Error{Errc::invalid, 0,
                 "the network's labels have changed since its classes were numbered, and the numbers must be alike on "
                 "all hosts: remove the network and create it again"};
  return blocks;
}

// Those of joined endpoints; sorted, unique.
std::vector<std::uint16_t> classes_of(const std::vector<const model::Endpoint*>& endpoints,
                                      const render::Judgement& judgement) {
  std::vector<std::uint16_t> out;
  for (auto* endpoint : endpoints)
    if (endpoint->phase == model::Endpoint::Phase::joined)
      if (auto number = render::class_of(*endpoint, judgement)) out.push_back(number);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// Whether it has few enough classes and, where all of them are written out, few enough elements.
Status check_size(const policy::Policy& policy, bool across_hosts) {
  const policy::Numbering numbering{1, policy::alphabet_of(policy)};
  MS_CHECK(policy::check_fits(numbering.alphabet));
  if (!across_hosts) return {};
  MS_TRY([[maybe_unused]] auto facts, policy::compile(policy, numbering));
  return {};
}

}  // namespace

Status admit(const NewNetwork& request, bool across_hosts) {
  MS_TRY(auto settings, model::parse_settings(request.options));
  MS_TRY(auto of_options, policy::parse(settings.policy, kOptionOrigin));
  MS_TRY(auto of_labels, policy::parse(model::policy_in_labels(request.labels), kLabelOrigin));
  return check_size(policy::merge({std::move(of_options), std::move(of_labels)}), across_hosts);
}

Status check_across_hosts(const model::Settings& settings) {
  if (!knows_encoding(settings)) return {};
  MS_TRY(auto policy, policy::parse(settings.policy, kOptionOrigin));
  return check_size(policy, true);
}

Result<CheckView> check(const std::string& text) {
  MS_TRY(auto policy, policy::parse(text, "policy"));
  MS_CHECK(check_size(policy, false));
  CheckView out{.statements = policy.statements.size(), .classes = policy::class_count(policy::alphabet_of(policy)),
                .effective = policy::print(policy), .across_hosts = {}};
  if (auto fits = check_size(policy, true); !fits) out.across_hosts = fits.error().text;
  return out;
}

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
  const bool spans_hosts = network.settings.spans_hosts();
  if (!network.labels)
    out.closed = with_docker || !spans_hosts
                     ? kLabelsUnknown
                     : "the network spans hosts, and its labels are part of what all of them must know alike: let "
                       "microsegd ask Docker (--docker-socket)";
  if (spans_hosts && !knows_encoding(network.settings))
    out.closed = "the network uses class encoding " + std::to_string(*network.settings.encoding) +
                 ", this microseg knows " + std::to_string(policy::kEncodingVersion) +
                 ": update the plugin on this node";
  if (!out.closed.empty()) return out;

  out.policy = policy::merge(std::move(parts));
  auto blocks = spans_hosts ? number_across_hosts(network.blocks, policy::alphabet_of(out.policy))
                            : deal(network.blocks, policy::alphabet_of(out.policy), now_ms);
  if (!blocks) {
    out.closed = "policy error: " + blocks.error().text;
    return out;
  }
  out.judgement.numbering = blocks.value().back().numbering;
  out.judgement.needs_labels = with_docker && !out.judgement.numbering->alphabet.selectors.empty();
  out.blocks = std::move(blocks).value();
  out.all_classes = spans_hosts;
  return out;
}

Status enforce(Verdict& verdict, const std::vector<const model::Endpoint*>& endpoints) {
  if (!verdict.judgement.numbering) return {};
  std::vector<std::uint16_t> present;
  if (!verdict.all_classes) present = classes_of(endpoints, verdict.judgement);
  if (verdict.present == present) return {};
  auto facts = verdict.all_classes ? policy::compile(verdict.policy, *verdict.judgement.numbering)
                                   : policy::compile(verdict.policy, *verdict.judgement.numbering, present);
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
