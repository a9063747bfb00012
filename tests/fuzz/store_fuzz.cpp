// Any bytes as a stored row: refused, or read and written back as the same value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "store/json.h"

namespace {

template <class T>
void check(const microseg::Result<T>& read, microseg::Result<T> (*from_text)(std::string_view)) {
  if (!read) return;
  const auto text = microseg::store::to_text(read.value());
  if (!text) std::abort();
  const auto again = from_text(text.value());
  if (!again || again.value() != read.value()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace microseg::store;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(network_from_text(text), network_from_text);
  check(endpoint_from_text(text), endpoint_from_text);
  check(policy_from_text(text), policy_from_text);
  return 0;
}
