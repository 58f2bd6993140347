#include "runtime/memory/arena.h"

#include <sys/mman.h>

namespace emoe::rt {

Status Arena::Map(uint64_t bytes) {
  void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return Error(StatusCode::kBudget, "the system refuses to map the memory (bytes)", bytes);
  }
  base_ = static_cast<char *>(base);
  bytes_ = bytes;
  used_ = 0;
  return OkStatus();
}

void Arena::Unmap() {
  if (base_ != nullptr) munmap(base_, bytes_);
  base_ = nullptr;
  bytes_ = used_ = 0;
}

void *Arena::Take(uint64_t bytes, uint64_t align) {
  uint64_t start = (used_ + align - 1) & ~(align - 1);
  if (base_ == nullptr || start > bytes_ || bytes > bytes_ - start) return nullptr;
  used_ = start + bytes;
  return base_ + start;
}

void Arena::MoveTo(Arena *other) {
  other->base_ = base_;
  other->bytes_ = bytes_;
  other->used_ = used_;
  base_ = nullptr;
  bytes_ = used_ = 0;
}

}  // namespace emoe::rt
