// Nothing is allocated while tokens are computed.
#include <gtest/gtest.h>

#include <atomic>

#include "test/runtime/engine/fake_model.h"

extern "C" void *__libc_malloc(size_t);
extern "C" void *__libc_calloc(size_t, size_t);
extern "C" void *__libc_realloc(void *, size_t);

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
void Count() {
  if (counting) ++allocations;
}
}  // namespace

extern "C" void *malloc(size_t bytes) {
  Count();
  return __libc_malloc(bytes);
}
extern "C" void *calloc(size_t count, size_t bytes) {
  Count();
  return __libc_calloc(count, bytes);
}
extern "C" void *realloc(void *old, size_t bytes) {
  Count();
  return __libc_realloc(old, bytes);
}

namespace emoe::rt {
namespace {

using namespace fake;

TEST(Allocation, NonePerToken) {
  counting = true;
  free(malloc(10));  // the hook works
  counting = false;
  ASSERT_EQ(allocations, 1);
  for (IoMode io : {IoMode::kAuto, IoMode::kPread}) {
    Model model(kSyscalls, 12 * 1024, true);
    SessionOptions options = Options(3, 4);
    options.io = io;
    options.memory.all_logits = false;
    options.memory.budget = Floor(model, options);
    Status status;
    SessionPtr session = Make(model, options, &status);
    ASSERT_TRUE(status.ok());
    ASSERT_NE(session->plan().panels, 0u);
    std::vector<int32_t> tokens = Tokens(20);
    allocations = 0;
    counting = true;
    status = session->Forward(tokens.data(), 10, Want::kLast);
    for (int i = 10; i < 20 && status.ok(); ++i) status = session->Forward(&tokens[i], 1, Want::kLast);
    counting = false;
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(allocations, 0);
  }
}

}  // namespace
}  // namespace emoe::rt
