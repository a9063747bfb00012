// The admin protocol on api.sock: JSON over HTTP, for the CLI and for programs. docs/api.md lists the calls.
#pragma once

#include "microseg/engine/commands.h"
#include "microseg/http/http.h"

namespace microseg::api {

class Admin {
 public:
  explicit Admin(engine::AdminCommands& commands) : commands_(commands) {}
  // Thread-safe. Errors are {"error": {"code": "not_found", "message": "…"}} with 400, 404, 409, 422, 500 or 503.
  http::Response handle(const http::Request& request) const;

 private:
  engine::AdminCommands& commands_;
};

}  // namespace microseg::api
