// libFuzzer: no text upsets the parser, what it reads it can print and read again, and facts agree with statements.
// clang++ -std=c++20 -fsanitize=fuzzer,address,undefined -Iinclude -Isrc tests/fuzz/policy_fuzz.cpp src/policy/*.cpp
//   src/addr/*.cpp src/base/*.cpp -lfmt
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "microseg/policy/compile.h"

using namespace microseg;
using namespace microseg::policy;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  (void)std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

bool within(unsigned value, Range range) { return range.first <= value && value <= range.last; }

// Somebody whom each of the policy's selectors was written for, as far as one can be for all.
Labels labels_that_match(const Policy& policy) {
  Labels out;
  for (auto& selector : alphabet_of(policy).selectors)
    for (auto& term : selector.terms)
      if (term.op == Term::Op::equals || term.op == Term::Op::present) out.emplace(term.key, term.value);
  return out;
}

void agree(const Policy& policy) {
  const Numbering numbering{1, alphabet_of(policy)};
  if (class_count(numbering.alphabet) > 4096) return;
  auto facts = compile(policy, numbering);
  if (!facts || facts.value().size() > 20000) return;
  std::vector<Identity> who{{"", {}}, {"", labels_that_match(policy)}};
  for (auto& name : numbering.alphabet.names) {
    if (who.size() == 6) break;
    who.push_back({name, {}});
    who.push_back({name, labels_that_match(policy)});
  }
  for (auto& from : who)
    for (auto& to : who)
      for (auto [protocol, port] : {std::pair<int, int>{kTcp, 80}, {kUdp, 53}, {kIcmpv6, 0}, {47, 9}, {kTcp, 65535}}) {
        const auto f = class_of(numbering, from), t = class_of(numbering, to);
        const auto covering = std::ranges::count_if(facts.value(), [&, p = protocol, at = port](auto& fact) {
          return within(f, fact.from) && within(t, fact.to) && within(static_cast<unsigned>(p), fact.protocol) &&
                 within(static_cast<unsigned>(at), fact.port);
        });
        require(covering <= 1, "facts do not overlap");
        const auto said =
            explain(policy, from, to, static_cast<std::uint8_t>(protocol), static_cast<std::uint16_t>(port));
        require(said.allowed == (covering == 1), "facts and statements agree");
      }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto policy = parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!policy) {
    require(policy.error().text.starts_with("fuzz"), "an error names its source");
    return 0;
  }
  const auto printed = print(policy.value());
  auto again = parse(printed, "print");
  // Printing spells out what was written more tightly, so a source at its limit may print as more than one can hold.
  if (!again && printed.size() > kMaxText) return 0;
  require(static_cast<bool>(again), "what is printed can be read");
  require(print(again.value()) == printed, "what is printed and read prints the same");
  agree(policy.value());
  return 0;
}
