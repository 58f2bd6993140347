#include "runtime/io/syscalls.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace emoe::rt {
namespace {

int Open(const char *path, int flags) { return open(path, flags); }

ssize_t Pread(int fd, void *out, size_t bytes, uint64_t offset) {
  return pread(fd, out, bytes, static_cast<off_t>(offset));
}

void DropCache(int fd, uint64_t offset, uint64_t bytes) {
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

void SleepMs(uint32_t milliseconds) {
  timespec time = {static_cast<time_t>(milliseconds / 1000), static_cast<long>(milliseconds % 1000) * 1000000};
  nanosleep(&time, nullptr);
}

int UringSetup(uint32_t entries, io_uring_params *params) {
  return static_cast<int>(syscall(SYS_io_uring_setup, entries, params));
}

int UringEnter(int fd, uint32_t submit, uint32_t wait_for, uint32_t flags, const void *arg, size_t arg_bytes) {
  return static_cast<int>(syscall(SYS_io_uring_enter, fd, submit, wait_for, flags, arg, arg_bytes));
}

}  // namespace

const Syscalls kSyscalls = {Open, Pread, DropCache, SleepMs, UringSetup, UringEnter};

uint64_t Nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

namespace {

// Sleeps end late by what the system takes to wake a thread: the last of a wait is spent awake.
constexpr uint64_t kAwakeNs = 100000;

uint64_t Now(void *) { return Nanoseconds(); }

void SleepUntil(void *, uint64_t when) {
  for (uint64_t now = Nanoseconds(); now < when; now = Nanoseconds()) {
    if (when - now <= kAwakeNs) {
      CpuPause();
      continue;
    }
    uint64_t until = when - kAwakeNs;
    timespec time = {static_cast<time_t>(until / 1000000000u), static_cast<long>(until % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
  }
}

}  // namespace

const Clock kClock = {Now, SleepUntil, nullptr, nullptr};

void FutexWait(const void *word, uint32_t value, uint64_t nanoseconds) {
  timespec time = {static_cast<time_t>(nanoseconds / 1000000000u), static_cast<long>(nanoseconds % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nanoseconds == 0 ? nullptr : &time, nullptr, 0);
}

void FutexWakeAll(const void *word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace emoe::rt
