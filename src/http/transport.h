// A connection's bytes as a session sees them: a socket in the daemon, memory in the fuzzer.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <string>

namespace microseg::http {

class Transport {
 public:
  virtual ~Transport() = default;
  // Waits, for ever if need be, for the first byte of the next request; false when the client hung up or the server
  // stops. From here on the request has to arrive whole before read() gives up.
  virtual bool await_request() = 0;
  // Up to `size` bytes; 0 when the client hung up, -1 when the connection broke or gave no bytes in time.
  virtual ssize_t read(char* data, std::size_t size) = 0;
  // All of `data`, or false.
  virtual bool write(const char* data, std::size_t size) = 0;
};

// Over a non-blocking stream socket. `stop_fd` becomes readable when the server stops: then nothing more is read, and a
// write waits a second at most. Owns neither descriptor.
class SocketTransport : public Transport {
 public:
  SocketTransport(int fd, int stop_fd) : fd_(fd), stop_fd_(stop_fd) {}
  bool await_request() override;
  ssize_t read(char* data, std::size_t size) override;
  bool write(const char* data, std::size_t size) override;
  // Ends our side and swallows what the client still sends, for a short while: closing a socket with unread bytes
  // would fail the client's write, and a client that is still writing would then never see our answer.
  void finish();

 private:
  // >0: bytes in the buffer, 0: hung up, -1: broken, stopped or past `deadline`.
  ssize_t fill(const std::chrono::steady_clock::time_point* deadline);

  int fd_, stop_fd_;
  std::chrono::steady_clock::time_point deadline_{};
  std::string buffer_;
  std::size_t taken_ = 0;  // of buffer_
};

}  // namespace microseg::http
