// Small dense tensors on which the evaluator computes: float64 for every float type, int64 for integers and booleans.
#ifndef EMOE_COMPILER_RAISE_EVALUATE_TENSOR_H_
#define EMOE_COMPILER_RAISE_EVALUATE_TENSOR_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "compiler/raise/evaluate_weights.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Types.h"

namespace emoe {

using Dims = llvm::SmallVector<int64_t, 6>;

// Elements of a tensor are limited, so that a damaged model cannot ask for all memory: 2^26 elements are 512 MiB.
constexpr int64_t kMaxElements = int64_t(1) << 26;

// Product of extents; nullopt if one is negative or the product exceeds kMaxElements.
std::optional<int64_t> countElements(llvm::ArrayRef<int64_t> shape);

// Row-major strides in elements.
Dims stridesOf(llvm::ArrayRef<int64_t> shape);

// A value. Data is immutable and shared, so copies and reshapes are cheap. A tensor that still lies in a weight file
// is a `view`: it has no data until the evaluator reads it. With `slices` it is slices of the view's first axis, one for each
// index of the tensor's leading axes, row-major: gathered experts of real models do not fit in memory all at once.
struct Tensor {
  enum class Kind { Float, Int, Bool };

  Kind kind = Kind::Float;
  Dims shape;
  std::shared_ptr<const std::vector<double>> floats; // Kind::Float
  std::shared_ptr<const std::vector<int64_t>> ints;  // Kind::Int, Kind::Bool (0 or 1)
  std::optional<WeightView> view;
  std::shared_ptr<const std::vector<int64_t>> slices;

  static Tensor of(Dims shape, std::vector<double> values);
  static Tensor of(Dims shape, std::vector<int64_t> values, Kind kind = Kind::Int);
  static Kind kindOf(mlir::Type element);

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t size() const; // number of elements
  const double *f() const { return floats->data(); }
  const int64_t *i() const { return ints->data(); }
  double at(int64_t index) const { return kind == Kind::Float ? f()[index] : static_cast<double>(i()[index]); }

  // The same elements (of a tensor with data) under another shape of as many elements.
  Tensor reshaped(Dims newShape) const;
  // The elements at `from`, in that order, under `newShape`; every index must be valid.
  Tensor take(Dims newShape, llvm::ArrayRef<int64_t> from) const;
};

// The shape that NumPy's broadcasting gives; nullopt if `a` and `b` do not fit.
std::optional<Dims> broadcastShapes(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);

// Strides with which a tensor of `shape` is read under the broadcast shape `out`: 0 along repeated axes.
Dims broadcastStrides(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> out);

// Calls body(offsets) for each index of `shape` in row-major order; offsets[n] = sum of index * strides[n].
template <size_t N, typename Body>
void walk(llvm::ArrayRef<int64_t> shape, const std::array<Dims, N> &strides, Body &&body) {
  for (int64_t extent : shape) {
    if (extent == 0) {
      return;
    }
  }
  Dims index(shape.size(), 0);
  std::array<int64_t, N> offsets{};
  for (;;) {
    body(offsets);
    int64_t axis = static_cast<int64_t>(shape.size()) - 1;
    for (; axis >= 0; --axis) {
      for (size_t n = 0; n < N; ++n) {
        offsets[n] += strides[n][axis];
      }
      if (++index[axis] < shape[axis]) {
        break;
      }
      for (size_t n = 0; n < N; ++n) {
        offsets[n] -= strides[n][axis] * shape[axis];
      }
      index[axis] = 0;
    }
    if (axis < 0) {
      return;
    }
  }
}

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_EVALUATE_TENSOR_H_
