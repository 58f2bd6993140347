#include "compiler/raise/view.h"

#include <algorithm>

namespace emoe {

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t extent : extents) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      return 0; // no weight's
    }
  }
  return count;
}

TensorView TensorView::permuted(llvm::ArrayRef<int64_t> order) const {
  TensorView view{source, first, {}, {}};
  for (int64_t axis : order) {
    view.extents.push_back(extents[axis]);
    view.strides.push_back(strides[axis]);
  }
  return view;
}

TensorView TensorView::sliced(int64_t axis, int64_t start, int64_t count, int64_t step) const {
  TensorView view = *this;
  view.first += start * strides[axis];
  view.extents[axis] = count;
  view.strides[axis] *= step;
  return view;
}

TensorView TensorView::selected(int64_t axis, int64_t index) const {
  TensorView view = sliced(axis, index, 1);
  view.extents.erase(view.extents.begin() + axis);
  view.strides.erase(view.strides.begin() + axis);
  return view;
}

// Both shapes are cut into the shortest runs of axes with equal volume; a run can be reshaped if its old axes lie
// without gaps in each other.
std::optional<TensorView> TensorView::reshaped(llvm::ArrayRef<int64_t> newExtents) const {
  TensorView view{source, first, llvm::SmallVector<int64_t, 4>(newExtents), {}};
  if (view.elements() != elements() || elements() == 0) {
    return std::nullopt;
  }
  llvm::SmallVector<int64_t, 4> oldExtents, oldStrides;
  for (size_t axis = 0; axis < extents.size(); ++axis) {
    if (extents[axis] != 1) {
      oldExtents.push_back(extents[axis]);
      oldStrides.push_back(strides[axis]);
    }
  }
  view.strides.assign(newExtents.size(), 1);
  size_t oldAxis = 0, newAxis = 0;
  while (newAxis < newExtents.size()) {
    if (newExtents[newAxis] == 1) {
      ++newAxis;
      continue;
    }
    size_t oldEnd = oldAxis + 1, newEnd = newAxis + 1;
    int64_t oldVolume = oldExtents[oldAxis], newVolume = newExtents[newAxis];
    while (oldVolume != newVolume) {
      if (oldVolume < newVolume) {
        if (oldStrides[oldEnd - 1] != oldExtents[oldEnd] * oldStrides[oldEnd]) {
          return std::nullopt;
        }
        oldVolume *= oldExtents[oldEnd++];
      } else {
        newVolume *= newExtents[newEnd++];
      }
    }
    int64_t stride = oldStrides[oldEnd - 1];
    for (size_t axis = newEnd; axis-- > newAxis;) {
      view.strides[axis] = stride;
      stride *= newExtents[axis];
    }
    oldAxis = oldEnd;
    newAxis = newEnd;
  }
  return view;
}

SourceAttr TensorView::toSource() const {
  int64_t bits = source.getElement().isIntOrFloat() ? source.getElement().getIntOrFloatBitWidth() : 8;
  if (first * bits % 8 != 0) {
    return {};
  }
  return SourceAttr::get(source.getContext(), source.getFile(), source.getOffset() + first * bits / 8,
                         source.getElement(), strides);
}

} // namespace emoe
