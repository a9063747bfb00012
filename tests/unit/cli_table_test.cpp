// What people read: columns, ages, and harmless names.
#include <doctest/doctest.h>

#include "cli/table.h"

using namespace microseg::cli;

TEST_CASE("columns line up by characters, lines end without spaces") {
  CHECK(table({{"NAME", "N", "STATE"}, {"a-long-name", "12345", ""}, {"ö", "1", "ok"}}) ==
        "NAME         N      STATE\n"
        "a-long-name  12345\n"
        "ö            1      ok\n");
  CHECK(table({{"ONLY", "HEADING"}}) == "ONLY  HEADING\n");
  CHECK(table({}).empty());
}

TEST_CASE("ages") {
  struct {
    std::int64_t seconds;
    const char* text;
  } rows[] = {{-5, "0 seconds"},     {0, "0 seconds"},         {1, "1 second"},   {119, "119 seconds"},
              {120, "2 minutes"},    {7199, "119 minutes"},    {7200, "2 hours"}, {48 * 3600 - 1, "47 hours"},
              {48 * 3600, "2 days"}, {400 * 86400, "400 days"}};
  const std::int64_t now = 1'700'000'000'000;
  for (auto& row : rows) CHECK(since(now - row.seconds * 1000, now) == row.text);
  CHECK(since(0, now).empty());
}

TEST_CASE("control characters never reach the terminal") {
  struct {
    const char *raw, *line, *lines;
  } rows[] = {
      {"web", "web", "web"},
      {"\x1b[31mred", "?[31mred", "?[31mred"},
      {"a\nb\tc\r", "a?b?c?", "a\nb\tc?"},
      {"\x7f", "?", "?"},
      {"\xc2\x9b"
       "31m",
       "?31m", "?31m"},  // CSI in one code point
      {"\xc3\xb6\xc2\xa0", "\xc3\xb6\xc2\xa0", "\xc3\xb6\xc2\xa0"},
      {"\xc2", "\xc2", "\xc2"},
  };
  for (auto& row : rows) {
    CAPTURE(row.line);
    CHECK(printable(row.raw) == row.line);
    CHECK(printable(row.raw, true) == row.lines);
  }
}

TEST_CASE("indentation") {
  CHECK(indented("").empty());
  CHECK(indented("a") == "  a\n");
  CHECK(indented("a\n\nb\n") == "  a\n\n  b\n");
}
