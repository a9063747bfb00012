// Feeds the same bytes to everything that reads HTTP or the engine's JSON: the server's sessions (from memory, with a
// handler that answers), the client's parser, whole and in pieces, and the Engine API's parsers.
//
//   clang++ -fsanitize=fuzzer,address,undefined tests/fuzz/http_fuzz.cpp src/{base,http,docker}/*.cpp …
//   http_fuzz tests/fuzz/corpus/http -max_total_time=60
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "docker/lines.h"
#include "docker/wire.h"
#include "http/response_parser.h"
#include "http/session.h"
#include "microseg/base/log.h"

using namespace microseg;

namespace {

// What must hold; the fuzzer reports an abort with the input that led to it.
void must(bool holds) {
  if (!holds) std::abort();
}

class Memory : public http::Transport {
 public:
  explicit Memory(std::string_view in) : in_(in) {}
  bool await_request() override { return !in_.empty(); }
  ssize_t read(char* data, std::size_t size) override {
    const std::size_t n = std::min(size, in_.size());
    std::memcpy(data, in_.data(), n);
    in_.remove_prefix(n);
    return static_cast<ssize_t>(n);
  }
  bool write(const char* data, std::size_t size) override {
    out_.append(data, size);
    return true;
  }
  std::string_view in_;
  std::string out_;
};

constexpr std::size_t kMaxBody = 256;

void fuzz_server(std::string_view text) {
  Memory memory(text);
  std::size_t calls = 0;
  http::serve(
      memory,
      [&](const http::Request& r) {
        ++calls;
        must(!r.method.empty() && r.body.size() <= kMaxBody);
        return http::Response{200, r.body};
      },
      kMaxBody);
  // Whoever sent anything gets an answer.
  must(text.empty() || memory.out_.starts_with("HTTP/1."));
  must(calls <= text.size());
}

struct Parsed {
  bool fed = true, complete = false;
  int status = 0;
  std::string body;
  bool operator==(const Parsed&) const = default;
};

Parsed parse(std::string_view text, std::size_t piece) {
  Parsed out;
  http::ResponseParser parser(kMaxBody);
  for (std::size_t at = 0; at < text.size() && out.fed; at += piece)
    out.fed =
        static_cast<bool>(parser.feed(text.substr(at, piece), [&](std::string_view data) { out.body.append(data); }));
  (void)parser.finish();
  out.complete = parser.complete();
  out.status = parser.status().value_or(0);
  must(out.body.size() <= kMaxBody);
  return out;
}

void fuzz_client(std::string_view text) {
  auto whole = parse(text, text.size() + 1), bytes = parse(text, 1);
  if (!whole.fed) whole.body.clear();  // how much came before the error depends on the pieces
  if (!bytes.fed) bytes.body.clear();
  must(whole == bytes);
}

void fuzz_docker(std::string_view text) {
  using namespace docker;
  const auto sound = [](const auto& result) { must(result || result.error().code == Errc::invalid); };
  sound(wire::parse_network(text));
  sound(wire::parse_networks(text));
  sound(wire::parse_containers(text));
  (void)wire::error_message(text);
  const std::string target = wire::container_by_name_target(text);
  must(target.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/?=&%._~-") ==
       std::string::npos);
  Lines lines;
  (void)lines.feed(text, [&](std::string_view line) -> Status {
    auto event = wire::parse_event(line);
    sound(event);
    return {};
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  set_log_level(LogLevel::error);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz_server(text);
  fuzz_client(text);
  fuzz_docker(text);
  return 0;
}
