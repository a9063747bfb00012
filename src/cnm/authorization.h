// Docker's authorization plugin protocol (moby pkg/authorization/api.go), of which one question is of interest: a request
// to the Engine API that makes a network. `dockerd --authorization-plugin` asks it before Docker answers who wants the
// network, on a Swarm too, where no driver is asked until later. It is a help to people, no boundary: what is let pass
// here by mistake is refused by the driver.
#pragma once

#include <optional>
#include <string>

#include "microseg/engine/commands.h"

namespace microseg::cnm::authorization {

// The network that the request behind an AuthZReq would make: POST /networks/create, of any API version. Absent where it
// would make none, or is not what the Engine API takes: then Docker says so itself. invalid: the AuthZReq can not be read.
Result<std::optional<engine::NewNetwork>> wanted(const std::string& body);

inline constexpr const char* kAllowed = R"({"Allow":true})";
// Docker shows `why` to the user: "authorization denied by plugin microseg: …".
std::string denied(const std::string& why);

}  // namespace microseg::cnm::authorization
