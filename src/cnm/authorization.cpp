#include "authorization.h"

#include <openssl/evp.h>

#include <climits>

#include "json.h"

namespace microseg::cnm::authorization {
namespace {

using nlohmann::json;

// Base64 as Go prints bytes (RFC 4648, section 4, padded).
std::optional<std::string> decoded(const std::string& text) {
  if (text.size() % 4 != 0 || text.size() > INT_MAX) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  // The padding counts as zero bytes there.
  const auto padding = text.ends_with("==") ? 2U : text.ends_with('=') ? 1U : 0U;
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

// "/v1.45/networks/create?x=y" -> "/networks/create"
std::string path_of(const std::string& target) {
  auto path = target.substr(0, target.find('?'));
  if (const auto next = path.find('/', 1); path.starts_with("/v") && next != std::string::npos)
    if (path.find_first_not_of("0123456789.", 2) == next) path.erase(0, next);
  return path;
}

// types.NetworkCreateRequest of the Engine API.
Result<engine::NewNetwork> new_network(const std::string& body) {
  MS_TRY(auto request, wire::parse_object(body));
  engine::NewNetwork out;
  MS_TRY(out.driver, wire::optional_text(request, "Driver", "Driver"));
  MS_TRY(out.options, wire::string_map(request, "Options", "Options"));
  MS_TRY(out.labels, wire::string_map(request, "Labels", "Labels"));
  return out;
}

}  // namespace

Result<std::optional<engine::NewNetwork>> wanted(const std::string& body) {
  MS_TRY(auto question, wire::parse_object(body));
  MS_TRY(auto method, wire::optional_text(question, "RequestMethod", "RequestMethod"));
  MS_TRY(auto target, wire::optional_text(question, "RequestUri", "RequestUri"));
  if (method != "POST" || path_of(target) != "/networks/create") return std::optional<engine::NewNetwork>();
  MS_TRY(auto encoded, wire::optional_text(question, "RequestBody", "RequestBody"));
  auto network = new_network(decoded(encoded).value_or(""));
  return network ? std::optional(std::move(network).value()) : std::nullopt;
}

std::string denied(const std::string& why) { return wire::print({{"Allow", false}, {"Msg", why}}); }

}  // namespace microseg::cnm::authorization
