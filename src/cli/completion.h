// The completion scripts. plugin/completion holds the same texts for packages to install; a unit test compares.
#pragma once

#include <string_view>

namespace microseg::cli {

// `shell` is bash, zsh or fish; "" for any other.
std::string_view completion(std::string_view shell);

}  // namespace microseg::cli
