// The completion scripts, which plugin/completion holds for packages to install as well.
#pragma once

#include <string_view>

namespace microseg::cli {

// `shell` is bash, zsh or fish; "" for any other.
std::string_view completion(std::string_view shell);

}  // namespace microseg::cli
