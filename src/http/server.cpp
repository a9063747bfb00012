// The listening socket and a thread per connection.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "http/session.h"
#include "http/transport.h"
#include "http/unix_address.h"
#include "microseg/base/fd.h"
#include "microseg/base/log.h"
#include "microseg/http/http.h"

namespace microseg::http {
namespace {

// What the connections' threads share with the server, and keep alive until the last of them is gone.
struct Shared {
  ServerOptions options;
  Handler handler;
  Fd stop;  // an eventfd, readable once the server stops; closed when it has
  std::mutex mutex;
  std::condition_variable changed;  // a connection ended, or the server stops
  std::size_t connections = 0;      // guarded by mutex, like `stopping`
  bool stopping = false;
};

bool may_talk(int fd, bool root_only) {
  if (!root_only) return true;
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

void converse(int fd, const Shared& shared) {
  SocketTransport transport(fd, shared.stop.get());
  if (may_talk(fd, shared.options.root_only)) {
    serve(transport, shared.handler, shared.options.max_body);
  } else {
    const std::string no = closing_answer(403, "Forbidden", "only root may use this socket");
    (void)transport.write(no.data(), no.size());
  }
  transport.finish();
}

void leave(Shared& shared) {
  std::lock_guard lock(shared.mutex);
  --shared.connections;
  shared.changed.notify_all();
}

// Runs on the connection's own thread: a client that dribbles or hangs holds up nobody else.
void run_connection(std::shared_ptr<Shared> shared, Fd fd) {
  try {
    converse(fd.get(), *shared);
  } catch (const std::exception& e) {
    log_error("http connection failed", {{"what", e.what()}});
  }
  fd = Fd();  // before the count: a stopped server has no connections open
  leave(*shared);
}

void accept_connections(std::shared_ptr<Shared> shared, int listener) {
  bool starved = false;  // of descriptors or memory; logged once per episode
  for (;;) {
    {
      std::unique_lock lock(shared->mutex);
      shared->changed.wait(lock,
                           [&] { return shared->stopping || shared->connections < shared->options.max_connections; });
      if (shared->stopping) return;
    }
    pollfd fds[] = {{listener, POLLIN, 0}, {shared->stop.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 || fds[1].revents) continue;
    Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    std::string trouble;
    if (!fd.is_open()) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) continue;
      trouble = std::system_category().message(errno);
    } else {
      {
        std::lock_guard lock(shared->mutex);
        ++shared->connections;
      }
      try {
        std::thread(run_connection, shared, std::move(fd)).detach();
      } catch (const std::system_error& e) {
        trouble = e.what();
        leave(*shared);
      }
    }
    if (!trouble.empty()) {
      if (!starved) log_warn("http can not take connections", {{"why", trouble}});
      // The waiting connection stays in the backlog; another one that ends, or 100 ms, may bring what was missing.
      std::unique_lock lock(shared->mutex);
      shared->changed.wait_for(lock, std::chrono::milliseconds(100));
    }
    starved = !trouble.empty();
  }
}

class UnixServer : public Server {
 public:
  UnixServer(std::string path, Fd listener, struct stat file, std::shared_ptr<Shared> shared)
      : path_(std::move(path)), listener_(std::move(listener)), file_(file), shared_(std::move(shared)) {}
  ~UnixServer() override { UnixServer::stop(); }

  void start(Handler handler) override {
    if (acceptor_.joinable() || stopped_) throw std::logic_error("http server started twice, or after its stop");
    shared_->handler = std::move(handler);
    acceptor_ = std::thread(accept_connections, shared_, listener_.get());
  }

  void stop() override {
    std::lock_guard once(stop_mutex_);
    if (stopped_) return;
    stopped_ = true;
    {
      std::lock_guard lock(shared_->mutex);
      shared_->stopping = true;
    }
    (void)::eventfd_write(shared_->stop.get(), 1);
    shared_->changed.notify_all();
    if (acceptor_.joinable()) acceptor_.join();
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [&] { return shared_->connections == 0; });
    // Only the file that we made: a successor may listen at the same path already.
    struct stat now {};
    if (::lstat(path_.c_str(), &now) == 0 && now.st_ino == file_.st_ino && now.st_dev == file_.st_dev)
      (void)::unlink(path_.c_str());
    listener_ = Fd();
    // Not left to the last thread that shares it: that one may end a moment after this.
    shared_->stop = Fd();
  }

 private:
  std::string path_;
  Fd listener_;
  struct stat file_;  // of the socket, as we made it
  std::shared_ptr<Shared> shared_;
  std::thread acceptor_;
  std::mutex stop_mutex_;
  bool stopped_ = false;
};

Status make_parents(const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST)
      return error_from_errno(errno, "make the directory " + parent);
  }
  return {};
}

// Makes room at `path`: nothing is there, or a socket that nobody listens at any more.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return {};
    return error_from_errno(errno, "look at " + path);
  }
  if (!S_ISSOCK(file.st_mode))
    return Error{Errc::invalid, 0, path + " exists and is not a socket; move it away or choose another path"};
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.is_open()) return error_from_errno(errno, "make a socket");
  // EAGAIN means a full backlog, so somebody is there. Only a refusal says that nobody is.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno != ECONNREFUSED)
    return Error{Errc::exists, 0, "another process listens at " + path + "; is microsegd running already?"};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return error_from_errno(errno, "remove the stale socket " + path);
  return {};
}

}  // namespace

Result<std::unique_ptr<Server>> listen_unix(const std::string& path, ServerOptions options) {
  MS_TRY(const sockaddr_un address, unix_address(path));
  MS_CHECK(make_parents(path));
  MS_CHECK(remove_stale(path, address));

  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.is_open()) return error_from_errno(errno, "make a socket");
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return error_from_errno(errno, "bind to " + path);
  // Between bind and listen nobody can connect, so there is no moment with the umask's mode.
  struct stat file {};
  if (::chmod(path.c_str(), options.mode) != 0 || ::lstat(path.c_str(), &file) != 0 ||
      ::listen(listener.get(), SOMAXCONN) != 0) {
    Error error = error_from_errno(errno, "listen at " + path);
    (void)::unlink(path.c_str());
    return error;
  }
  auto shared = std::make_shared<Shared>();
  shared->options = options;
  shared->stop = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shared->stop.is_open()) return error_from_errno(errno, "make an eventfd");
  return std::unique_ptr<Server>(std::make_unique<UnixServer>(path, std::move(listener), file, std::move(shared)));
}

}  // namespace microseg::http
