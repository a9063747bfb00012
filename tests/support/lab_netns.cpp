#include "support/lab_netns.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <stdexcept>
#include <thread>

namespace microseg::lab {
namespace {

std::map<const Shown*, std::pair<std::string, std::function<std::string()>>>& shown() {
  static std::map<const Shown*, std::pair<std::string, std::function<std::string()>>> all;
  return all;
}

Fd open_or_fail(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  must(fd.is_open(), "open " + path);
  return fd;
}

Fd new_netns() {
  Fd out;
  int err = 0;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) < 0)
      err = errno;
    else
      out = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  errno = err;
  must(out.is_open(), "make a network namespace");
  return out;
}

int run_inside(int netns, const std::string& command, std::string& output) {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
  const pid_t child = ::fork();
  must(child >= 0, "fork");
  if (child == 0) {  // other threads may hold any lock: system calls only
    if (setns(netns, CLONE_NEWNET) < 0) _exit(126);
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  Fd read_end(ends[0]);
  (void)::close(ends[1]);
  char buffer[4096];
  for (ssize_t n; (n = ::read(read_end.get(), buffer, sizeof buffer)) > 0;)
    output.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  must(::waitpid(child, &status, 0) == child, "wait for " + command);
  return status;
}

}  // namespace

void fail(const std::string& what) { throw std::runtime_error(what); }
void fail_errno(const std::string& what) { fail(what + ": " + std::strerror(errno)); }

std::string enter() {
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0) return fmt::format("unshare: {}", std::strerror(errno));
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      mount("lab", "/tmp", "tmpfs", 0, "mode=0755") < 0)
    return fmt::format("mount: {}", std::strerror(errno));
  return "";
}

Netns::Netns() : fd_(new_netns()) { (void)run("ip link set lo up"); }
Netns Netns::open(const std::string& path) { return Netns(open_or_fail(path)); }
std::string Netns::path() const { return fmt::format("/proc/{}/fd/{}", getpid(), fd_.get()); }

void Netns::in(const std::function<void()>& f) const {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      must(setns(fd_.get(), CLONE_NEWNET) == 0, "enter a network namespace");
      f();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

Fd Netns::socket(int domain, int type, int protocol) const {
  Fd out;
  in([&] {
    out = Fd(::socket(domain, type | SOCK_CLOEXEC, protocol));
    must(out.is_open(), "socket");
  });
  return out;
}

std::string Netns::run(const std::string& command) const {
  std::string output;
  if (run_inside(fd_.get(), command, output) != 0) fail(fmt::format("`{}` failed: {}", command, output));
  return output;
}

std::string Netns::output_of(const std::string& command) const {
  std::string output;
  (void)run_inside(fd_.get(), command, output);
  return output;
}

Mac Netns::mac_of(const std::string& link) const {
  auto fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  link.copy(request.ifr_name, IFNAMSIZ - 1);
  must(ioctl(fd.get(), SIOCGIFHWADDR, &request) == 0, "MAC of " + link);
  auto* b = reinterpret_cast<const unsigned char*>(request.ifr_hwaddr.sa_data);
  return Mac::parse(fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5]))
      .value();
}

void Netns::await(const std::string& link) const {
  constexpr int kPatience = 5000;  // ms
  const Fd events = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
  sockaddr_nl links{};
  links.nl_family = AF_NETLINK;
  links.nl_groups = RTMGRP_LINK;
  must(::bind(events.get(), reinterpret_cast<sockaddr*>(&links), sizeof links) == 0, "hear of links");
  // Asked after listening began, so a change between the two is heard of.
  while (run("ip -o link show dev " + link).find(" state UP ") == std::string::npos) {
    pollfd waiting{events.get(), POLLIN, 0};
    if (::poll(&waiting, 1, kPatience) <= 0) fail(link + " did not come up");
    char message[32768];
    while (::recv(events.get(), message, sizeof message, 0) > 0) {
    }
  }
}

Netns host() { return Netns::open("/proc/self/ns/net"); }

Shown::Shown(std::string title, std::function<std::string()> text) {
  shown()[this] = {std::move(title), std::move(text)};
}
Shown::~Shown() { shown().erase(this); }

std::string show_all() {
  std::string out;
  for (auto& [_, entry] : shown()) out += fmt::format("===== {}\n{}\n", entry.first, entry.second());
  return out;
}

std::string describe(const Netns& netns) {
  std::string out;
  for (auto* command :
       {"nft list ruleset", "ip -d link", "ip address", "ip route", "ip -6 route", "ip neigh", "conntrack -L"})
    if (auto text = netns.output_of(command); !text.empty()) out += fmt::format("--- {}\n{}", command, text);
  return out;
}

}  // namespace microseg::lab
