// Grids: the evenly spaced levels that the codes of a format stand for.
#ifndef EMOE_COMPILER_BITWIDTH_GRID_H_
#define EMOE_COMPILER_BITWIDTH_GRID_H_

#include <cstdint>

namespace emoe {

// Code c in 0 .. levels - 1 stands for (low + c) * scale; columns [i * group, (i + 1) * group) of a row share a scale.
struct RoundingGrid {
  float low = 0;
  int levels = 0;
  int64_t group = 0;
  bool signedScale = false; // the grid has a level more on one side, so a negative scale may fit better

  float highest() const { return low + static_cast<float>(levels - 1); }

  // All 2^bits integers; eight bits leave out -128, as the kernels do.
  static RoundingGrid integer(unsigned bits, int64_t group) {
    return bits == 8 ? RoundingGrid{-127, 255, group}
                     : RoundingGrid{-static_cast<float>(1 << (bits - 1)), 1 << bits, group, true};
  }
  // 2^bits levels placed evenly about zero, which is none of them.
  static RoundingGrid centred(unsigned bits, int64_t group) {
    return {-static_cast<float>((1 << bits) - 1) / 2, 1 << bits, group};
  }
  static RoundingGrid ternary(int64_t group) { return {-1, 3, group}; }
};

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_GRID_H_
