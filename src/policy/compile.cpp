// Statements -> facts. Sources are walked in the order of their numbers; for every set of statements that some source
// is under, the destinations are walked likewise, and for every set of statements that some pair is under, the allowed
// ports are worked out once. What adjacent destinations, and then adjacent sources, have in common becomes one fact.
#include "microseg/policy/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "ports.h"
#include "sorted.h"
#include "sweep.h"

namespace microseg::policy {
namespace {

using Ids = std::vector<std::uint32_t>;

// What kMaxFacts does not bound: a policy may combine its selectors in very many ways that come to few facts. Work is
// counted in units of about a nanosecond (the weights below were measured), so that no text keeps the daemon for long;
// counted, not timed, so that all hosts come to one verdict.
constexpr std::size_t kMaxWork = 500'000'000;
constexpr std::size_t kRunWork = 60, kStretchWork = 150, kEffectWork = 15, kReachWork = 8, kItemWork = 60;
// Facts of destinations kept for sources to come; beyond it they are worked out again.
constexpr std::size_t kMaxKept = 4'000'000;

// One side's share of a statement, without its source: equal ones of many sources are one.
struct Effect {
  Peer to;
  Statement::Action action = Statement::Action::allow;
  std::vector<PortItem> ports;
  auto operator<=>(const Effect&) const = default;
};

// What one class of sources may do to a run of destinations.
struct Reach {
  Range to;
  Rectangle ports;
  auto operator<=>(const Reach&) const = default;
};
using Reaches = std::shared_ptr<const std::vector<Reach>>;

Range range_of(Run run) { return {static_cast<std::uint16_t>(run.first), static_cast<std::uint16_t>(run.last)}; }

// The classes that `peer` matches.
std::vector<Run> runs_of(const Peer& peer, const Numbering& numbering) {
  const auto& [names, selectors] = numbering.alphabet;
  const auto block = 1U << selectors.size();
  const auto base = numbering.base, last = numbering.last();
  if (peer.kind == Peer::Kind::any) return {{base, last}};
  if (peer.kind == Peer::Kind::name) {
    const auto place = static_cast<std::uint32_t>(std::ranges::lower_bound(names, peer.name) - names.begin()) + 1;
    return {{base + place * block, base + (place + 1) * block - 1}};
  }
  const auto bit = 1U << (std::ranges::lower_bound(selectors, peer.selector) - selectors.begin());
  std::vector<Run> out;
  for (auto first = base + bit; first <= last; first += 2 * bit) out.push_back({first, first + bit - 1});
  return out;
}

class Compiler {
 public:
  // With `present`, the classes are counted by their places in it.
  Compiler(const Numbering& numbering, const std::vector<std::uint16_t>* present)
      : numbering_(numbering), present_(present) {}

  // Adds the facts of `statements`, whose ports no other statement meets.
  Status add(const std::vector<const Statement*>& statements) {
    index(statements);
    Stays<Reach> stays;
    std::vector<Reach> none;
    Reaches current;
    auto emit = [this](Run from, const Reach& reach) {
      facts_.push_back({range_of(from), reach.to, reach.ports.protocol, reach.ports.port});
    };
    const auto before = facts_.size();
    for (auto& runs : from_runs_) work_ += kRunWork * runs.size();
    sweep(from_runs_, [&](Run from, const Ids& peers) {
      if (too_much_) return;
      const auto effects = united(peers, from_effects_);
      work_ += kStretchWork + kEffectWork * effects.size();
      auto next = reaches(effects);
      if (next == current && stays.reaches(from.first)) return stays.go_on(from);
      work_ += kReachWork * (next->size() + (current ? current->size() : 0));
      stays.next(from, *next, emit);
      current = std::move(next);
      if (before + stays.begun() > kMaxFacts || work_ > kMaxWork) too_much_ = true;
    });
    if (too_much_) return refusal();
    stays.finish(emit);
    return {};
  }

  std::vector<Fact> facts() && {
    if (present_)
      for (auto& fact : facts_)
        for (auto* range : {&fact.from, &fact.to}) *range = {(*present_)[range->first], (*present_)[range->last]};
    std::ranges::sort(facts_);
    return std::move(facts_);
  }

 private:
  void index(const std::vector<const Statement*>& statements) {
    std::map<Effect, Ids> sources;  // effect -> peers that have it as a source
    std::map<Peer, std::uint32_t> from, to;
    for (auto* s : statements) {
      from.emplace(s->from, 0);
      to.emplace(s->to, 0);
      sources.emplace(Effect{s->to, s->action, s->ports}, Ids{});
    }
    auto number = [this](std::map<Peer, std::uint32_t>& peers, std::vector<std::vector<Run>>& runs) {
      runs.clear();
      for (auto& [peer, id] : peers) {
        id = static_cast<std::uint32_t>(runs.size());
        runs.push_back(places_of(runs_of(peer, numbering_)));
      }
    };
    number(from, from_runs_);
    number(to, to_runs_);
    effects_.clear();
    effect_to_.clear();
    std::map<Effect, std::uint32_t> ids;
    for (auto& [effect, unused] : sources) {
      ids.emplace(effect, static_cast<std::uint32_t>(effects_.size()));
      effect_to_.push_back(to.at(effect.to));
      effects_.push_back(effect);
    }
    from_effects_.assign(from.size(), {});
    for (auto* s : statements) from_effects_[from.at(s->from)].push_back(ids.at(Effect{s->to, s->action, s->ports}));
    for (auto& list : from_effects_) sort_unique(list);
    kept_.clear();
    kept_size_ = 0;
    rectangles_.clear();
  }

  std::vector<Run> places_of(std::vector<Run> runs) const {
    if (!present_) return runs;
    std::vector<Run> out;
    for (auto& run : runs) {
      const auto begin = std::ranges::lower_bound(*present_, run.first), end = std::ranges::upper_bound(*present_, run.last);
      if (begin == end) continue;
      const auto first = static_cast<std::uint32_t>(begin - present_->begin());
      const auto last = static_cast<std::uint32_t>(end - present_->begin() - 1);
      if (!out.empty() && out.back().last + 1 == first) out.back().last = last;
      else out.push_back({first, last});
    }
    return out;
  }

  // The union of some peers' lists of effects.
  static Ids united(const Ids& peers, const std::vector<Ids>& lists) {
    if (peers.size() == 1) return lists[peers[0]];
    Ids out;
    for (auto peer : peers) out.insert(out.end(), lists[peer].begin(), lists[peer].end());
    sort_unique(out);
    return out;
  }

  // What sources under these effects may do.
  Reaches reaches(const Ids& effects) {
    if (auto found = kept_.find(effects); found != kept_.end()) return found->second;
    auto out = std::make_shared<const std::vector<Reach>>(walk_destinations(effects));
    if (kept_size_ + out->size() > kMaxKept) {
      kept_.clear();
      kept_size_ = 0;
    }
    kept_size_ += out->size();
    kept_.emplace(effects, out);
    return out;
  }

  std::vector<Reach> walk_destinations(const Ids& effects) {
    if (std::ranges::none_of(effects, [&](auto e) { return effects_[e].action == Statement::Action::allow; }))
      return {};
    std::map<std::uint32_t, Ids> by_peer;
    for (auto e : effects) by_peer[effect_to_[e]].push_back(e);
    std::vector<std::vector<Run>> runs;
    std::vector<Ids> lists;
    for (auto& [peer, list] : by_peer) {
      runs.push_back(to_runs_[peer]);
      work_ += kRunWork * to_runs_[peer].size();
      lists.push_back(std::move(list));
    }
    std::vector<Reach> out;
    Stays<Rectangle> stays;
    auto emit = [&](Run to, const Rectangle& ports) { out.push_back({range_of(to), ports}); };
    sweep(runs, [&](Run to, const Ids& peers) {
      if (too_much_) return;
      const auto both = united(peers, lists);
      auto& ports = allowed(both);
      work_ += kStretchWork + kEffectWork * both.size() + kReachWork * ports.size();
      stays.next(to, ports, emit);
      if (stays.begun() > kMaxFacts || work_ > kMaxWork) too_much_ = true;
    });
    stays.finish(emit);
    std::ranges::sort(out);
    return out;
  }

  const std::vector<Rectangle>& allowed(const Ids& effects) {
    if (auto found = rectangles_.find(effects); found != rectangles_.end()) return found->second;
    std::vector<PortRule> rules;
    for (auto e : effects) {
      rules.push_back({effects_[e].action, &effects_[e].ports});
      work_ += kItemWork * (1 + effects_[e].ports.size());
    }
    return rectangles_.emplace(effects, allowed_by(rules)).first->second;
  }

  Error refusal() const {
    if (work_ > kMaxWork)
      return {Errc::invalid, 0, "policy combines its label selectors in too many ways: use fewer of them, or names"};
    return {
        Errc::invalid, 0,
        fmt::format("policy needs more than {} rules in the kernel: use fewer label selectors, or names", kMaxFacts)};
  }

  const Numbering& numbering_;
  const std::vector<std::uint16_t>* present_;
  // Of the statements being added: peers, and what is done by the first and to the second.
  std::vector<std::vector<Run>> from_runs_, to_runs_;
  std::vector<Ids> from_effects_;  // by source peer
  std::vector<Effect> effects_;
  std::vector<std::uint32_t> effect_to_;  // by effect, its destination peer
  std::map<Ids, Reaches> kept_;
  std::size_t kept_size_ = 0;
  std::map<Ids, std::vector<Rectangle>> rectangles_;

  std::vector<Fact> facts_;
  std::size_t work_ = 0;
  bool too_much_ = false;
};

Result<std::vector<Fact>> compile_for(const Policy& policy, const Numbering& numbering,
                                      const std::vector<std::uint16_t>* present) {
  if (numbering.base < 1 || numbering.last() > kMaxClass)
    return Error{
        Errc::invalid, 0,
        fmt::format("class numbers {} to {} do not fit: 1 to {} do", numbering.base, numbering.last(), kMaxClass)};
  if (!numbering.alphabet.covers(alphabet_of(policy)))
    return Error{Errc::invalid, 0, "policy asks for names or label selectors that its class numbers do not tell apart"};
  std::vector<const Statement*> between;  // endpoints: the others say nothing of the segment
  std::vector<PortRule> rules;
  for (auto& statement : policy.statements) {
    if (!statement.from.is_endpoint() || !statement.to.is_endpoint()) continue;
    between.push_back(&statement);
    rules.push_back({statement.action, &statement.ports});
  }
  Compiler compiler(numbering, present);
  for (auto& group : independent(rules)) {
    std::vector<const Statement*> statements;
    for (auto i : group) statements.push_back(between[i]);
    const auto allows = [](auto* s) { return s->action == Statement::Action::allow; };
    if (std::ranges::any_of(statements, allows)) MS_CHECK(compiler.add(statements));
  }
  return std::move(compiler).facts();
}

}  // namespace

Result<std::vector<Fact>> compile(const Policy& policy, const Numbering& numbering) {
  return compile_for(policy, numbering, nullptr);
}

Result<std::vector<Fact>> compile(const Policy& policy, const Numbering& numbering,
                                  const std::vector<std::uint16_t>& present) {
  return compile_for(policy, numbering, &present);
}

}  // namespace microseg::policy
