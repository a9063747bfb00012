// The `microseg` command: arguments -> admin API calls -> text.
#pragma once

#include <iosfwd>

namespace microseg::cli {

// Returns the process's exit code: 0 done; 1 the daemon refused; 2 wrong usage; 3 the daemon cannot be reached;
// `explain` returns 0 for allowed and 4 for refused.
int run(int argc, const char* const* argv, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace microseg::cli
