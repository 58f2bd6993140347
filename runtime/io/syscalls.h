// The system calls that reading needs, as a table: tests put faults in, the program uses kSyscalls.
#ifndef EMOE_RUNTIME_IO_SYSCALLS_H_
#define EMOE_RUNTIME_IO_SYSCALLS_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct io_uring_params;

namespace emoe::rt {

// Each behaves as its namesake: -1 and errno on failure.
struct Syscalls {
  int (*open)(const char *path, int flags);
  ssize_t (*pread)(int fd, void *out, size_t bytes, uint64_t offset);
  void (*drop_cache)(int fd, uint64_t offset, uint64_t bytes);  // the pages are not needed again; may do nothing
  void (*sleep_ms)(uint32_t milliseconds);
  int (*uring_setup)(uint32_t entries, io_uring_params *params);
  int (*uring_enter)(int fd, uint32_t submit, uint32_t wait_for, uint32_t flags, const void *arg,
                     size_t arg_bytes);
};

extern const Syscalls kSyscalls;

// For loops that wait: lets the other thread of the core run.
inline void CpuPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Nanoseconds of the monotonic clock.
uint64_t Nanoseconds();

// Where time comes from; tests put in one of their own.
struct Clock {
  uint64_t (*now)(void *user);                     // nanoseconds; never goes back
  void (*sleep_until)(void *user, uint64_t when);  // returns at `when` or a little later
  // While paused no time passes; null if this clock cannot be. Pausing does not nest.
  void (*pause)(void *user, bool paused);
  void *user;
  uint64_t Now() const { return now(user); }
  void Pause(bool paused) const {
    if (pause != nullptr) pause(user, paused);
  }
};

extern const Clock kClock;  // the monotonic clock

// FUTEX_WAIT while *word == value, for at most `nanoseconds` (0: for ever). May return early.
void FutexWait(const void *word, uint32_t value, uint64_t nanoseconds);
void FutexWakeAll(const void *word);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_IO_SYSCALLS_H_
