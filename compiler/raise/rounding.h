// How exactly stored numbers can say what they mean.
#ifndef EMOE_COMPILER_RAISE_ROUNDING_H_
#define EMOE_COMPILER_RAISE_ROUNDING_H_

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emoe {

// Half a unit in the last place, relative, of the narrowest float type that holds all of these: tables of 16-bit floats
// are also stored as float32. Numbers below float16's normal range do not count.
template <typename Range> double roundingOfValues(const Range &values) {
  uint32_t digits = 0;
  for (auto each : values) {
    const auto value = static_cast<float>(each);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    digits |= std::abs(value) < 0x1p-14f ? 0 : bits & 0x7fffff;
  }
  return digits & 0x1fff ? 0x1p-24 : digits & 0xffff ? 0x1p-11 : 0x1p-8;
}

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_ROUNDING_H_
