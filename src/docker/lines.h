// Cuts a stream of pieces into lines.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "microseg/base/result.h"

namespace microseg::docker {

class Lines {
 public:
  // A longer line is an error: an event is a few KiB, with a container's labels in it.
  static constexpr std::size_t kMaxLine = 4 << 20;

  // Calls `on_line` (a function of std::string_view giving Status) for each line that is whole now, blank ones left
  // out. The first error ends it.
  template <class OnLine>
  Status feed(std::string_view piece, const OnLine& on_line) {
    while (!piece.empty()) {
      const auto end = piece.find('\n');
      if (part_.size() + (end == std::string_view::npos ? piece.size() : end) > kMaxLine)
        return Error{Errc::invalid, 0, "unreadable answer of the Docker engine: a line longer than 4 MiB"};
      part_.append(piece.substr(0, end));
      if (end == std::string_view::npos) return {};
      piece.remove_prefix(end + 1);
      const std::string line = std::exchange(part_, {});
      if (line.find_first_not_of(" \t\r") != std::string::npos) MS_CHECK(on_line(std::string_view(line)));
    }
    return {};
  }

 private:
  std::string part_;
};

}  // namespace microseg::docker
