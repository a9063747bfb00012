// Network namespaces by descriptor, and what can only be done from inside one.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "microseg/base/fd.h"
#include "microseg/base/result.h"

namespace microseg::kernel {

// Runs `f` on a short-lived thread that has entered the namespace; the caller's thread is never moved.
Status in_netns(const Fd& netns, const std::function<void()>& f);

// A new, empty namespace, held by the descriptor alone.
Result<Fd> new_netns();

// The namespace of this process.
Result<Fd> own_netns();

// Opens a namespace by path. not_found: nothing there, or a file that is no (longer a) namespace.
Result<Fd> open_netns(const std::string& path);

// Holds the namespace at `path` by a bind mount; the file is made when missing.
Status pin_netns(const Fd& netns, const std::string& path);
// Lets go of it. Success when it is gone already.
Status unpin_netns(const std::string& path);

// The values of those sysctls, e.g. "net/ipv4/ip_forward", that this kernel has in the namespace.
Result<std::map<std::string, std::string>> read_sysctls(const Fd& netns, const std::vector<std::string>& paths);

// Where /proc/sys is read-only, as in a managed plugin, it is written through a private procfs.
Status write_sysctl(const Fd& netns, const std::string& path, const std::string& value);

}  // namespace microseg::kernel
