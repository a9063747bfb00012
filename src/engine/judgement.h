// A network's policy sources -> what is enforced. Closed whenever a source is unknown or in error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microseg/engine/commands.h"
#include "microseg/model/network.h"
#include "microseg/render/segment.h"

namespace microseg::engine {

struct Source {
  std::string origin, text;
  std::string error;  // why it is not in force, "" when it is
};

struct Verdict {
  std::vector<Source> sources;      // option, label, applied: those that say something
  policy::Policy policy;            // the union; empty when anything is in error
  std::string closed;               // why everybody is quarantined, "" when nobody is
  std::vector<model::Block> blocks; // to be stored when they differ from the network's
  render::Judgement judgement;
  // The network spans hosts, so the classes of its other endpoints are not known: the elements are made for all.
  bool all_classes = false;
  std::optional<std::vector<std::uint16_t>> present;  // the classes that judgement.allow was made for; {} is all
};

inline constexpr const char* kOptionOrigin = "option microseg.policy";
inline constexpr const char* kLabelOrigin = "label microseg.policy";
inline constexpr const char* kAppliedOrigin = "applied policy";

inline constexpr const char* kLabelsUnknown = "the network's labels are not known yet";  // closed for a moment only

// A network that is still to be made, of our driver: refuses (invalid) what would be refused or closed for good.
Status admit(const NewNetwork& request, bool across_hosts);

// A policy in the options of a network that spans hosts, by itself: refuses (invalid) what could never be enforced.
// Of an encoding that this microseg does not know nothing can be said, so nothing is refused.
Status check_across_hosts(const model::Settings& settings);

// A policy by itself, for a network that is still to be made. invalid: its first error, or the sum of its classes.
Result<CheckView> check(const std::string& text);

// All but the elements. `with_docker`: labels are known of endpoints whose container is; else of all, and empty.
// Where the network spans hosts its classes are numbered from 1, once for the network's life: all hosts do it alike.
Verdict judge(const model::Network& network, std::int64_t now_ms, bool with_docker);

// The elements, for the classes of these endpoints, or for all of them where the network spans hosts. On error (invalid, the policy needs too many) there are none, and
// the verdict is closed.
Status enforce(Verdict& verdict, const std::vector<const model::Endpoint*>& endpoints);

}  // namespace microseg::engine
