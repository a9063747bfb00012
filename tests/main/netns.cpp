// main() of a test binary that makes namespaces: it runs in a mount and a network namespace of its own, so that what
// a test mounts, and the container's ends of its links, are seen by nobody else and are gone with the process.
// Without the right to do so it skips (77), or fails where MICROSEG_REQUIRE_NETNS is set.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    std::perror("no namespaces of our own");
    return std::getenv("MICROSEG_REQUIRE_NETNS") ? 1 : 77;
  }
  return doctest::Context(argc, argv).run();
}
