#include "microseg/base/result.h"

#include <cerrno>
#include <cstring>

namespace microseg {

Error error_from_errno(int err, std::string_view what) {
  Errc code = Errc::kernel;
  switch (err) {
    case EINVAL: case ERANGE: code = Errc::invalid; break;
    case ENOENT: case ENODEV: case ESRCH: code = Errc::not_found; break;
    case EEXIST: code = Errc::exists; break;
    case EPERM: case EACCES: code = Errc::denied; break;
    case EOPNOTSUPP: case EPROTO: code = Errc::unsupported; break;
    case EAGAIN: case EBUSY: case EINTR: case ENOBUFS: case ETIMEDOUT: case ECONNREFUSED: code = Errc::unavailable; break;
  }
  return {code, err, std::string(what) + ": " + std::strerror(err)};
}

}  // namespace microseg
