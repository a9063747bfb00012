#include "http/response_parser.h"

#include <algorithm>

#include "http/framing.h"

namespace microseg::http {
namespace {

constexpr std::size_t kMaxLine = 16 << 10, kMaxHead = 64 << 10;

Error unreadable(std::string why) { return {Errc::invalid, 0, "unreadable HTTP answer: " + std::move(why)}; }

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

}  // namespace

Status ResponseParser::feed(std::string_view bytes, const OnBody& on_body) {
  while (!bytes.empty() && state_ != State::done) {
    std::size_t used = bytes.size();
    std::string_view data;
    if (state_ == State::body) {
      used = static_cast<std::size_t>(std::min<std::uint64_t>(used, left_));
      data = bytes.substr(0, used);
      left_ -= used;
      if (left_ == 0) state_ = State::done;
    } else if (state_ == State::until_end) {
      data = bytes;
      total_ += used;
      MS_CHECK(limit(total_));
    } else if (state_ == State::chunks) {
      auto taken = chunks_.feed(bytes, data);
      if (!taken) return unreadable(taken.error().text);
      MS_CHECK(limit(chunks_.announced()));
      used = taken.value();
      if (chunks_.done()) state_ = State::done;
    } else {
      const auto end = bytes.find('\n');
      line_.append(bytes.substr(0, end));
      if (line_.size() > kMaxLine) return unreadable("a line longer than 16 KiB");
      if (end == std::string_view::npos) break;
      if (line_.empty() || line_.back() != '\r') return unreadable("a line that does not end in CR LF");
      line_.pop_back();
      head_bytes_ += line_.size() + 2;
      if (head_bytes_ > kMaxHead) return unreadable("headers larger than 64 KiB");
      MS_CHECK(line(line_));
      line_.clear();
      used = end + 1;
    }
    if (!data.empty()) on_body(data);
    bytes.remove_prefix(used);
  }
  return {};
}

Status ResponseParser::finish() {
  if (state_ == State::until_end) state_ = State::done;
  if (state_ == State::done) return {};
  return Error{Errc::unavailable, 0,
               head_bytes_ == 0 && line_.empty() ? "the server closed the connection without an answer"
                                                 : "the server closed the connection in the middle of its answer"};
}

Status ResponseParser::line(std::string_view text) {
  if (state_ == State::status_line) return status_line(text);
  return text.empty() ? head_end() : header(text);
}

Status ResponseParser::status_line(std::string_view text) {
  const bool version = text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 ");
  const std::string_view code = version ? text.substr(9, 3) : "";
  auto number = parse_length(code);
  if (!number || code.size() != 3 || *number < 100 || *number > 599 || (text.size() > 12 && text[12] != ' '))
    return unreadable("it does not begin with an HTTP/1.1 status line");
  status_ = static_cast<int>(*number);
  state_ = State::headers;
  return {};
}

Status ResponseParser::header(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || text.substr(0, colon).find_first_of(" \t") != text.npos)
    return unreadable("a header line without a name");
  const std::string name = lower(text.substr(0, colon));
  const std::string_view value = trimmed(text.substr(colon + 1));
  if (name == "content-type") content_type_ = value;
  if (name == "content-length") {
    auto n = parse_length(value);
    if (!n || (length_ && *length_ != *n)) return unreadable("an unclear Content-Length");
    length_ = n;
  }
  if (name == "transfer-encoding") {
    if (chunked_ || lower(value) != "chunked") return unreadable("a Transfer-Encoding other than chunked");
    chunked_ = true;
  }
  return {};
}

Status ResponseParser::head_end() {
  if (status_ == 101) return unreadable("an upgrade that was not asked for");
  if (status_ < 200) {  // interim; the answer proper follows
    state_ = State::status_line;
    length_.reset();
    chunked_ = false;
    content_type_.clear();
    return {};
  }
  if (chunked_ && length_) return unreadable("both Content-Length and Transfer-Encoding");
  head_done_ = true;
  if (head_only_ || status_ == 204 || status_ == 304) {
    state_ = State::done;
  } else if (chunked_) {
    state_ = State::chunks;
  } else if (length_) {
    MS_CHECK(limit(*length_));
    left_ = *length_;
    state_ = left_ == 0 ? State::done : State::body;
  } else {
    state_ = State::until_end;
  }
  return {};
}

Status ResponseParser::limit(std::uint64_t body_bytes) const {
  if (body_bytes <= max_body_) return {};
  return unreadable("a body larger than " + std::to_string(max_body_) + " bytes");
}

}  // namespace microseg::http
