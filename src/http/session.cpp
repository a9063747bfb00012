#include "http/session.h"

#include <httplib.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <limits>
#include <optional>

#include "http/chunks.h"
#include "http/framing.h"
#include "microseg/base/log.h"

namespace microseg::http {
namespace {

// Of request line and headers together. The library bounds a header line only after it has read it.
constexpr std::size_t kMaxHead = 64 << 10;

std::string json_text(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    const bool plain = c >= ' ' && c <= '~';  // what is not ASCII may not be UTF-8 either
    out += plain ? c : '?';
  }
  return out + '"';
}

// The library's view of a Transport, with a limit on what one request may make it read.
class Wire : public httplib::Stream {
 public:
  explicit Wire(Transport& transport) : transport_(transport) {}

  void begin_request() { budget_ = kMaxHead, answered_ = overrun_ = false; }
  void allow(std::size_t bytes) { budget_ = bytes; }
  bool answered() const { return answered_; }
  bool overrun() const { return overrun_; }

  using httplib::Stream::write;
  ssize_t read(char* data, std::size_t size) override {
    if (budget_ == 0) overrun_ = true;
    if (overrun_) return -1;
    const ssize_t n = transport_.read(data, std::min(size, budget_));
    if (n > 0) budget_ -= static_cast<std::size_t>(n);
    return n;
  }
  ssize_t write(const char* data, std::size_t size) override {
    answered_ = true;
    return transport_.write(data, size) ? static_cast<ssize_t>(size) : -1;
  }

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  // Not our descriptor: the library refuses to serve one above FD_SETSIZE, and never needs to wait on ours.
  socket_t socket() const override { return -1; }

 private:
  Transport& transport_;
  std::size_t budget_ = kMaxHead;
  bool answered_ = false, overrun_ = false;
};

using Setup = std::function<void(httplib::Request&)>;
using httplib::Server;

// process_request has two forms: httplib 0.11 takes the stream alone, 0.18 the peers' addresses too. The type of
// &process_request picks the one that is there.
[[maybe_unused]] bool call(Server& server, bool (Server::*process)(httplib::Stream&, bool, bool&, const Setup&),
                           Wire& wire, bool& close, const Setup& setup) {
  return (server.*process)(wire, false, close, setup);
}
[[maybe_unused]] bool call(Server& server,
                           bool (Server::*process)(httplib::Stream&, const std::string&, int, const std::string&, int,
                                                   bool, bool&, const Setup&),
                           Wire& wire, bool& close, const Setup& setup) {
  return (server.*process)(wire, "", 0, "", 0, false, close, setup);
}

// Deriving is the library's only way to give it a connection of ours. One per connection, so that what is known of the
// request in hand can be plain members.
class Session : private Server {
 public:
  Session(Transport& transport, const http::Handler& handler, std::size_t max_body)
      : wire_(transport), handler_(handler), max_body_(max_body) {
    // Printed in each answer's Keep-Alive header; the closing is ours to do, and we do not.
    set_keep_alive_timeout(std::numeric_limits<int>::max());
    set_keep_alive_max_count(std::numeric_limits<int>::max());

    using Result = Server::HandlerResponse;
    set_pre_routing_handler([this](const httplib::Request&, httplib::Response& res) {
      if (!refused_) return Result::Unhandled;
      refuse(res, *refused_);
      return Result::Handled;
    });
    set_error_handler(Server::HandlerWithResponse([](const httplib::Request&, httplib::Response& res) {
      if (res.body.empty()) refuse(res, {res.status, why(res.status)});
      return Result::Handled;
    }));

    const auto plain = [this](const httplib::Request& req, httplib::Response& res) { answer(req, "", res); };
    const auto with_body = [this](const httplib::Request& req, httplib::Response& res, const httplib::ContentReader&) {
      read_and_answer(req, res);
    };
    Get("/", plain);  // HEAD too
    Options("/", plain);
    Post("/", with_body);
    Put("/", with_body);
    Patch("/", with_body);
    Delete("/", with_body);
  }

  // False when the connection is to be closed.
  bool serve_one() {
    wire_.begin_request();
    refused_.reset();
    handled_ = false;
    bool close = false;
    const bool written = call(*this, &Session::process_request, wire_, close, [this](auto& req) { prepare(req); });
    if (!wire_.answered()) {  // the library gives up silently where there is no request line
      const std::string text = closing_answer(400, "Bad Request", why(400));
      (void)wire_.write(text.data(), text.size());
    }
    return written && handled_ && !close;
  }

 private:
  static std::string why(int status) {
    switch (status) {
      case 400: return "not an HTTP/1.1 request, or not a whole one, or one whose head is too large";
      case 413: return "the request is too large";
      case 414: return "the request line is longer than 8 KiB";
      case 416: return "ranges are not served";
      default: return "the request failed with HTTP status " + std::to_string(status);
    }
  }

  // Called when the head has been read. Routing is not the library's to do (its routes are regular expressions), nor
  // is reading meaning into the body: forms, multipart and compression stay off.
  void prepare(httplib::Request& req) {
    path_ = req.path;
    const auto mark = req.target.find('?');
    query_ = mark == std::string::npos ? "" : req.target.substr(mark + 1);
    req.path = "/";

    const auto values = [&](const char* name) {
      std::vector<std::string> out;
      for (auto [it, end] = req.headers.equal_range(name); it != end; ++it) out.push_back(it->second);
      return out;
    };
    const FramingHeaders headers{values("Content-Length"), values("Transfer-Encoding"), values("Content-Encoding")};
    refused_ = check_framing(req.method, headers, max_body_);
    chunked_ = !headers.transfer_encoding.empty();
    length_ = refused_ || headers.content_length.empty()
                  ? 0
                  : static_cast<std::size_t>(*parse_length(headers.content_length[0]));
    // Without either header there is no body; the library would read on until the client hangs up.
    if (headers.content_length.empty() && headers.transfer_encoding.empty()) req.headers.emplace("Content-Length", "0");
    for (const char* name : {"Content-Type", "Content-Encoding", "Accept-Encoding", "Range"}) req.headers.erase(name);
    req.ranges.clear();
    wire_.allow(kMaxHead + 8 * max_body_);  // a chunk of one byte is six bytes long
  }

  // Not by the library's reader, which knows no limit for chunks and gives a body cut short for a whole one.
  void read_and_answer(const httplib::Request& req, httplib::Response& res) {
    std::string body;
    auto refused = chunked_ ? read_chunks(body) : read_length(body);
    if (refused)
      refuse(res, *refused);
    else
      answer(req, std::move(body), res);
  }

  std::optional<Refused> read_length(std::string& body) {
    body.resize(length_);
    for (std::size_t have = 0; have < length_;) {
      const ssize_t n = wire_.read(body.data() + have, length_ - have);
      if (n <= 0) return Refused{400, "the body is cut short"};
      have += static_cast<std::size_t>(n);
    }
    return std::nullopt;
  }

  std::optional<Refused> read_chunks(std::string& body) {
    ChunkDecoder decoder;
    char buffer[4096];
    while (!decoder.done()) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof buffer, decoder.certain()));
      const ssize_t n = wire_.read(buffer, wanted);
      if (n <= 0) return wire_.overrun() ? too_large() : Refused{400, "the body is cut short"};
      std::string_view data;
      auto used = decoder.feed({buffer, static_cast<std::size_t>(n)}, data);
      if (!used) return Refused{400, used.error().text};
      if (decoder.announced() > max_body_) return too_large();
      body += data;
    }
    return std::nullopt;
  }

  Refused too_large() const { return {413, "a body larger than " + std::to_string(max_body_) + " bytes"}; }

  void answer(const httplib::Request& req, std::string body, httplib::Response& res) {
    const http::Request request{req.method, path_, query_, std::move(body)};
    http::Response response;
    try {
      response = handler_(request);
    } catch (const std::exception& e) {
      log_error("http handler threw", {{"path", path_}, {"what", e.what()}});
      response = {500, error_body("internal error; the log of microsegd says more"), "application/json"};
    }
    if (response.body.empty()) response.body = "{}";  // Docker takes an empty 200 for an error
    res.status = response.status;
    res.set_content(response.body, response.content_type);
    handled_ = true;
  }

  static void refuse(httplib::Response& res, const Refused& refused) {
    res.status = refused.status;
    res.set_header("Connection", "close");
    res.set_content(error_body(refused.why), "application/json");
  }

  Wire wire_;
  const http::Handler& handler_;
  std::size_t max_body_;
  // Of the request in hand.
  std::string path_, query_;
  std::optional<Refused> refused_;
  std::size_t length_ = 0;  // of the body, unless it is chunked
  bool chunked_ = false;
  bool handled_ = false;  // reached the handler: so its body was read to the end
};

}  // namespace

std::string error_body(std::string_view why) { return "{\"Err\":" + json_text(why) + "}"; }

std::string closing_answer(int status, std::string_view reason, std::string_view why) {
  const std::string body = error_body(why);
  return "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason) +
         "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

void serve(Transport& transport, const Handler& handler, std::size_t max_body) {
  Session session(transport, handler, max_body);
  while (transport.await_request() && session.serve_one()) {
  }
}

}  // namespace microseg::http
