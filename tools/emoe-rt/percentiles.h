// Percentiles of durations in fixed memory: counts in steps of 1/32 of an octave, so a value is off by 1.6 % at most.
#ifndef EMOE_TOOLS_EMOE_RT_PERCENTILES_H_
#define EMOE_TOOLS_EMOE_RT_PERCENTILES_H_

#include <stdint.h>

namespace emoe::rt {

class Percentiles {
 public:
  void Add(uint64_t nanoseconds) {
    ++counts_[PlaceOf(nanoseconds)];
    ++total_;
  }
  void Merge(const Percentiles &other) {
    for (uint32_t place = 0; place < kPlaces; ++place) counts_[place] += other.counts_[place];
    total_ += other.total_;
  }
  // The value, in milliseconds, that a share of `p` of all is at or below; 0 if there are none.
  double Milliseconds(double p) const {
    double rank = p * static_cast<double>(total_), seen = 0;
    for (uint32_t place = 0; place < kPlaces && total_ != 0; ++place) {
      seen += counts_[place];
      if (counts_[place] != 0 && seen >= rank) return ValueOf(place) / 1e6;
    }
    return 0;
  }

 private:
  static constexpr uint32_t kParts = 32, kOctaves = 44, kPlaces = kParts * kOctaves;

  static uint32_t PlaceOf(uint64_t value) {
    if (value < kParts) return static_cast<uint32_t>(value);
    uint32_t octave = 63u - static_cast<uint32_t>(__builtin_clzll(value));  // >= 5
    uint32_t place = (octave - 4) * kParts + static_cast<uint32_t>((value >> (octave - 5)) - kParts);
    return place < kPlaces ? place : kPlaces - 1;
  }
  // The middle of a place's values.
  static double ValueOf(uint32_t place) {
    if (place < kParts) return place;
    uint32_t octave = place / kParts + 4;
    return (static_cast<double>(place % kParts + kParts) + 0.5) * static_cast<double>(1ull << (octave - 5));
  }

  uint32_t counts_[kPlaces] = {};
  uint64_t total_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_PERCENTILES_H_
