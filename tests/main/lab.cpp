// The main() of a netns test, and what it prints of the kernel's state at a test case's first failure.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "microseg/base/log.h"
#include "support/lab_netns.h"

namespace microseg::lab {

// Shows everything once a test case, when it fails first: later the namespaces are gone.
struct ShowOnFailure : doctest::IReporter {
  bool done = false;

  explicit ShowOnFailure(const doctest::ContextOptions&) {}
  void test_case_start(const doctest::TestCaseData&) override { done = false; }
  void log_assert(const doctest::AssertData& data) override {
    if (!data.m_failed || std::exchange(done, true)) return;
    // Doctest says it again, below what may be a very long text.
    fmt::print(stderr, "{}:{}: {} is wrong: {}\n{}", data.m_file, data.m_line, data.m_expr, data.m_decomp.c_str(), show_all());
  }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

}  // namespace microseg::lab

REGISTER_LISTENER("show-on-failure", 1, microseg::lab::ShowOnFailure);

int main(int argc, char** argv) {
  auto level =
      microseg::parse_log_level(std::getenv("MICROSEG_LOG_LEVEL") ? std::getenv("MICROSEG_LOG_LEVEL") : "error");
  if (level) microseg::set_log_level(level.value());
  doctest::Context context(argc, argv);
  if (auto why = microseg::lab::enter(); !why.empty()) {
    fmt::print(stderr, "no namespaces to test in: {}\n", why);
    return std::getenv("MICROSEG_REQUIRE_NETNS") ? 1 : 77;
  }
  return context.run();
}
