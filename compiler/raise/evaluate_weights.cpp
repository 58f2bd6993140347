#include "compiler/raise/evaluate_weights.h"

#include "llvm/Support/Error.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;

namespace emoe {

WeightView WeightView::of(SourceAttr source, ArrayRef<int64_t> shape) {
  WeightView view;
  view.file = source.getFile();
  view.offset = source.getOffset();
  view.element = source.getElement();
  view.shape.assign(shape.begin(), shape.end());
  view.strides.assign(source.getStrides().begin(), source.getStrides().end());
  return view;
}

std::pair<int64_t, int64_t> WeightView::byteRange() const {
  int64_t last = 0;
  for (auto [extent, stride] : llvm::zip(shape, strides)) {
    if (extent == 0) {
      return {0, 0};
    }
    last += (extent - 1) * stride;
  }
  int64_t bits = storageBits(element);
  return {offset, offset + ((last + 1) * bits + 7) / 8};
}

//===----------------------------------------------------------------------===//
// Random values
//===----------------------------------------------------------------------===//

void ByteRanges::add(StringRef file, int64_t begin, int64_t end) {
  if (begin >= end) {
    return;
  }
  auto &ranges = files[file.str()];
  auto next = ranges.upper_bound(begin);
  if (next != ranges.begin() && std::prev(next)->second >= begin) {
    --next;
  }
  while (next != ranges.end() && next->first <= end) {
    begin = std::min(begin, next->first);
    end = std::max(end, next->second);
    next = ranges.erase(next);
  }
  ranges[begin] = end;
}

bool ByteRanges::overlaps(StringRef file, int64_t begin, int64_t end) const {
  auto ranges = files.find(std::string_view(file));
  if (ranges == files.end()) {
    return false;
  }
  auto next = ranges->second.lower_bound(end); // the first that begins at or after `end`
  return next != ranges->second.begin() && std::prev(next)->second > begin;
}

llvm::Error CountingWeights::read(const WeightView &view, double *out) {
  int64_t first = view.offset * 8 / std::max(1u, storageBits(view.element));
  view.walk([&](int64_t at) { *out++ = static_cast<double>(first + at); });
  return llvm::Error::success();
}

llvm::Error RandomWeights::read(const WeightView &view, double *out) {
  unsigned bits = storageBits(view.element);
  bool index = isa<IntegerType>(view.element) && (bits > 8 || view.element.isInteger(1));
  auto [begin, end] = view.byteRange();
  if (real && (index || (randomised && !randomised->overlaps(view.file.getValue(), begin, end)))) {
    return real->read(view, out);
  }
  if (bits == 0 || index) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), "a random value of this element type has no sense");
  }
  uint64_t salt = mixBits(seed);
  for (char c : view.file.getValue()) {
    salt = mixBits(salt ^ static_cast<uint8_t>(c));
  }
  int64_t firstBit = view.offset * 8;
  auto hashAt = [&](int64_t at) { return mixBits(salt ^ static_cast<uint64_t>(firstBit + at * bits)); };
  if (auto integer = dyn_cast<IntegerType>(view.element)) {
    int64_t low = integer.isUnsigned() ? 0 : -(int64_t(1) << (bits - 1));
    view.walk( [&](int64_t at) { *out++ = static_cast<double>(low + static_cast<int64_t>(hashAt(at) >> (64 - bits))); });
  } else {
    view.walk( [&](int64_t at) { *out++ = amplitude * unitOf(hashAt(at)); });
  }
  return llvm::Error::success();
}

} // namespace emoe
