#include "compiler/raise/evaluate_tensor.h"

#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;

namespace emoe {

std::optional<int64_t> countElements(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (extent < 0 || extent > kMaxElements) {
      return std::nullopt;
    }
    count *= extent;
    if (count > kMaxElements) {
      return std::nullopt;
    }
  }
  return count;
}

Dims stridesOf(ArrayRef<int64_t> shape) {
  Dims strides(shape.size(), 1);
  for (int64_t axis = static_cast<int64_t>(shape.size()) - 2; axis >= 0; --axis) {
    strides[axis] = strides[axis + 1] * shape[axis + 1];
  }
  return strides;
}

Tensor Tensor::of(Dims shape, std::vector<double> values) {
  Tensor tensor;
  tensor.shape = std::move(shape);
  tensor.floats = std::make_shared<const std::vector<double>>(std::move(values));
  return tensor;
}

Tensor Tensor::of(Dims shape, std::vector<int64_t> values, Kind kind) {
  Tensor tensor;
  tensor.kind = kind;
  tensor.shape = std::move(shape);
  tensor.ints = std::make_shared<const std::vector<int64_t>>(std::move(values));
  return tensor;
}

Tensor::Kind Tensor::kindOf(Type element) {
  return element.isInteger(1) ? Kind::Bool : isa<IntegerType>(element) ? Kind::Int : Kind::Float;
}

int64_t Tensor::size() const {
  int64_t count = 1;
  for (int64_t extent : shape) {
    count *= extent;
  }
  return count;
}

Tensor Tensor::reshaped(Dims newShape) const {
  Tensor result = *this;
  result.shape = std::move(newShape);
  return result;
}

Tensor Tensor::take(Dims newShape, ArrayRef<int64_t> from) const {
  if (kind == Kind::Float) {
    std::vector<double> values;
    values.reserve(from.size());
    for (int64_t index : from) {
      values.push_back(f()[index]);
    }
    return of(std::move(newShape), std::move(values));
  }
  std::vector<int64_t> values;
  values.reserve(from.size());
  for (int64_t index : from) {
    values.push_back(i()[index]);
  }
  return of(std::move(newShape), std::move(values), kind);
}

std::optional<Dims> broadcastShapes(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  Dims out(std::max(a.size(), b.size()), 1);
  for (size_t n = 0; n < out.size(); ++n) {
    int64_t left = n < a.size() ? a[a.size() - 1 - n] : 1, right = n < b.size() ? b[b.size() - 1 - n] : 1;
    if (left != right && left != 1 && right != 1) {
      return std::nullopt;
    }
    out[out.size() - 1 - n] = left == 1 ? right : left;
  }
  return countElements(out) ? std::optional(out) : std::nullopt;
}

Dims broadcastStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> out) {
  Dims strides(out.size(), 0), own = stridesOf(shape);
  size_t missing = out.size() - shape.size();
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    strides[axis + missing] = shape[axis] == 1 ? 0 : own[axis];
  }
  return strides;
}

} // namespace emoe
