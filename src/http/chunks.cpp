#include "http/chunks.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace microseg::http {
namespace {

constexpr std::size_t kMaxLine = 16 << 10, kMaxTrailers = 64 << 10;

Error garbled(const char* why) { return {Errc::invalid, 0, why}; }

}  // namespace

Result<std::size_t> ChunkDecoder::feed(std::string_view bytes, std::string_view& data) {
  data = {};
  if (state_ == State::data) {
    data = bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), left_)));
    left_ -= data.size();
    if (left_ == 0) state_ = State::data_end;
    return data.size();
  }
  const auto end = bytes.find('\n');
  line_.append(bytes.substr(0, end));
  if (line_.size() > kMaxLine) return garbled("a line longer than 16 KiB");
  if (end == std::string_view::npos) return bytes.size();
  if (line_.empty() || line_.back() != '\r') return garbled("a line that does not end in CR LF");
  line_.pop_back();
  MS_CHECK(line());
  line_.clear();
  return end + 1;
}

Status ChunkDecoder::line() {
  if (state_ == State::data_end) {
    if (!line_.empty()) return garbled("a chunk that is longer than it says");
    state_ = State::size;
  } else if (state_ == State::trailers) {
    if (line_.empty()) state_ = State::done;
    trailer_bytes_ += line_.size() + 2;
    if (trailer_bytes_ > kMaxTrailers) return garbled("headers larger than 64 KiB");
  } else {
    std::string_view digits(line_);
    digits = digits.substr(0, digits.find(';'));  // extensions have no meaning for us
    while (!digits.empty() && (digits.back() == ' ' || digits.back() == '\t')) digits.remove_suffix(1);
    const char* const end = digits.data() + digits.size();
    auto [stop, error] = std::from_chars(digits.data(), end, left_, 16);
    if (digits.empty() || error != std::errc() || stop != end || digits.front() == '-')
      return garbled("a chunk without a size");
    // Saturates: an endless stream may well be larger than 64 bits say, and a limit is far below.
    total_ = left_ > std::numeric_limits<std::uint64_t>::max() - total_ ? std::numeric_limits<std::uint64_t>::max()
                                                                        : total_ + left_;
    state_ = left_ == 0 ? State::trailers : State::data;
  }
  return {};
}

}  // namespace microseg::http
