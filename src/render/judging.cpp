#include "judging.h"

namespace microseg::render {

using namespace kstate;

Fragment mark_is(std::uint32_t mark) {
  return {Meta{MetaKey::mark, kScratch}, Cmp{kScratch, true, bytes_of_mark(mark)}};
}
Fragment connection_is(std::uint32_t value, std::uint32_t mask) {
  return {Ct{CtKey::mark, kScratch}, Mask{kScratch, kScratch, bytes_of_mark(mask), bytes_of_mark(0)},
          Cmp{kScratch, true, bytes_of_mark(value)}};
}

Fragment priority_from_scratch() { return {SetMeta{MetaKey::priority, kScratch}}; }
Fragment load_priority(unsigned to) { return {Meta{MetaKey::priority, to}, ToNetworkOrder{to, to}}; }
Fragment load_mark(unsigned to) { return {Meta{MetaKey::mark, to}, ToNetworkOrder{to, to}}; }

Fragment class_of_target(const Family& f) {
  return {Payload{Base::network, f.target, f.length, kScratch}, Lookup{f.set(kClass), kScratch, kScratch}};
}

Rule judge(const Family& f, char direction, const char* allow, const char* stamp) {
  const unsigned sender = direction == kOriginal ? 0 : 1, receiver = 1 - sender;
  return rule({is(f), direction_is(direction), class_of_target(f), priority_from_scratch(), load_priority(receiver),
               load_mark(sender),
               {Meta{MetaKey::l4proto, 2}, opened_port(direction, 3), Lookup{allow, 0, std::nullopt}},
               go(stamp)});
}

Rule to_quarantined(const Family& f) {
  return rule({is(f), class_of_target(f), priority_from_scratch(),
               {Meta{MetaKey::priority, kScratch}, Cmp{kScratch, true, bytes_of_mark(0)}},
               go("quarantined")});
}

}  // namespace microseg::render
