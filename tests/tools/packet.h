// IPv4 packets byte by byte, for the tools that lie.
#pragma once

#include "common.h"

struct Packet {
  uint8_t data[2048];
  size_t size;
};

static inline void put(struct Packet* p, const void* data, size_t n) {
  memcpy(p->data + p->size, data, n);
  p->size += n;
}
static inline void put8(struct Packet* p, unsigned v) { p->data[p->size++] = (uint8_t)v; }
static inline void put16(struct Packet* p, unsigned v) {
  put8(p, v >> 8 & 255);
  put8(p, v & 255);
}
static inline void put32(struct Packet* p, uint32_t v) {
  put16(p, v >> 16);
  put16(p, v & 0xffff);
}

static inline uint32_t sum_of(const uint8_t* data, size_t n, uint32_t start) {
  for (size_t i = 0; i < n; ++i) start += i & 1 ? data[i] : (uint32_t)data[i] << 8;
  return start;
}
static inline unsigned folded(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
static inline void set16(struct Packet* p, size_t at, unsigned value) {
  p->data[at] = (uint8_t)(value >> 8);
  p->data[at + 1] = (uint8_t)value;
}

// An IPv4 header; end_ip4 fills in length and checksum. Returns where it begins.
static inline size_t begin_ip4(struct Packet* p, const char* from, const char* to, unsigned protocol) {
  const size_t at = p->size;
  struct in_addr a;
  put16(p, 0x4500);
  put16(p, 0);
  put16(p, 0x4d53);
  put16(p, 0);
  put8(p, 64);
  put8(p, protocol);
  put16(p, 0);
  errno = 0;
  if (inet_pton(AF_INET, from, &a) != 1) die("%s: not an IPv4 address", from);
  put(p, &a, 4);
  if (inet_pton(AF_INET, to, &a) != 1) die("%s: not an IPv4 address", to);
  put(p, &a, 4);
  return at;
}
static inline void end_ip4(struct Packet* p, size_t at) {
  set16(p, at + 2, (unsigned)(p->size - at));
  set16(p, at + 10, folded(sum_of(p->data + at, 20, 0)));
}
// The checksum over the transport header at `at` + 20 and its data; its field is `field` bytes into that header.
static inline void sum_transport(struct Packet* p, size_t at, size_t field) {
  const size_t length = p->size - at - 20;
  set16(p, at + 20 + field,
        folded(sum_of(p->data + at + 20, length, sum_of(p->data + at + 12, 8, p->data[at + 9] + (uint32_t)length))));
}

// A socket that takes whole IPv4 packets.
static inline int raw_socket(void) {
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) die("raw socket");
  return fd;
}
static inline bool send_ip4(int fd, const struct Packet* p) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  memcpy(&to.sin_addr, p->data + 16, 4);
  return sendto(fd, p->data, p->size, 0, (struct sockaddr*)&to, sizeof to) == (ssize_t)p->size;
}
