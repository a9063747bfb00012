#pragma once

#include <sys/un.h>

#include <string>

#include "microseg/base/result.h"

namespace microseg::http {

// Refuses (invalid) empty paths and those longer than the kernel takes (107 bytes).
Result<sockaddr_un> unix_address(const std::string& path);

}  // namespace microseg::http
