// Reads one HTTP/1.1 answer, byte by byte if need be. Pure: the caller moves the bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "http/chunks.h"
#include "microseg/base/result.h"

namespace microseg::http {

class ResponseParser {
 public:
  using OnBody = std::function<void(std::string_view)>;

  // A larger body is an error. Line and head have fixed limits: 16 and 64 KiB.
  static constexpr std::uint64_t kMaxBody = 64 << 20;
  static constexpr std::uint64_t kEndless = std::numeric_limits<std::uint64_t>::max();
  // `head_only`: the request was a HEAD, whose answer has no body whatever its headers say.
  explicit ResponseParser(std::uint64_t max_body, bool head_only = false)
      : max_body_(max_body), head_only_(head_only) {}

  // Takes the next bytes and gives the body's to `on_body` as they come. Bytes after the answer's end are ignored. All
  // errors are `invalid` and final.
  Status feed(std::string_view bytes, const OnBody& on_body);
  // The server ended the stream. An error (unavailable) unless the answer is whole.
  Status finish();

  // Set from the end of the head on (interim 1xx answers are skipped).
  std::optional<int> status() const { return head_done_ ? std::optional<int>(status_) : std::nullopt; }
  const std::string& content_type() const { return content_type_; }
  bool complete() const { return state_ == State::done; }

 private:
  enum class State { status_line, headers, body, chunks, until_end, done };

  Status line(std::string_view text);
  Status status_line(std::string_view text);
  Status header(std::string_view text);
  Status head_end();
  Status limit(std::uint64_t body_bytes) const;

  std::uint64_t max_body_;
  bool head_only_;
  State state_ = State::status_line;
  std::string line_;  // the part of a line that has come
  std::size_t head_bytes_ = 0;
  int status_ = 0;
  bool head_done_ = false, chunked_ = false;
  std::optional<std::uint64_t> length_;
  std::string content_type_;
  ChunkDecoder chunks_;
  std::uint64_t left_ = 0;   // of a body of known length
  std::uint64_t total_ = 0;  // of one that lasts until the end
};

}  // namespace microseg::http
