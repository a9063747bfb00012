// Network namespaces for tests: anonymous, held by a descriptor, gone with it. A test process first moves into a mount
// and a network namespace of its own, so that nothing it does is seen by, or reaches, anything else on the machine.
#pragma once

#include <functional>
#include <string>

#include "microseg/addr/addr.h"
#include "microseg/base/fd.h"

namespace microseg::lab {

// Moves the process into namespaces of its own, with an empty /tmp. Returns why that cannot be, "" when it is done.
std::string enter();

class Netns {
 public:
  Netns();  // a new one, with its loopback up
  explicit Netns(Fd fd) : fd_(std::move(fd)) {}
  static Netns open(const std::string& path);

  const Fd& fd() const { return fd_; }
  // As other processes, of the same user, can open it.
  std::string path() const;
  // Runs `f` on a thread that is inside; what it throws is thrown here.
  void in(const std::function<void()>& f) const;
  // A socket stays in the namespace it was opened in, whoever uses it.
  Fd socket(int domain, int type, int protocol) const;
  // Runs a shell command inside; throws with its output when it fails.
  std::string run(const std::string& command) const;
  // The same, failing or not.
  std::string output_of(const std::string& command) const;
  // Of a link inside.
  Mac mac_of(const std::string& link) const;
  // Waits until a link inside can send: the kernel lets it do so a moment after its other end came up, and until then
  // what it sends, the answer to the first ARP request say, is lost.
  void await(const std::string& link) const;

 private:
  Fd fd_;
};

// The namespace where links for Docker to move are born: the process's own.
Netns host();

// What to show when a test fails. `title` names it; shown for as long as the returned handle lives.
class Shown {
 public:
  Shown(std::string title, std::function<std::string()> text);
  Shown(Shown&&) = delete;
  ~Shown();
};
std::string show_all();

// Rules, links, addresses, routes, neighbours and connections of a namespace, in the words of the usual tools.
std::string describe(const Netns& netns);

[[noreturn]] void fail(const std::string& what);        // throws
[[noreturn]] void fail_errno(const std::string& what);  // with errno's text
inline void must(bool ok, const std::string& what) {
  if (!ok) fail_errno(what);
}

}  // namespace microseg::lab
