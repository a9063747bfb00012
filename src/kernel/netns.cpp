#include "netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <thread>

#ifndef NSFS_MAGIC
#define NSFS_MAGIC 0x6e736673
#endif

namespace microseg::kernel {
namespace {

std::string fd_path(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

// Run on a thread of its own. Gives it a mount namespace with a fresh procfs, whose sys/ is writable, at `at`; both
// are gone with the thread. unshare(CLONE_NEWNS) needs a thread that shares no file system state: CLONE_FS goes too.
int mount_private_proc(const char* at) {
  if (unshare(CLONE_FS) < 0 || unshare(CLONE_NEWNS) < 0) return errno;
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) return errno;
  if (mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) return errno;
  return 0;
}

int write_file(const std::string& path, const std::string& value) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.is_open()) return errno;
  return ::write(file.get(), value.data(), value.size()) < 0 ? errno : 0;
}

}  // namespace

Status in_netns(const Fd& netns, const std::function<void()>& f) {
  int err = 0;
  std::thread([&] {
    if (setns(netns.get(), CLONE_NEWNET) < 0) {
      err = errno;
      return;
    }
    f();
  }).join();
  if (err) return error_from_errno(err, "enter network namespace");
  return {};
}

Result<Fd> new_netns() {
  Fd fd;
  int err = 0;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) < 0) {
      err = errno;
      return;
    }
    fd = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!fd.is_open()) err = errno;
  }).join();
  if (err) return error_from_errno(err, "create network namespace");
  return fd;
}

Result<Fd> own_netns() {
  Fd fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return error_from_errno(errno, "open own network namespace");
  return fd;
}

Result<Fd> open_netns(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return error_from_errno(errno, "open network namespace " + path);
  struct statfs fs {};
  if (fstatfs(fd.get(), &fs) < 0) return error_from_errno(errno, "open network namespace " + path);
  if (fs.f_type != NSFS_MAGIC) return error_from_errno(ENOENT, "open network namespace " + path);
  return fd;
}

Status pin_netns(const Fd& netns, const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file.is_open()) return error_from_errno(errno, "create " + path);
  if (mount(fd_path(netns).c_str(), path.c_str(), "none", MS_BIND, nullptr) < 0)
    return error_from_errno(errno, "mount network namespace at " + path);
  return {};
}

Status unpin_netns(const std::string& path) {
  // Lazily: whoever looks inside at this moment does not keep us from letting go. Mounts may be stacked.
  while (umount2(path.c_str(), MNT_DETACH) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return error_from_errno(errno, "unmount " + path);
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return error_from_errno(errno, "remove " + path);
  return {};
}

Result<std::map<std::string, std::string>> read_sysctls(const Fd& netns, const std::vector<std::string>& paths) {
  std::map<std::string, std::string> out;
  MS_CHECK(in_netns(netns, [&] {
    for (auto& path : paths) {
      Fd file(::open(("/proc/sys/" + path).c_str(), O_RDONLY | O_CLOEXEC));
      char text[256];
      ssize_t n = file.is_open() ? ::read(file.get(), text, sizeof text) : -1;
      if (n < 0) continue;
      std::string value(text, static_cast<std::size_t>(n));
      while (!value.empty() && value.back() == '\n') value.pop_back();
      out.emplace(path, std::move(value));
    }
  }));
  return out;
}

Status write_sysctl(const Fd& netns, const std::string& path, const std::string& value) {
  int err = 0;
  MS_CHECK(in_netns(netns, [&] {
    err = write_file("/proc/sys/" + path, value);
    if (err != EROFS) return;
    err = mount_private_proc("/proc");
    if (!err) err = write_file("/proc/sys/" + path, value);
  }));
  if (err) return error_from_errno(err, "write sysctl " + path);
  return {};
}

}  // namespace microseg::kernel
