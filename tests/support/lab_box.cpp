#include "support/lab_box.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>
#include <sstream>

namespace microseg::lab {
namespace {

constexpr const char* kSandboxes = "/tmp/sandboxes";

std::string mount_of(const Netns& netns, const std::string& id) {
  (void)::mkdir(kSandboxes, 0700);
  const std::string path = std::string(kSandboxes) + "/" + id;
  Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0400));
  must(file.is_open(), "create " + path);
  must(::mount(netns.path().c_str(), path.c_str(), "none", MS_BIND, nullptr) == 0, "mount " + path);
  return path;
}

}  // namespace

std::string fresh_id() {
  static std::mt19937_64 random{std::random_device{}()};
  static unsigned count = 0;
  count = (count + 1) & 0xffff;
  return fmt::format("{:08x}{:04x}{:016x}{:016x}{:016x}{:04x}", random() & 0xffffffff, count, random(), random(),
                     random(), count);
}

Box::Box(engine::CreateEndpoint request)
    : endpoint(std::move(request)),
      sandbox(mount_of(netns, endpoint.id.brief())),
      shown_("container " + endpoint.id.brief() + " " + (endpoint.v4 ? endpoint.v4->str() : ""),
             [this] { return describe(netns); }) {}

Box::~Box() {
  (void)::umount2(sandbox.c_str(), MNT_DETACH);
  (void)::unlink(sandbox.c_str());
}

engine::CreateEndpoint endpoint_request(const NetworkId& network, const std::vector<std::string>& addresses,
                                        model::Options options) {
  engine::CreateEndpoint out{network, EndpointId::parse(fresh_id()).value(), {}, {}, {}, std::move(options)};
  for (auto& text : addresses) {
    const Prefix prefix = need(Prefix::parse(text));
    (prefix.ip().is_v4() ? out.v4 : out.v6) = prefix;
  }
  return out;
}

engine::CreateNetwork network_request(const NetworkSpec& spec) {
  engine::CreateNetwork out{NetworkId::parse(fresh_id()).value(), spec.options, spec.internal, {}};
  for (auto& text : spec.pools) {
    std::istringstream words(text);
    std::string pool, gateway;
    words >> pool >> gateway;
    model::Subnet subnet{need(Prefix::parse(pool)), {}};
    if (!gateway.empty()) subnet.gateway = need(Ip::parse(gateway));
    out.subnets.push_back(subnet);
  }
  return out;
}

void plug(Box& box, const engine::Joined& joined, const std::optional<Mac>& answered, bool with_addresses) {
  if (!box.endpoint.mac) box.endpoint.mac = answered;
  const std::string source = joined.source.str(), name = joined.prefix + "0";
  host().run(fmt::format("ip link set {} netns {}", source, box.netns.path()));
  std::string batch = fmt::format("link set {} name {}\n", source, name);
  if (!with_addresses) batch += fmt::format("link set {} arp off addrgenmode none\n", name);
  if (box.endpoint.mac) batch += fmt::format("link set {} address {}\n", name, box.endpoint.mac->str());
  if (with_addresses)
    for (auto* prefix : {&box.endpoint.v4, &box.endpoint.v6})
      if (*prefix)
        batch += fmt::format("addr add {} dev {}{}\n", (*prefix)->str(), name, (*prefix)->ip().is_v4() ? "" : " nodad");
  batch += fmt::format("link set {} up\n", name);
  if (with_addresses)
    for (auto& route : joined.routes)
      batch += fmt::format("route add {} {} dev {}\n", route.destination.str(),
                           route.next_hop ? "via " + route.next_hop->str() : "", name);
  box.netns.run(fmt::format("ip -batch - <<'END'\n{}END\n", batch));
}

}  // namespace microseg::lab
