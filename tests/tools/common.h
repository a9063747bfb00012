// What the traffic tools share. Each is one small program, linked statically, so that it runs in an image that holds
// nothing else. They print JSON lines; times are CLOCK_MONOTONIC in nanoseconds, the same clock in every container.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char* format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, "%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
  exit(2);
}

// An IPv4 or IPv6 address as text. Returns the length of the socket address.
static inline socklen_t parse_address(const char* text, int port, struct sockaddr_storage* out) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in* v4 = (struct sockaddr_in*)out;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)out;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return sizeof *v6;
  }
  errno = 0;
  die("%s: not an address", text);
}

// The address without its port; one that is IPv4 in IPv6's clothes is printed as IPv4.
static inline const char* address_text(const struct sockaddr_storage* address, char* out, size_t size) {
  if (address->ss_family == AF_INET)
    return inet_ntop(AF_INET, &((const struct sockaddr_in*)address)->sin_addr, out, (socklen_t)size);
  const struct in6_addr* v6 = &((const struct sockaddr_in6*)address)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(v6)) return inet_ntop(AF_INET, v6->s6_addr + 12, out, (socklen_t)size);
  return inet_ntop(AF_INET6, v6, out, (socklen_t)size);
}

static inline int address_port(const struct sockaddr_storage* address) {
  return ntohs(address->ss_family == AF_INET ? ((const struct sockaddr_in*)address)->sin_port
                                             : ((const struct sockaddr_in6*)address)->sin6_port);
}
