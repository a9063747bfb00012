// The two kernels of the contract, each in a state of its own.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "kernel/netns.h"
#include "microseg/kernel/kernel.h"
#include "support/fake_kernel.h"
#include "support/scenario.h"

namespace microseg::test {

inline const std::string kName = "a00000000000";

// Gives each kernel's test the same words. `sandbox` makes a container's namespace and returns its path.
struct Fake {
  FakeKernel fake;
  kernel::Kernel& kernel = fake;
  std::string sandbox() {
    fake.sandboxes.insert("/sandbox");
    return "/sandbox";
  }
  void lose_mount(const std::string& name) { fake.unmounted.insert(name); }
};

struct Real {
  std::string directory = [] {
    std::string pattern = "/tmp/microseg-contract-XXXXXX";
    return std::string(mkdtemp(pattern.data()));
  }();
  std::unique_ptr<kernel::Kernel> owned = kernel::make_linux_kernel(directory + "/netns").value();
  kernel::Kernel& kernel = *owned;

  ~Real() {
    const auto left = kernel.segments().value();
    for (auto& name : left) (void)kernel.delete_segment(name);
    owned.reset();
    (void)microseg::kernel::unpin_netns(directory + "/sandbox");
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  }
  std::string sandbox() {
    const std::string path = directory + "/sandbox";
    REQUIRE(microseg::kernel::pin_netns(microseg::kernel::new_netns().value(), path));
    return path;
  }
  void lose_mount(const std::string& name) { REQUIRE(microseg::kernel::unpin_netns(directory + "/netns/" + name)); }
};

inline void must(const Status& status) { REQUIRE_MESSAGE(status, status.error().text); }
inline Errc code_of(const Status& status) {
  REQUIRE(!status);
  return status.error().code;
}

inline kstate::Segment seen(kernel::Kernel& kernel, const std::vector<std::string>& sysctls = {}) {
  auto out = kernel.observe(kName, sysctls);
  REQUIRE_MESSAGE(out, out.error().text);
  return std::move(out).value();
}

inline kstate::Link link(unsigned n) {
  const model::Endpoint e = endpoint("web", n);
  return Moment(network(""), {e}).desired().links.at(render::link_name(e.id));
}
inline IfName link_name(unsigned n) { return render::link_name(endpoint("web", n).id); }

}  // namespace microseg::test

TYPE_TO_STRING(microseg::test::Fake);
TYPE_TO_STRING(microseg::test::Real);
