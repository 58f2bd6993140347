#include "runtime/memory/usage.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

namespace emoe::rt {
namespace {

// Reads a small file of /proc without allocating; `text` is NUL-terminated.
void ReadSmallFile(const char *path, char *text, size_t capacity) {
  size_t used = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t got;
    while (used + 1 < capacity && (got = read(fd, text + used, capacity - 1 - used)) > 0) {
      used += static_cast<size_t>(got);
    }
    close(fd);
  }
  text[used] = 0;
}

// The number behind `key` (in kB), in bytes; 0 if there is no such line.
uint64_t KilobytesOf(const char *text, const char *key) {
  const char *at = strstr(text, key);
  if (at == nullptr) return 0;
  at += strlen(key);
  while (*at == ' ' || *at == '\t') ++at;
  uint64_t value = 0;
  for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + static_cast<uint64_t>(*at - '0');
  return value * 1024;
}

}  // namespace

uint64_t AnonymousBytes() {
  char text[4096];
  ReadSmallFile("/proc/self/status", text, sizeof(text));
  return KilobytesOf(text, "RssAnon:") + KilobytesOf(text, "RssShmem:") + KilobytesOf(text, "VmSwap:");
}

uint64_t AvailableBytes() {
  char text[2048];
  ReadSmallFile("/proc/meminfo", text, sizeof(text));
  return KilobytesOf(text, "MemAvailable:");
}

}  // namespace emoe::rt
