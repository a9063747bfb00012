// What Docker calls at the driver socket: its remote network driver protocol (libnetwork drivers/remote/api/api.go) and,
// where dockerd is told to ask us, its authorization plugin protocol (moby pkg/authorization/api.go). JSON <-> engine commands.
#pragma once

#include <string>

#include "microseg/engine/commands.h"
#include "microseg/http/http.h"

namespace microseg::cnm {

enum class Scope { local, global };
Result<Scope> parse_scope(const std::string& s);

class Driver {
 public:
  Driver(engine::DriverCommands& commands, Scope scope) : commands_(commands), scope_(scope) {}
  // Thread-safe. 404 for an unknown method, 400 with {"Err"} for an undecodable or empty body, 200 {"Err"} for what
  // was understood and failed; 200 {"Allow":false} for a network that could not be made.
  http::Response handle(const http::Request& request) const;

 private:
  engine::DriverCommands& commands_;
  Scope scope_;
};

}  // namespace microseg::cnm
