// The one region that holds everything after start: mapped once, handed out front to back, released whole.
#ifndef EMOE_RUNTIME_MEMORY_ARENA_H_
#define EMOE_RUNTIME_MEMORY_ARENA_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

namespace emoe::rt {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;

  // Maps `bytes` of zeros. Pages count against memory once they are touched. kBudget if the system refuses.
  Status Map(uint64_t bytes);
  void Unmap();

  // The next `bytes`, aligned to `align` (a power of two <= 4096), or null if the arena is used up.
  void *Take(uint64_t bytes, uint64_t align);

  template <typename T>
  T *TakeArray(uint64_t count) {
    return count > UINT64_MAX / sizeof(T) ? nullptr
                                          : static_cast<T *>(Take(count * sizeof(T), alignof(T)));
  }

  uint64_t used() const { return used_; }
  uint64_t bytes() const { return bytes_; }
  char *base() const { return base_; }

  // Moves the mapping into `other`, which must be empty: the arena's owner can then live inside it.
  void MoveTo(Arena *other);

 private:
  char *base_ = nullptr;
  uint64_t bytes_ = 0, used_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_MEMORY_ARENA_H_
