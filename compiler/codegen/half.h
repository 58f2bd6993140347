// The 16-bit float types on the host: bits to float32 (exact) and back (to nearest, ties to even).
#ifndef EMOE_COMPILER_CODEGEN_HALF_H_
#define EMOE_COMPILER_CODEGEN_HALF_H_

#include <cstdint>
#include <cstring>

namespace emoe {

inline uint32_t floatBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float bf16ToFloat(uint16_t half) { return bitsToFloat(static_cast<uint32_t>(half) << 16); }

// Finite values beyond the largest bf16 become infinite.
inline uint16_t floatToBf16(float value) {
  uint32_t bits = floatBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// A half's exponent and mantissa, moved to their place in a float, stand for the value times 2^-112.
inline float halfToFloat(uint16_t half) {
  uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  if (magnitude >= 0x0f800000) { // infinite or NaN
    return bitsToFloat(sign | 0x70000000 | magnitude);
  }
  return bitsToFloat(sign | floatBits(bitsToFloat(magnitude) * 0x1p112f));
}

// Finite values that round beyond 65504 become infinite.
inline uint16_t floatToHalf(float value) {
  uint32_t bits = floatBits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) {
    return static_cast<uint16_t>(sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0));
  }
  if (magnitude < 0x38800000) { // subnormal or zero: adding 0.5 aligns 2^-24 with the float's last bit
    return static_cast<uint16_t>(sign | (floatBits(bitsToFloat(magnitude) + 0.5f) - 0x3f000000));
  }
  uint32_t rounded = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  return static_cast<uint16_t>(sign | (rounded > 0x7c00 ? 0x7c00 : rounded));
}

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_HALF_H_
