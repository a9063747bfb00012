// HTTP/1.1 over Unix sockets: routes bytes to one function; knows no protocol above. cpp-httplib does the parsing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "microseg/base/result.h"

namespace microseg::http {

struct Request {
  std::string method, path;  // path without the query, percent-decoded
  std::string query;         // as sent, without '?'
  std::string body;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
};

// Called on a thread of its own per connection; must be thread-safe. An exception becomes a 500 and a log line.
using Handler = std::function<Response(const Request&)>;

struct ServerOptions {
  mode_t mode = 0600;                   // of the socket file
  std::size_t max_body = 1 << 20;       // bytes; a larger body is answered 413
  std::size_t max_connections = 512;    // further ones wait in the backlog
  bool root_only = true;                // refuse peers whose uid (SO_PEERCRED) is neither 0 nor our own
};

class Server {
 public:
  virtual ~Server() = default;  // stops: no new requests, running ones finish
  // Accepts in the background from now on, handing requests to `handler`. Connections made between listen_unix and
  // this wait in the backlog: that is how the daemon listens first and initialises after.
  virtual void start(Handler handler) = 0;
  virtual void stop() = 0;      // idempotent; when it returns, nothing of the server is open
};

// Listens at `path`; a stale socket file there is replaced, a live one (something accepts) is refused (exists), a file
// that is no socket is refused (invalid). Creates missing parent directories (0755). Any Host header, any or no
// Content-Type is fine; keep-alive connections are kept open while the client likes; every answer has a body.
Result<std::unique_ptr<Server>> listen_unix(const std::string& path, ServerOptions options);

// One request over a new connection to the Unix socket at `path`. The deadline bounds all of it: connect, send, and
// every byte of the answer. unavailable: no socket, refused, deadline passed, connection broken.
Result<Response> request_unix(const std::string& path, const std::string& method, const std::string& target,
                              const std::string& body, std::chrono::steady_clock::time_point deadline);

// The same with the answer's body given to `on_data` as it comes (chunked streams); ends when the server ends the
// stream, or soon (200 ms) after `stop` becomes true. `on_status` is called once, before any data.
Status stream_unix(const std::string& path, const std::string& target, const std::function<void(int)>& on_status,
                   const std::function<void(std::string_view)>& on_data, const std::function<bool()>& stop);

}  // namespace microseg::http
