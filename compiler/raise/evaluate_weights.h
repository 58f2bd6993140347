// Values of weights for the evaluator: as the files have them, or random by location.
#ifndef EMOE_COMPILER_RAISE_EVALUATE_WEIGHTS_H_
#define EMOE_COMPILER_RAISE_EVALUATE_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "frontends/weights.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Types.h"
#include "mlir/Support/LLVM.h"

namespace emoe {

// A strided view of a file, of any rank: element [i...] is at byte offset + (sum of i * stride) * width; sub-byte
// types are packed low bits first.
struct WeightView {
  mlir::StringAttr file;
  int64_t offset = 0; // bytes
  mlir::Type element;
  llvm::SmallVector<int64_t, 4> shape, strides; // elements

  static WeightView of(SourceAttr source, llvm::ArrayRef<int64_t> shape);
  // First byte and one past the last byte that the view touches; {0, 0} if it has no elements.
  std::pair<int64_t, int64_t> byteRange() const;
  // Calls body(index, counted in elements from `offset`) for each element in row-major order.
  template <typename Body> void walk(Body &&body) const;
};

class WeightSource {
public:
  virtual ~WeightSource() = default;
  // Writes the view's elements, row-major, to `out`; fails with a reason if they cannot be had.
  virtual llvm::Error read(const WeightView &view, double *out) = 0;
};

// The values in the model's files.
class RealWeights : public WeightSource {
public:
  explicit RealWeights(const WeightStore &store) : store(store) {}
  llvm::Error read(const WeightView &view, double *out) override;

private:
  const WeightStore &store;
};

// Byte ranges of files.
class ByteRanges {
public:
  void add(llvm::StringRef file, int64_t begin, int64_t end);
  bool overlaps(llvm::StringRef file, int64_t begin, int64_t end) const;

private:
  std::map<std::string, std::map<int64_t, int64_t>, std::less<>> files; // begin -> end, disjoint, merged
};

// A value that depends on the seed, the file and the bit address alone: two views agree exactly where they name the
// same bytes, whatever their strides, so a computation that reads the wrong expert, or a transposed one, shows.
// Floats are uniform in [-amplitude, amplitude); integers of at most 8 bits are random bits. What lies outside
// `randomised` (if given), and wider integers (they are indices), keep their real values if there are any.
class RandomWeights : public WeightSource {
public:
  RandomWeights(uint64_t seed, double amplitude, WeightSource *real = nullptr, const ByteRanges *randomised = nullptr)
      : seed(seed), amplitude(amplitude), real(real), randomised(randomised) {}
  llvm::Error read(const WeightView &view, double *out) override;

private:
  uint64_t seed;
  double amplitude;
  WeightSource *real;
  const ByteRanges *randomised;
};

// Each element is its own index in the file: weights for tests whose results are worked out by hand.
class CountingWeights : public WeightSource {
public:
  llvm::Error read(const WeightView &view, double *out) override;
};

// A 64-bit mix (splitmix64's finaliser) for reproducible random values.
inline uint64_t mixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in [-1, 1).
inline double unitOf(uint64_t bits) { return static_cast<double>(static_cast<int64_t>(bits)) * 0x1p-63; }

template <typename Body> void WeightView::walk(Body &&body) const {
  for (int64_t extent : shape) {
    if (extent == 0) {
      return;
    }
  }
  size_t rank = shape.size();
  int64_t inner = rank ? shape.back() : 1, step = rank ? strides.back() : 1;
  llvm::SmallVector<int64_t, 4> index(rank, 0);
  for (int64_t at = 0;;) {
    for (int64_t i = 0; i < inner; ++i) {
      body(at + i * step);
    }
    int64_t axis = static_cast<int64_t>(rank) - 2;
    for (; axis >= 0; --axis) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) {
        break;
      }
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
    if (axis < 0) {
      return;
    }
  }
}

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_EVALUATE_WEIGHTS_H_
