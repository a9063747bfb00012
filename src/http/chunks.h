// The chunked transfer encoding (RFC 9112, section 7.1), for both directions. Pure: the caller moves the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "microseg/base/result.h"

namespace microseg::http {

class ChunkDecoder {
 public:
  // Takes the next bytes. Sets `data` to those of them that belong to the body and returns how many were used, at least
  // one; call again for the rest until done(). Errors are `invalid` and final; `data` lies within `bytes`.
  Result<std::size_t> feed(std::string_view bytes, std::string_view& data);
  bool done() const { return state_ == State::done; }
  // How many bytes are certain to belong to this body: one who reads no more takes nothing of what follows it.
  std::uint64_t certain() const { return state_ == State::data ? left_ : state_ == State::done ? 0 : 1; }
  // How large the body is, as far as its chunks have been announced.
  std::uint64_t announced() const { return total_; }

 private:
  enum class State { size, data, data_end, trailers, done };
  Status line();

  State state_ = State::size;
  std::string line_;  // the part of a line that has come
  std::size_t trailer_bytes_ = 0;
  std::uint64_t left_ = 0;  // of the chunk
  std::uint64_t total_ = 0;
};

}  // namespace microseg::http
