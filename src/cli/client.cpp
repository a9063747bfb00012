#include "client.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "microseg/http/http.h"

namespace microseg::cli {
namespace {

// A policy change is answered when it is in the kernel; nothing takes longer.
constexpr std::chrono::seconds kPatience{30};

std::string percent_encoded(const std::string& text) {
  constexpr const char* hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::strchr("-._~", c) != nullptr;
    if (plain && c != '\0') {
      out += c;
    } else {
      out += {'%', hex[byte >> 4], hex[byte & 15]};
    }
  }
  return out;
}

std::string target(const Call& call) {
  std::string out;
  for (auto& part : call.path) out += "/" + percent_encoded(part);
  char separator = '?';
  for (auto& [key, value] : call.query) {
    out += separator + percent_encoded(key) + "=" + percent_encoded(value);
    separator = '&';
  }
  return out;
}

Failure unreachable(const std::string& socket, const Error& error) {
  const std::string why = error.sys != 0 ? std::strerror(error.sys) : error.text;
  std::string remedy = "is it running? try: docker plugin ls, or systemctl status microsegd";
  if (error.sys == EACCES || error.sys == EPERM) remedy = "try again as root";
  if (error.sys == ETIMEDOUT) remedy = "it is busy or stuck; try: journalctl -u microsegd";
  if (error.code == Errc::invalid) remedy = "check --api-socket";
  return {kUnreachable, "cannot reach microsegd at " + socket + ": " + why + "; " + remedy};
}

Failure refused(const http::Response& response) {
  if (response.status == 403) return {kUnreachable, "microsegd answers root only; try again as root"};
  const auto body = nlohmann::json::parse(response.body, nullptr, false);
  const auto unknown = [&] {
    return Failure{kRefused, "unexpected answer (status " + std::to_string(response.status) +
                                 "); is it microsegd that listens at --api-socket?"};
  };
  if (!body.is_object() || !body.contains("error") || !body["error"].is_object()) return unknown();
  const auto& error = body["error"];
  if (!error.contains("message") || !error["message"].is_string()) return unknown();
  return {response.status == 400 ? kUsage : kRefused, error["message"].get<std::string>()};
}

}  // namespace

Answer call(const std::string& socket, const Call& call) {
  auto response =
      http::request_unix(socket, call.method, target(call), call.body, std::chrono::steady_clock::now() + kPatience);
  if (!response) return unreachable(socket, response.error());
  if (response->status != 200) return refused(response.value());
  return std::move(response.value().body);
}

}  // namespace microseg::cli
