#include "runtime/io/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include "runtime/io/file.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {
namespace {

constexpr size_t kBytes = 1 << 20;

struct File {
  std::string path;
  std::vector<char> bytes;
  FileProvider provider;
  Arena arena;
  File() : bytes(kBytes) {
    std::mt19937 random(1);
    for (char &byte : bytes) byte = static_cast<char>(random());
    char name[] = "emoe_reader_XXXXXX";
    int fd = mkstemp(name);
    path = name;
    if (write(fd, bytes.data(), kBytes) != static_cast<ssize_t>(kBytes)) abort();
    close(fd);
    if (!provider.Open(name).ok() || !arena.Map(4 << 20).ok()) abort();
  }
  ~File() {
    arena.Unmap();
    unlink(path.c_str());
  }
};

class BytesProvider : public Provider {
 public:
  explicit BytesProvider(const std::vector<char> &bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Status Read(uint64_t offset, void *out, size_t bytes) override {
    memcpy(out, bytes_.data() + offset, bytes);
    return OkStatus();
  }

 private:
  const std::vector<char> &bytes_;
};

void ReadManyAtOnce(File &file, Provider &provider, const ReaderOptions &options) {
  Reader *reader = nullptr;
  Status status = MakeReader(provider, options, &file.arena, &reader);
  if (options.io == IoMode::kUring && status.code == StatusCode::kUnsupported) GTEST_SKIP() << status.what;
  ASSERT_TRUE(status.ok()) << status.what;
  auto *out = static_cast<char *>(file.arena.Take(kReadDepth * 32768, 4096));
  std::mt19937 random(9);
  for (int round = 0; round < 30; ++round) {
    ReadRequest requests[kReadDepth];
    uint32_t count = random() % kReadDepth + 1;
    memset(out, 0, kReadDepth * 32768);
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t bytes = static_cast<uint32_t>(random() % 8 + 1) * 4096;
      requests[i] = {random() % ((kBytes - bytes) / 4096) * 4096, out + i * 32768, bytes, i};
      reader->Submit(requests[i]);
    }
    std::vector<bool> seen(count);
    while (reader->in_flight() != 0) {
      ReadDone done[kReadDepth];
      uint32_t ended = 0;
      if (random() % 2 == 0) {
        ended = reader->Poll(done);
      } else {
        ASSERT_TRUE(reader->Wait(done, &ended).ok());
        ASSERT_GT(ended, 0u);
      }
      for (uint32_t i = 0; i < ended; ++i) {
        ASSERT_TRUE(done[i].status.ok());
        ASSERT_FALSE(seen[done[i].tag]);
        seen[done[i].tag] = true;
        const ReadRequest &r = requests[done[i].tag];
        ASSERT_EQ(memcmp(r.out, file.bytes.data() + r.offset, r.bytes), 0);
      }
    }
    for (bool one : seen) ASSERT_TRUE(one);
    memset(out, 0, 4096);
    ASSERT_TRUE(reader->ReadAgain(requests[0]).ok());
    ASSERT_EQ(memcmp(out, file.bytes.data() + requests[0].offset, requests[0].bytes), 0);
  }
  ReadDone done[kReadDepth];
  uint32_t ended;
  EXPECT_EQ(reader->Wait(done, &ended).code, StatusCode::kInternal);
  EXPECT_EQ(reader->Poll(done), 0u);
  reader->Close();
}

TEST(Reader, Pread) {
  for (DirectMode direct : {DirectMode::kOff, DirectMode::kAuto}) {
    File file;
    ReaderOptions options;
    options.io = IoMode::kPread;
    options.direct = direct;
    ReadManyAtOnce(file, file.provider, options);
  }
}

TEST(Reader, Uring) {
  for (DirectMode direct : {DirectMode::kOff, DirectMode::kAuto}) {
    File file;
    ReaderOptions options;
    options.io = IoMode::kUring;
    options.direct = direct;
    ReadManyAtOnce(file, file.provider, options);
  }
}

TEST(Reader, FromMemory) {
  File file;
  BytesProvider provider(file.bytes);
  ReadManyAtOnce(file, provider, {});
  ReaderOptions options;
  options.io = IoMode::kUring;
  Reader *reader = nullptr;
  EXPECT_EQ(MakeReader(provider, options, &file.arena, &reader).code, StatusCode::kUnsupported);
}

TEST(Reader, DirectReadsThatLieAreNotUsed) {
  static int direct_fd;
  Syscalls calls = kSyscalls;
  calls.open = [](const char *path, int flags) { return direct_fd = open(path, flags & ~O_DIRECT); };
  calls.pread = [](int fd, void *out, size_t bytes, uint64_t offset) -> ssize_t {
    ssize_t got = pread(fd, out, bytes, static_cast<off_t>(offset));
    if (fd == direct_fd) static_cast<char *>(out)[5] ^= 1;
    return got;
  };
  File file;
  ReaderOptions options;
  options.calls = &calls;
  options.io = IoMode::kPread;
  Reader *reader = nullptr;
  ASSERT_TRUE(MakeReader(file.provider, options, &file.arena, &reader).ok());
  EXPECT_FALSE(reader->direct());
  reader->Close();
  options.direct = DirectMode::kOn;
  EXPECT_EQ(MakeReader(file.provider, options, &file.arena, &reader).code, StatusCode::kUnsupported);
  calls.open = [](const char *, int) {
    errno = EINVAL;
    return -1;
  };
  EXPECT_EQ(MakeReader(file.provider, options, &file.arena, &reader).code, StatusCode::kUnsupported);
}

TEST(Reader, FallsBackToThreadsWithoutUring) {
  Syscalls calls = kSyscalls;
  calls.uring_setup = [](uint32_t, io_uring_params *) {
    errno = EPERM;
    return -1;
  };
  File file;
  ReaderOptions options;
  options.calls = &calls;
  Reader *reader = nullptr;
  ASSERT_TRUE(MakeReader(file.provider, options, &file.arena, &reader).ok());
  EXPECT_STREQ(reader->name(), "pread");
  reader->Close();
  options.io = IoMode::kUring;
  EXPECT_EQ(MakeReader(file.provider, options, &file.arena, &reader).code, StatusCode::kUnsupported);
}

TEST(File, EndsAndErrorsAreNamed) {
  File file;
  char out[100];
  Status status = file.provider.Read(kBytes - 50, out, 100);
  EXPECT_EQ(status.code, StatusCode::kIo);
  EXPECT_EQ(status.detail, kBytes);
  FileProvider other;
  EXPECT_EQ(other.Open("/nonexistent").detail2, uint64_t{ENOENT});
  EXPECT_EQ(other.Open("/").code, StatusCode::kIo);
  EXPECT_EQ(file.provider.size(), kBytes);
}

}  // namespace
}  // namespace emoe::rt
