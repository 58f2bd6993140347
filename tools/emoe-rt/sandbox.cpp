#include "tools/emoe-rt/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace emoe::rt {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#endif

// Rights by the version of Landlock that knows them; the headers of a build may be older than the kernel.
constexpr uint64_t kFileRights1 = (1u << 13) - 1, kRefer2 = 1u << 13, kTruncate3 = 1u << 14, kDevices5 = 1u << 15;
constexpr uint64_t kNetwork4 = 3;  // bind and connect by TCP
constexpr uint64_t kScopes6 = 3;   // abstract sockets and signals of others

struct RulesetAttributes {
  uint64_t files, network, scopes;
};

bool AllowReading(int ruleset, const char *path) {
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return false;
  struct landlock_path_beneath_attr rule = {};
  rule.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
  rule.parent_fd = fd;
  bool added = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  close(fd);
  return added;
}

// System calls that stay.
constexpr int kAllowed[] = {
    SYS_read, SYS_pread64, SYS_readv, SYS_write, SYS_writev, SYS_pwrite64, SYS_lseek, SYS_close, SYS_fstat,
    SYS_newfstatat, SYS_munmap, SYS_madvise, SYS_mremap, SYS_brk, SYS_futex, SYS_io_uring_enter, SYS_ppoll,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_restart_syscall, SYS_sched_yield, SYS_sched_getaffinity,
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_getrandom, SYS_gettid, SYS_getpid, SYS_getrusage,
    SYS_set_robust_list, SYS_rseq, SYS_exit, SYS_exit_group, SYS_unlinkat,
#if defined(__x86_64__)
    SYS_poll, SYS_unlink, SYS_gettimeofday, SYS_time,
#endif
};
constexpr size_t kAllowedCount = sizeof(kAllowed) / sizeof(kAllowed[0]);

constexpr uint32_t kDeny = SECCOMP_RET_ERRNO | EPERM;

// A filter is built once, in place.
struct Filter {
  struct sock_filter code[2 * kAllowedCount + 64];
  unsigned short count = 0;

  void Add(uint16_t op, uint32_t k, uint8_t yes = 0, uint8_t no = 0) { code[count++] = {op, yes, no, k}; }
  void LoadArgument(int index) {
    Add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + static_cast<uint32_t>(index) * 8);
  }
  // The call `number` is allowed if `argument` has none of `bits`.
  void AllowWithout(int number, int argument, uint32_t bits) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 4);
    LoadArgument(argument);
    Add(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    Add(BPF_RET | BPF_K, kDeny);
    Add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  // The call `number` is allowed if `argument` is `value`.
  void AllowOnly(int number, int argument, uint32_t value) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 4);
    LoadArgument(argument);
    Add(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    Add(BPF_RET | BPF_K, kDeny);
    Add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
};

}  // namespace

bool RestrictFiles(const char *path) {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return false;
  RulesetAttributes attributes = {kFileRights1, 0, 0};
  if (version >= 2) attributes.files |= kRefer2;
  if (version >= 3) attributes.files |= kTruncate3;
  if (version >= 4) attributes.network = kNetwork4;
  if (version >= 5) attributes.files |= kDevices5;
  if (version >= 6) attributes.scopes = kScopes6;
  // A kernel takes a larger structure if what it does not know is zero.
  int ruleset = static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0));
  if (ruleset < 0) return false;
  // The bundle is opened once more if reads can pass the page cache by; a process may look at its own memory use.
  bool restricted = AllowReading(ruleset, path) && AllowReading(ruleset, "/proc/self") &&
                    syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
  close(ruleset);
  return restricted;
}

bool RestrictCalls() {
#if !defined(__x86_64__) && !defined(__aarch64__)
  return false;
#else
  static Filter filter;
  filter.count = 0;
  filter.Add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
  filter.Add(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0);
  filter.Add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  filter.Add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int number : kAllowed) {
    filter.Add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1);
    filter.Add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  filter.AllowWithout(SYS_openat, 2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
  filter.AllowWithout(SYS_mmap, 2, PROT_EXEC);
  filter.AllowWithout(SYS_mprotect, 2, PROT_EXEC);
  filter.AllowOnly(SYS_ioctl, 1, TCGETS);  // is it a terminal?
  filter.Add(BPF_RET | BPF_K, kDeny);
  struct sock_fprog program = {filter.count, filter.code};
  // Needs no privilege: RestrictFiles has given up new ones.
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
#endif
}

}  // namespace emoe::rt
