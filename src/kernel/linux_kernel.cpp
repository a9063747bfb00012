#include "linux_kernel.h"

#include <linux/membarrier.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "announce.h"
#include "microseg/base/overload.h"
#include "nft.h"
#include "probe.h"
#include "rtnl.h"

namespace microseg::kernel {
namespace {

ino_t inode_of(const Fd& fd) {
  struct stat st {};
  return fstat(fd.get(), &st) == 0 ? st.st_ino : 0;
}

bool is_host(const std::string& name) { return name == kHost || name == kHostPorts; }

// Packets go their way through the rules inside an RCU read-side section; this waits for all that are in one now
// (membarrier(2): MEMBARRIER_CMD_GLOBAL is synchronize_rcu).
Status quiesce() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return {};
  return error_from_errno(errno, "membarrier");
}

}  // namespace

Result<std::unique_ptr<Kernel>> make_linux_kernel(const std::string& directory) {
  MS_TRY(auto host, own_netns());
  return make_linux_kernel(directory, std::move(host));
}

Result<std::unique_ptr<Kernel>> make_linux_kernel(const std::string& directory, Fd host) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) return error_from_errno(failed.value(), "create " + directory);
  MS_TRY(auto route, NetlinkSocket::open(host, NETLINK_ROUTE));
  return std::unique_ptr<Kernel>(new LinuxKernel(directory, std::move(host), std::move(route)));
}

Result<std::vector<std::string>> LinuxKernel::segments() {
  std::vector<std::string> out;
  std::error_code failed;
  for (auto& entry : std::filesystem::directory_iterator(directory_, failed)) {
    auto mounted = open_netns(entry.path());
    auto it = segments_.find(entry.path().filename());
    // Where another namespace covers the one that we know, ours is not mounted.
    const bool covered = mounted && it != segments_.end() && inode_of(mounted.value()) != inode_of(it->second.netns);
    if (mounted && !covered) out.push_back(entry.path().filename());
  }
  if (failed) return error_from_errno(failed.value(), "list " + directory_);
  return out;
}

Status LinuxKernel::create_segment(const std::string& name) {
  if (is_host(name)) return Error{Errc::invalid, 0, "the host's namespace is not ours to make"};
  const std::string path = path_of(name);
  auto mounted = open_netns(path);
  auto it = segments_.find(name);
  if (mounted && (it == segments_.end() || inode_of(mounted.value()) == inode_of(it->second.netns))) return {};
  if (mounted) {
    // Somebody mounted another namespace over ours. Ours, where the links are, goes back on top.
    MS_CHECK(unpin_netns(path));
  }
  if (it != segments_.end()) return pin_netns(it->second.netns, path);
  MS_TRY(auto netns, new_netns());
  return pin_netns(netns, path);
}

Status LinuxKernel::delete_segment(const std::string& name) {
  if (is_host(name)) return Error{Errc::invalid, 0, "the host's namespace is not ours to delete"};
  // A network's last endpoint may have left a moment ago; what is still in there goes with its links.
  if (auto segment = find(name); segment) {
    if (auto devices = observe_devices(segment.value()->route)) {
      for (auto& [link, _] : devices->links) (void)del_link(segment.value()->route, link);
      if (devices->vxlan) (void)del_vxlan(segment.value()->route);  // its VNI is free at once
    }
  }
  if (monitor_) monitor_->forget(name);
  segments_.erase(name);
  return unpin_netns(path_of(name));
}

Result<LinuxKernel::Segment*> LinuxKernel::find(const std::string& name) {
  if (auto it = segments_.find(name); it != segments_.end()) return &it->second;
  MS_TRY(auto netns, open_netns(path_of(name)));
  MS_TRY(auto route, NetlinkSocket::open(netns, NETLINK_ROUTE));
  MS_TRY(auto filter, NetlinkSocket::open(netns, NETLINK_NETFILTER));
  auto it = segments_.emplace(name, Segment{std::move(netns), std::move(route), std::move(filter)}).first;
  if (monitor_) start_watching(name, it->second);
  return &it->second;
}

Result<kstate::Segment> LinuxKernel::observe(const std::string& name, const std::vector<std::string>& sysctls) {
  if (name == kHost) return observe_host();
  if (name == kHostPorts) return observe_host_ports();
  MS_CHECK(open_netns(path_of(name)));  // a namespace without its mount is not there for anybody who comes after us
  MS_TRY(auto* segment, find(name));
  kstate::Segment out;
  MS_TRY(out.sysctls, read_sysctls(segment->netns, sysctls));
  MS_TRY(auto devices, observe_devices(segment->route));
  out.links = std::move(devices.links);
  out.vxlan = std::move(devices.vxlan);
  MS_TRY(out.table, observe_table(segment->filter));
  return out;
}

Status LinuxKernel::apply(const std::string& name, const kstate::Op& op) {
  if (name == kHost) return apply_at_host(op);
  if (name == kHostPorts) return apply_at_ports(op);
  MS_TRY(auto* segment, find(name));
  return std::visit(
      Overload{
          [&](const kstate::SetSysctl& o) { return write_sysctl(segment->netns, o.path, o.value); },
          [&](const kstate::AddLink& o) { return add_link(segment->route, host_, o.name, o.link); },
          [&](const kstate::DelLink& o) { return del_link(segment->route, o.name); },
          [&](const kstate::MendLink& o) { return mend_link(segment->route, o.name, o.link); },
          [&](const kstate::AddVxlan& o) { return add_vxlan(segment->route, segment->netns, host_route_, o.vxlan); },
          [&](const kstate::DelVxlan&) { return del_vxlan(segment->route); },
          [&](const kstate::MendVxlan& o) { return mend_vxlan(segment->route, o.vxlan); },
          [&](const kstate::Announce& o) { return announce(segment->route, segment->netns, o.addresses); },
          [&](const kstate::Nft& o) { return apply_nft(segment->filter, o.ops); },
          [&](const kstate::BindPort&) -> Status {
            return Error{Errc::unsupported, 0, "a segment has no bridge"};
          },
          [&](const kstate::Quiesce&) { return quiesce(); },
          [&](const kstate::PurgeConnections& o) { return purge_connections(segment->filter, o); },
      },
      op);
}

Result<std::map<std::string, std::uint64_t>> LinuxKernel::counters(const std::string& name) {
  if (is_host(name)) {
    MS_TRY(auto* host, at_host());
    return read_counters(host->filter, name == kHost ? Family::inet : Family::bridge);
  }
  MS_TRY(auto* segment, find(name));
  return read_counters(segment->filter);
}

void LinuxKernel::watch(std::function<void(const std::string&)> changed) {
  monitor_ = std::make_unique<Monitor>(std::move(changed));
  for (auto& [name, segment] : segments_) start_watching(name, segment);
  if (at_host_) monitor_->add_table(kHost, host_, at_host_->filter.port_id());
  if (at_ports_) monitor_->add_ports(kHostPorts, host_, at_host_->filter.port_id());
}

void LinuxKernel::doubt() {
  if (at_ports_) at_ports_->doubt();
}

void LinuxKernel::start_watching(const std::string& name, Segment& segment) {
  monitor_->add(name, segment.netns, {segment.route.port_id(), segment.filter.port_id(), host_route_.port_id()});
}

Result<LinuxKernel::Host*> LinuxKernel::at_host() {
  if (at_host_) return &*at_host_;
  MS_TRY(auto netns, new_netns());
  const auto owners = try_owned_table(netns);
  // Kernels before 6.9 refuse the flags with one of these; anything else says nothing about owners.
  if (!owners && owners.error().code != Errc::unsupported && owners.error().code != Errc::invalid) return owners.error();
  MS_TRY(auto filter, NetlinkSocket::open(host_, NETLINK_NETFILTER));
  at_host_.emplace(Host{std::move(filter), static_cast<bool>(owners)});
  if (monitor_) monitor_->add_table(kHost, host_, at_host_->filter.port_id());
  return &*at_host_;
}

Result<kstate::Segment> LinuxKernel::observe_host() {
  MS_TRY(auto* host, at_host());
  kstate::Segment out;
  MS_TRY(out.table, observe_table(host->filter));
  if (out.table && !host->knows_owners) out.table->owner = kstate::Owner::us;
  return out;
}

Status LinuxKernel::apply_at_host(const kstate::Op& op) {
  if (auto* o = std::get_if<kstate::Nft>(&op)) return change_host_table(o->ops, Family::inet);
  if (std::holds_alternative<kstate::Quiesce>(op)) return quiesce();
  return Error{Errc::unsupported, 0, "in the host's namespace only our table is changed"};
}

Status LinuxKernel::change_host_table(std::vector<kstate::NftOp> ops, Family family) {
  MS_TRY(auto* host, at_host());
  for (auto& op : ops)
    if (auto* add = std::get_if<kstate::AddTable>(&op)) add->owned = add->owned && host->knows_owners;
  auto done = apply_nft(host->filter, ops, family);
  if (done || done.error().sys != EPERM) return done;
  return std::move(done).in(std::string("table ") + (family == Family::inet ? "inet" : "bridge") + " microseg, which a daemon that still runs may own (stop it to hand it over)");
}

Result<Ports*> LinuxKernel::at_ports() {
  if (at_ports_) return &*at_ports_;
  MS_TRY(auto* host, at_host());
  MS_TRY(auto ports, Ports::open(host_));
  at_ports_.emplace(std::move(ports));
  if (monitor_) monitor_->add_ports(kHostPorts, host_, host->filter.port_id());
  return &*at_ports_;
}

Result<kstate::Segment> LinuxKernel::observe_host_ports() {
  MS_TRY(auto* ports, at_ports());
  kstate::Segment out;
  MS_TRY(out.ports, ports->observe());
  MS_TRY(out.table, observe_table(at_host_->filter, Family::bridge));
  if (out.table && !at_host_->knows_owners) out.table->owner = kstate::Owner::us;
  return out;
}

Status LinuxKernel::apply_at_ports(const kstate::Op& op) {
  MS_TRY(auto* ports, at_ports());
  if (auto* o = std::get_if<kstate::BindPort>(&op)) return ports->bind(o->port, o->mac);
  if (auto* o = std::get_if<kstate::Nft>(&op)) return change_host_table(o->ops, Family::bridge);
  if (std::holds_alternative<kstate::Quiesce>(op)) return quiesce();
  return Error{Errc::unsupported, 0, "at the host's bridges only ports and our table are changed"};
}

Result<kstate::PortIndex> LinuxKernel::port_of(const std::string& sandbox, const IfName& bridge,
                                   const std::optional<Mac>& mac) {
  MS_TRY(auto* ports, at_ports());
  return ports->port_of(sandbox, bridge, mac);
}

}  // namespace microseg::kernel
