// A network's policy sources -> what is enforced. Closed whenever a source is unknown or in error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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
  std::optional<std::vector<std::uint16_t>> present;  // the classes that judgement.allow was made for
};

inline constexpr const char* kOptionOrigin = "option microseg.policy";
inline constexpr const char* kLabelOrigin = "label microseg.policy";
inline constexpr const char* kAppliedOrigin = "applied policy";

// All but the elements. `with_docker`: labels are known of endpoints whose container is; else of all, and empty.
Verdict judge(const model::Network& network, std::int64_t now_ms, bool with_docker);

// The elements, for the classes of these endpoints. On error (invalid, the policy needs too many) there are none, and
// the verdict is closed.
Status enforce(Verdict& verdict, const std::vector<const model::Endpoint*>& endpoints);

}  // namespace microseg::engine
