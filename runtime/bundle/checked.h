// Arithmetic on numbers that came from a file: never a bare + or *.
#ifndef EMOE_RUNTIME_BUNDLE_CHECKED_H_
#define EMOE_RUNTIME_BUNDLE_CHECKED_H_

#include <stdint.h>

namespace emoe::rt {

// Each returns false, and leaves *out unspecified, if the result does not fit 64 bits.
[[nodiscard]] inline bool CheckedAdd(uint64_t a, uint64_t b, uint64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
[[nodiscard]] inline bool CheckedMul(uint64_t a, uint64_t b, uint64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
// `unit` is a power of two.
[[nodiscard]] inline bool CheckedRoundUp(uint64_t a, uint64_t unit, uint64_t *out) {
  if (!CheckedAdd(a, unit - 1, out)) return false;
  *out &= ~(unit - 1);
  return true;
}
// Whether [offset, offset + bytes) lies in [0, end).
[[nodiscard]] inline bool FitsIn(uint64_t offset, uint64_t bytes, uint64_t end) {
  return offset <= end && bytes <= end - offset;
}

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_CHECKED_H_
