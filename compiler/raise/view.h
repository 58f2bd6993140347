// A strided view of a tensor of the file: transposes, reshapes and slices of weights change the view, never data.
#ifndef EMOE_COMPILER_RAISE_VIEW_H_
#define EMOE_COMPILER_RAISE_VIEW_H_

#include <cstdint>
#include <optional>

#include "dialects/emoe/emoe.h"

namespace emoe {

// Element (i0, i1, ...) is at element index `first` + sum of i * stride after `source`'s offset.
struct TensorView {
  SourceAttr source;
  int64_t first = 0;
  llvm::SmallVector<int64_t, 4> extents, strides;

  int64_t elements() const;
  TensorView permuted(llvm::ArrayRef<int64_t> order) const;
  // Indices start, start + step, ... (`count` of them) along `axis`.
  TensorView sliced(int64_t axis, int64_t start, int64_t count, int64_t step = 1) const;
  TensorView selected(int64_t axis, int64_t index) const;  // drops the axis
  // The view under other extents with as many elements, if strides can express it.
  std::optional<TensorView> reshaped(llvm::ArrayRef<int64_t> newExtents) const;
  // The source attribute of this view, whose offset (bytes) and strides say all. Sub-byte elements must start at a
  // byte; null if they do not.
  SourceAttr toSource() const;
};

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_VIEW_H_
