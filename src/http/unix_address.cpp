#include "http/unix_address.h"

#include <sys/socket.h>

#include <cstring>

namespace microseg::http {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) return Error{Errc::invalid, 0, "an empty socket path"};
  if (path.size() >= sizeof address.sun_path)
    return Error{Errc::invalid, 0,
                 "socket path '" + path + "' is longer than " + std::to_string(sizeof address.sun_path - 1) +
                     " bytes; choose a shorter one"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace microseg::http
