// Weight values as the model's files have them.
#include <cmath>
#include <cstring>
#include <functional>

#include "compiler/raise/evaluate_weights.h"
#include "dialects/onnx/onnx.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/Error.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;

namespace emoe {

// A decoder of bit patterns of `element`; null if there is none.
static std::function<double(uint64_t)> decoderOf(Type element) {
  unsigned bits = storageBits(element);
  if (element.isF32()) {
    return [](uint64_t pattern) {
      uint32_t narrow = static_cast<uint32_t>(pattern);
      float value;
      std::memcpy(&value, &narrow, sizeof(value));
      return static_cast<double>(value);
    };
  }
  if (isa<onnx::Float4E2M1Type>(element)) {
    return [](uint64_t pattern) {
      static constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
      return (pattern & 8 ? -1 : 1) * kMagnitudes[pattern & 7];
    };
  }
  if (isa<onnx::Float8E8M0Type>(element)) {
    return [](uint64_t pattern) { return pattern == 255 ? NAN : std::ldexp(1.0, static_cast<int>(pattern) - 127); };
  }
  if (auto type = dyn_cast<mlir::FloatType>(element)) {
    return [&semantics = type.getFloatSemantics(), bits](uint64_t pattern) {
      llvm::APFloat value(semantics, llvm::APInt(bits, pattern));
      bool lost;
      value.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &lost);
      return value.convertToDouble();
    };
  }
  if (auto type = dyn_cast<IntegerType>(element)) {
    if (type.isUnsigned() || type.getWidth() == 1) {
      return [](uint64_t pattern) { return static_cast<double>(pattern); };
    }
    return [bits](uint64_t pattern) {
      return static_cast<double>(static_cast<int64_t>(pattern << (64 - bits)) >> (64 - bits));
    };
  }
  return nullptr;
}

llvm::Error RealWeights::read(const WeightView &view, double *out) {
  std::string_view file(view.file.getValue().data(), view.file.getValue().size());
  if (store.quantised(file)) {
    // The store decodes it.
    std::vector<int64_t> shape(view.shape.begin(), view.shape.end());
    int64_t count = 1;
    for (int64_t extent : shape) {
      count *= extent;
    }
    std::vector<float> values(count);
    auto source = SourceAttr::get(view.file.getContext(), view.file, view.offset, view.element, view.strides);
    if (absl::Status status = store.readTensor(source, shape, values.data()); !status.ok()) {
      return llvm::createStringError(llvm::inconvertibleErrorCode(), std::string(status.message()));
    }
    std::copy(values.begin(), values.end(), out);
    return llvm::Error::success();
  }
  auto bytes = store.bytes(file);
  if (!bytes.ok()) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), std::string(bytes.status().message()));
  }
  auto [begin, end] = view.byteRange();
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > bytes->size()) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                   "bytes [%lld, %lld) lie outside '%s' of %llu bytes", (long long)begin,
                                   (long long)end, view.file.getValue().str().c_str(),
                                   (unsigned long long)bytes->size());
  }
  unsigned bits = storageBits(view.element);
  auto decode = decoderOf(view.element);
  if (!decode) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), "values of this element type are not readable");
  }
  const uint8_t *base = bytes->data() + view.offset;
  view.walk( [&](int64_t at) {
    uint64_t pattern = 0;
    if (bits >= 8) {
      std::memcpy(&pattern, base + at * (bits / 8), bits / 8);
    } else {
      int64_t bit = at * bits;
      pattern = (base[bit / 8] >> (bit % 8)) & ((1u << bits) - 1);
    }
    *out++ = decode(pattern);
  });
  return llvm::Error::success();
}


} // namespace emoe
