#include "support/rule_vm.h"
#include "microseg/base/overload.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace microseg::test {
namespace {

using namespace kstate;

constexpr bool kGoOn = true, kEndRule = false;

class Machine {
 public:
  Machine(const Table& table, Packet& packet) : table_(table), packet_(packet) {}

  // Absent: the chain came to its end.
  std::optional<test::Verdict::Kind> run_chain(const std::string& name, int depth = 0) {
    if (depth > 16) throw std::logic_error("chains call each other without end");
    for (auto& rule : table_.chains.at(name).rules) {
      jump_ = nullptr;
      final_.reset();
      for (auto& expr : rule)
        if (!step(expr)) break;
      if (final_) return final_;
      if (!jump_) continue;
      auto* target = jump_;
      auto inner = run_chain(target->chain, depth + 1);
      if (inner || target->kind == kstate::Verdict::Kind::go) return inner;
    }
    return std::nullopt;
  }

  std::vector<std::string> counted;

 private:
  void put(unsigned to, const Bytes& bytes) {
    const auto size = (bytes.size() + 3) / 4 * 4;
    if (to * 4 + size > registers_.size()) throw std::logic_error("past the last register");
    std::memset(registers_.data() + to * 4, 0, size);
    std::memcpy(registers_.data() + to * 4, bytes.data(), bytes.size());
  }
  Bytes get(unsigned from, std::size_t length) const {
    if (from * 4 + length > registers_.size()) throw std::logic_error("past the last register");
    return Bytes(registers_.data() + from * 4, length);
  }
  std::uint32_t get32(unsigned from) const {
    std::uint32_t v = 0;
    std::memcpy(&v, registers_.data() + from * 4, 4);
    return v;
  }
  static Bytes byte(std::uint8_t v) { return Bytes(1, static_cast<char>(v)); }
  static Bytes raw(const Ip& ip) { return Bytes(ip.bytes().begin(), ip.bytes().end()); }

  bool load(const Meta& e) {
    switch (e.key) {
      case MetaKey::mark: put(e.to, bytes_of_mark(packet_.mark)); break;
      case MetaKey::priority: put(e.to, bytes_of_mark(packet_.priority)); break;
      case MetaKey::iifname: put(e.to, bytes_of_ifname(packet_.link)); break;
      case MetaKey::oifname: put(e.to, bytes_of_ifname(packet_.out)); break;
      case MetaKey::l4proto: put(e.to, byte(packet_.protocol)); break;
      case MetaKey::nfproto: put(e.to, byte(packet_.source.is_v4() ? 2 : 10)); break;
      case MetaKey::iif: case MetaKey::oif: case MetaKey::protocol:
        throw std::logic_error("only frames on bridges are judged by these; the real kernel is tried with them");
    }
    return kGoOn;
  }

  bool load(const Ct& e) {
    auto& track = packet_.track;
    if (e.key == CtKey::state) {
      put(e.to, bytes_of_mark(track.mark ? track.state : kInvalid));
      return kGoOn;
    }
    if (!track.mark) return kEndRule;
    auto address = [&](const std::optional<Ip>& ip, bool v4) {
      if (!ip || ip->is_v4() != v4) return kEndRule;
      put(e.to, raw(*ip));
      return kGoOn;
    };
    switch (e.key) {
      case CtKey::state: break;
      case CtKey::direction: put(e.to, byte(track.reply ? 1 : 0)); break;
      case CtKey::mark: put(e.to, bytes_of_mark(*track.mark)); break;
      case CtKey::original_source4: return address(track.source, true);
      case CtKey::original_target4: return address(track.target, true);
      case CtKey::original_source6: return address(track.source, false);
      case CtKey::original_target6: return address(track.target, false);
      case CtKey::status: put(e.to, bytes_of_mark(track.status)); break;
      case CtKey::reply_source4: return address(track.reply_source, true);
      case CtKey::reply_source6: return address(track.reply_source, false);
      case CtKey::protocol: put(e.to, byte(track.protocol)); break;
      case CtKey::original_target_port: put(e.to, bytes_of_port(track.target_port).substr(0, 2)); break;
    }
    return kGoOn;
  }

  // The headers as they would be on the wire, as far as rules look.
  Bytes header(Base base) const {
    if (base == Base::network) {
      Bytes out(packet_.source.is_v4() ? 12 : 8, '\0');
      return out + raw(packet_.source) + raw(packet_.target);
    }
    if (packet_.protocol == kIcmp || packet_.protocol == kIcmpv6)
      return bytes_of_port(packet_.source_port).substr(0, 2) + Bytes(6, '\0');
    Bytes out = bytes_of_port(packet_.source_port).substr(0, 2) + bytes_of_port(packet_.target_port).substr(0, 2);
    if (packet_.protocol == kTcp) return out + Bytes(9, '\0') + byte(packet_.tcp_flags) + Bytes(6, '\0');
    return out + Bytes(4, '\0') + packet_.payload;
  }

  bool look_up(const Lookup& e) {
    auto& set = table_.sets.at(e.set);
    std::size_t length = 0;
    for (auto field : set.type.key) length += (length_of(field) + 3) / 4 * 4;
    const Bytes key = get(e.from, length);
    for (auto& element : *set.elements) {
      if (!holds(set.type, element, key)) continue;
      if (e.to) put(*e.to, element.data);
      return e.inverted ? kEndRule : kGoOn;
    }
    return e.inverted ? kGoOn : kEndRule;
  }

  static bool holds(const SetType& type, const Element& element, const Bytes& key) {
    if (!type.interval || element.key_end.empty()) return element.key == key;
    std::size_t at = 0;
    for (auto field : type.key) {
      const std::size_t size = (length_of(field) + 3) / 4 * 4;
      auto part = key.substr(at, size);
      if (part < element.key.substr(at, size) || element.key_end.substr(at, size) < part) return false;
      at += size;
    }
    return true;
  }

  bool step(const Expr& expr) {
    return std::visit(
        Overload{
            [&](const Meta& e) { return load(e); },
            [&](const SetMeta& e) {
              (e.key == MetaKey::mark ? packet_.mark : packet_.priority) = get32(e.from);
              return kGoOn;
            },
            [&](const Ct& e) { return load(e); },
            [&](const SetCtMark& e) {
              if (packet_.track.mark) *packet_.track.mark = get32(e.from);
              return kGoOn;
            },
            [&](const Payload& e) {
              const Bytes all = header(e.base);
              if (e.offset + e.length > all.size()) return kEndRule;
              put(e.to, all.substr(e.offset, e.length));
              return kGoOn;
            },
            [&](const ReturnRoute& e) {
              put(e.to, bytes_of_mark(packet_.returns ? 1 : 0));
              return kGoOn;
            },
            [&](const Cmp& e) { return (get(e.reg, e.value.size()) == e.value) == e.equal; },
            [&](const Mask& e) {
              Bytes out = get(e.from, e.mask.size());
              for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>((out[i] & e.mask[i]) ^ e.flip[i]);
              put(e.to, out);
              return kGoOn;
            },
            [&](const Shift& e) {
              put(e.to, bytes_of_mark(e.by < 0 ? get32(e.from) >> -e.by : get32(e.from) << e.by));
              return kGoOn;
            },
            [&](const ToNetworkOrder& e) {
              put(e.to, bytes_of_mark(htonl(get32(e.from))));
              return kGoOn;
            },
            [&](const Load& e) {
              put(e.to, e.value);
              return kGoOn;
            },
            [&](const Lookup& e) { return look_up(e); },
            [&](const Count& e) {
              counted.push_back(e.counter);
              return kGoOn;
            },
            [&](const kstate::Verdict& e) {
              if (e.kind == kstate::Verdict::Kind::accept) final_ = test::Verdict::Kind::pass;
              else if (e.kind == kstate::Verdict::Kind::drop) final_ = test::Verdict::Kind::drop;
              else jump_ = &e;
              return kEndRule;
            },
            [&](const Reject& e) {
              final_ = e.kind == Reject::Kind::tcp_reset ? test::Verdict::Kind::reset : test::Verdict::Kind::prohibited;
              return kEndRule;
            },
            [&](const Foreign& e) -> bool { throw std::logic_error("cannot run " + e.name); },
        },
        expr);
  }

  const Table& table_;
  Packet& packet_;
  std::array<char, 64> registers_{};
  const kstate::Verdict* jump_ = nullptr;
  std::optional<test::Verdict::Kind> final_;
};

}  // namespace

Verdict run(const Table& table, Hook::Place place, Packet& packet) {
  std::vector<std::pair<std::int32_t, std::string>> bases;
  for (auto& [name, chain] : table.chains)
    if (chain.hook && chain.hook->place == place) bases.emplace_back(chain.hook->priority, name);
  std::sort(bases.begin(), bases.end());
  Machine machine(table, packet);
  Verdict out;
  for (auto& [priority, name] : bases) {
    auto kind = machine.run_chain(name);
    out.kind = kind.value_or(table.chains.at(name).hook->policy_drop ? Verdict::Kind::drop : Verdict::Kind::pass);
    if (out.kind != Verdict::Kind::pass) break;
  }
  out.counted = std::move(machine.counted);
  return out;
}

std::string forward(const Table& table, Packet packet) {
  auto first = run(table, Hook::Place::prerouting, packet);
  if (first.kind != Verdict::Kind::pass) return to_text(first);
  auto second = run(table, Hook::Place::forward, packet);
  first.counted.insert(first.counted.end(), second.counted.begin(), second.counted.end());
  return to_text({second.kind, std::move(first.counted)});
}

std::string to_text(const Verdict& verdict) {
  static constexpr const char* names[] = {"pass", "drop", "reset", "prohibited"};
  std::string out = names[static_cast<int>(verdict.kind)];
  for (auto& counter : verdict.counted) out += " " + counter;
  return out;
}

}  // namespace microseg::test
