// The sandbox in a process of its own: what it takes away, and what stays.
#include "tools/emoe-rt/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <pthread.h>

#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace emoe::rt {
namespace {

// The path of a file that a bundle stands for.
std::string file() {
  static const std::string path = [] {
    std::string name = testing::TempDir() + "emoe-sandbox-XXXXXX";
    int fd = mkstemp(name.data());
    EXPECT_EQ(write(fd, "bundle", 6), 6);
    close(fd);
    return name;
  }();
  return path;
}

// Runs `body` in a child, which reports by its exit code; a signal gives 1000 and the signal.
int inChild(const std::function<int()> &body) {
  pid_t pid = fork();
  if (pid == 0) {
    _exit(body());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// The errno with which a call failed; 0 if it worked.
template <typename T> int errorOf(T result) { return result < 0 ? errno : 0; }

bool haveLandlock() {
  return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

TEST(Sandbox, NoOtherFiles) {
  if (!haveLandlock()) {
    GTEST_SKIP() << "this kernel has no Landlock";
  }
  const std::string path = file(), other = path + ".other";
  auto open1 = [&](const char *name, int flags) {
    return inChild([&] { return RestrictFiles(path.c_str()) ? errorOf(open(name, flags, 0600)) : 255; });
  };
  EXPECT_EQ(open1(path.c_str(), O_RDONLY), 0);
  EXPECT_EQ(open1("/proc/self/status", O_RDONLY), 0);
  EXPECT_EQ(open1(path.c_str(), O_RDWR), EACCES);
  EXPECT_EQ(open1("/etc/passwd", O_RDONLY), EACCES);
  EXPECT_EQ(open1(other.c_str(), O_WRONLY | O_CREAT), EACCES);
  EXPECT_EQ(open1("/", O_RDONLY | O_DIRECTORY), EACCES);
  EXPECT_NE(access(other.c_str(), F_OK), 0);
  // Threads that start later are held, too.
  EXPECT_EQ(inChild([&] {
              RestrictFiles(path.c_str());
              pthread_t thread;
              void *result = nullptr;
              pthread_create(&thread, nullptr, [](void *) -> void * {
                return reinterpret_cast<void *>(static_cast<intptr_t>(errorOf(open("/etc/passwd", O_RDONLY))));
              }, nullptr);
              pthread_join(thread, &result);
              return static_cast<int>(reinterpret_cast<intptr_t>(result));
            }),
            EACCES);
}

TEST(Sandbox, NoNewPrivileges) {
  EXPECT_EQ(inChild([] {
              RestrictFiles(file().c_str());
              return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
            }),
            1);
}

TEST(Sandbox, NoOtherCalls) {
  auto call = [](const std::function<int()> &body) {
    return inChild([&] {
      RestrictFiles(file().c_str());
      return RestrictCalls() ? body() : 255;
    });
  };
  if (call([] { return 0; }) == 255) {
    GTEST_SKIP() << "this kernel has no seccomp filters";
  }
  EXPECT_EQ(call([] { return errorOf(socket(AF_INET, SOCK_STREAM, 0)); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(execl("/bin/true", "true", nullptr)); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(fork()); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(kill(getppid(), 0)); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(open(file().c_str(), O_WRONLY)); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(syscall(SYS_io_uring_setup, 8, nullptr)); }), EPERM);
  EXPECT_EQ(call([] { return errorOf(syscall(SYS_ptrace, 0, 0, 0, 0)); }), EPERM);
  // No memory becomes executable.
  EXPECT_EQ(call([] {
              void *at = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return at == MAP_FAILED ? errno : 0;
            }),
            EPERM);
  EXPECT_EQ(call([] {
              void *at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return at == MAP_FAILED ? 254 : errorOf(mprotect(at, 4096, PROT_READ | PROT_EXEC));
            }),
            EPERM);
  // Threads that are there already are held, too.
  EXPECT_EQ(inChild([] {
              static int ready[2], done[2];
              if (pipe(ready) != 0 || pipe(done) != 0) {
                return 254;
              }
              pthread_t thread;
              pthread_create(&thread, nullptr, [](void *) -> void * {
                char c;
                (void)!read(ready[0], &c, 1);
                char result = static_cast<char>(errorOf(socket(AF_INET, SOCK_STREAM, 0)));
                (void)!write(done[1], &result, 1);
                return nullptr;
              }, nullptr);
              RestrictFiles(file().c_str());
              RestrictCalls();
              char c = 0;
              (void)!write(ready[1], &c, 1);
              (void)!read(done[0], &c, 1);
              return static_cast<int>(c);
            }),
            EPERM);
}

TEST(Sandbox, WhatStays) {
  EXPECT_EQ(inChild([] {
              int before = open(file().c_str(), O_RDONLY);
              RestrictFiles(file().c_str());
              RestrictCalls();
              char text[8] = {};
              if (pread(before, text, 6, 0) != 6 || strcmp(text, "bundle") != 0) {
                return 1;
              }
              void *memory = malloc(1 << 20);
              if (memory == nullptr || isatty(0) > 1 || write(2, "", 0) != 0) {
                return 2;
              }
              free(memory);
              int again = open(file().c_str(), O_RDONLY);
              return again < 0 ? 3 : close(again);
            }),
            0);
}

} // namespace
} // namespace emoe::rt

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  int result = RUN_ALL_TESTS();
  unlink(emoe::rt::file().c_str());
  return result;
}
