// Evaluation of ops that choose elements by index: gathers, scatters, TopK and the like.
#include <cmath>
#include <numeric>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;

static int64_t product(ArrayRef<int64_t> extents) {
  return std::accumulate(extents.begin(), extents.end(), int64_t(1), std::multiplies<int64_t>());
}

// `indices` as numbers in [0, extent), negative ones counted from the end.
static FailureOr<std::vector<int64_t>> indicesOf(Operation *op, const Tensor &indices, int64_t extent) {
  if (indices.kind == Kind::Float) {
    return op->emitOpError("needs integers as indices");
  }
  std::vector<int64_t> result(*indices.ints);
  for (int64_t &index : result) {
    if (index < -extent || index >= extent) {
      return op->emitOpError("index ") << index << " is outside an extent of " << extent;
    }
    index += index < 0 ? extent : 0;
  }
  return result;
}

// The slices data[index] of the first axis, joined to shape [indices..., slice...]. Of a view they are read later: a token
// needs few of the experts that are stacked in a weight.
static FailureOr<Tensor> takeSlices(Operation *op, const Tensor &data, std::vector<int64_t> indices,
                                    ArrayRef<int64_t> indicesShape) {
  ArrayRef<int64_t> slice = ArrayRef<int64_t>(data.shape).drop_front();
  Dims shape(indicesShape.begin(), indicesShape.end());
  shape.append(slice.begin(), slice.end());
  if (data.view) {
    Tensor taken = data;
    taken.shape = shape;
    taken.slices = std::make_shared<const std::vector<int64_t>>(std::move(indices));
    return taken;
  }
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  int64_t run = product(slice);
  std::vector<int64_t> from;
  from.reserve(indices.size() * run);
  for (int64_t index : indices) {
    for (int64_t n = 0; n < run; ++n) {
      from.push_back(index * run + n);
    }
  }
  return data.take(shape, from);
}

// An operand of an op that looks at views, read in any case.
static FailureOr<Tensor> readWhole(Operation *op, Evaluator &e, Value operand) { return e.read(op, e.get(operand)); }

// An operand whose slices can be taken: data, or a whole view.
static FailureOr<Tensor> sliceable(Operation *op, Evaluator &e, Value operand) {
  Tensor tensor = e.get(operand);
  return tensor.slices ? e.read(op, tensor) : FailureOr<Tensor>(tensor);
}

static LogicalResult evaluateGather(onnx::GatherOp op, Evaluator &e) {
  FailureOr<Tensor> data = sliceable(op, e, op.getData()), indices = readWhole(op, e, op.getIndices());
  if (failed(data) || failed(indices)) {
    return failure();
  }
  auto axis = axisOf(op, op.getAxis(), data->rank());
  if (failed(axis)) {
    return failure();
  }
  auto at = indicesOf(op, *indices, data->shape[*axis]);
  if (failed(at)) {
    return failure();
  }
  if (*axis == 0) {
    auto taken = takeSlices(op, *data, std::move(*at), indices->shape);
    if (failed(taken)) {
      return failure();
    }
    e.set(op.getOutput(), *taken);
    return success();
  }
  data = readWhole(op, e, op.getData());
  if (failed(data)) {
    return failure();
  }
  ArrayRef<int64_t> all(data->shape);
  Dims shape(all.take_front(*axis));
  shape.append(indices->shape.begin(), indices->shape.end());
  llvm::append_range(shape, all.drop_front(*axis + 1));
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  int64_t outer = product(all.take_front(*axis)), inner = product(all.drop_front(*axis + 1)), extent = all[*axis];
  std::vector<int64_t> from;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t index : *at) {
      for (int64_t n = 0; n < inner; ++n) {
        from.push_back((o * extent + index) * inner + n);
      }
    }
  }
  e.set(op.getOutput(), data->take(shape, from));
  return success();
}

// Where each element of `indices` points in `data`, both walked as GatherElements and ScatterElements do: the index
// replaces the coordinate along `axis`.
static FailureOr<std::vector<int64_t>> elementPlaces(Operation *op, const Tensor &data, const Tensor &indices,
                                                     int64_t axisAttribute) {
  auto axis = axisOf(op, axisAttribute, data.rank());
  if (failed(axis)) {
    return failure();
  }
  bool fits = indices.rank() == data.rank();
  for (int64_t a = 0; fits && a < data.rank(); ++a) {
    fits = a == *axis || indices.shape[a] <= data.shape[a];
  }
  if (!fits) {
    return op->emitOpError("has indices that do not fit its data");
  }
  auto at = indicesOf(op, indices, data.shape[*axis]);
  if (failed(at)) {
    return failure();
  }
  Dims strides = stridesOf(data.shape), others = strides;
  others[*axis] = 0;
  std::vector<int64_t> places;
  walk<1>(indices.shape, {others}, [&](const std::array<int64_t, 1> &offset) {
    places.push_back(offset[0] + (*at)[places.size()] * strides[*axis]);
  });
  return places;
}

static LogicalResult evaluateGatherElements(onnx::GatherElementsOp op, Evaluator &e) {
  Tensor data = e.get(op.getData()), indices = e.get(op.getIndices());
  auto places = elementPlaces(op, data, indices, op.getAxis());
  if (failed(places)) {
    return failure();
  }
  e.set(op.getOutput(), data.take(indices.shape, *places));
  return success();
}

// Where the slices that the last axis of `indices` names begin in `data`, whose first `batch` axes run along.
static FailureOr<std::vector<int64_t>> slicePlaces(Operation *op, ArrayRef<int64_t> data, const Tensor &indices,
                                                   int64_t batch) {
  int64_t rank = static_cast<int64_t>(data.size()), depth = indices.rank() ? indices.shape.back() : 0;
  if (batch < 0 || indices.rank() <= batch || depth < 1 || batch + depth > rank ||
      data.take_front(batch) != ArrayRef<int64_t>(indices.shape).take_front(batch) || indices.kind == Kind::Float) {
    return op->emitOpError("has indices that do not fit its data");
  }
  Dims strides = stridesOf(data);
  int64_t count = product(ArrayRef<int64_t>(indices.shape).drop_back());
  int64_t batches = product(data.take_front(batch)), perBatch = batches ? count / batches : 0;
  int64_t batchStride = product(data.drop_front(batch));
  std::vector<int64_t> places(count);
  for (int64_t n = 0; n < count; ++n) {
    places[n] = n / perBatch * batchStride;
    for (int64_t d = 0; d < depth; ++d) {
      int64_t index = indices.i()[n * depth + d], extent = data[batch + d];
      if (index < -extent || index >= extent) {
        return op->emitOpError("index ") << index << " is outside an extent of " << extent;
      }
      places[n] += (index < 0 ? index + extent : index) * strides[batch + d];
    }
  }
  return places;
}

static LogicalResult evaluateGatherND(onnx::GatherNDOp op, Evaluator &e) {
  FailureOr<Tensor> data = sliceable(op, e, op.getData()), indices = readWhole(op, e, op.getIndices());
  if (failed(data) || failed(indices)) {
    return failure();
  }
  int64_t batch = op.getBatchDims(), depth = indices->rank() ? indices->shape.back() : 0;
  auto places = slicePlaces(op, data->shape, *indices, batch);
  if (failed(places)) {
    return failure();
  }
  ArrayRef<int64_t> outer = ArrayRef<int64_t>(indices->shape).drop_back();
  if (data->view && batch == 0 && depth == 1) {
    int64_t run = product(ArrayRef<int64_t>(data->shape).drop_front());
    for (int64_t &place : *places) {
      place /= std::max<int64_t>(run, 1);
    }
    auto taken = takeSlices(op, *data, std::move(*places), outer);
    if (failed(taken)) {
      return failure();
    }
    e.set(op.getOutput(), *taken);
    return success();
  }
  data = readWhole(op, e, op.getData());
  if (failed(data)) {
    return failure();
  }
  ArrayRef<int64_t> slice = ArrayRef<int64_t>(data->shape).drop_front(batch + depth);
  Dims shape(outer.begin(), outer.end());
  shape.append(slice.begin(), slice.end());
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  std::vector<int64_t> from;
  int64_t run = product(slice);
  for (int64_t place : *places) {
    for (int64_t n = 0; n < run; ++n) {
      from.push_back(place + n);
    }
  }
  e.set(op.getOutput(), data->take(shape, from));
  return success();
}

//===----------------------------------------------------------------------===//
// Scatter
//===----------------------------------------------------------------------===//

template <typename T> static void reduceInto(T &place, T update, StringRef reduction) {
  place = reduction == "add"   ? place + update
          : reduction == "mul" ? place * update
          : reduction == "max" ? std::max(place, update)
          : reduction == "min" ? std::min(place, update)
                               : update;
}

// A copy of `data` in which runs of `run` elements of `updates` are written to `places`, in order.
static FailureOr<Tensor> scatter(Operation *op, const Tensor &data, const Tensor &updates, ArrayRef<int64_t> places,
                                 int64_t run, StringRef reduction) {
  if (updates.kind != data.kind || updates.size() != static_cast<int64_t>(places.size()) * run) {
    return op->emitOpError("has updates that do not fit its indices and data");
  }
  if (data.kind == Kind::Float) {
    std::vector<double> out = *data.floats;
    for (int64_t n = 0; n < updates.size(); ++n) {
      reduceInto(out[places[n / run] + n % run], updates.f()[n], reduction);
    }
    return Tensor::of(data.shape, std::move(out));
  }
  std::vector<int64_t> out = *data.ints;
  for (int64_t n = 0; n < updates.size(); ++n) {
    reduceInto(out[places[n / run] + n % run], updates.i()[n], reduction);
  }
  return Tensor::of(data.shape, std::move(out), data.kind);
}

static LogicalResult evaluateScatterElements(onnx::ScatterElementsOp op, Evaluator &e) {
  Tensor data = e.get(op.getData()), indices = e.get(op.getIndices());
  auto places = elementPlaces(op, data, indices, op.getAxis());
  if (failed(places)) {
    return failure();
  }
  auto result = scatter(op, data, e.get(op.getUpdates()), *places, 1, op.getReduction());
  if (failed(result)) {
    return failure();
  }
  e.set(op.getOutput(), *result);
  return success();
}

static LogicalResult evaluateScatterND(onnx::ScatterNDOp op, Evaluator &e) {
  Tensor data = e.get(op.getData()), indices = e.get(op.getIndices());
  auto places = slicePlaces(op, data.shape, indices, 0);
  if (failed(places)) {
    return failure();
  }
  int64_t run = product(ArrayRef<int64_t>(data.shape).drop_front(indices.shape.back()));
  auto result = scatter(op, data, e.get(op.getUpdates()), *places, run, op.getReduction());
  if (failed(result)) {
    return failure();
  }
  e.set(op.getOutput(), *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

static LogicalResult evaluateOneHot(onnx::OneHotOp op, Evaluator &e) {
  Tensor indices = e.get(op.getIndices()), depths = e.get(op.getDepth()), values = e.get(op.getValues());
  auto axis = axisOf(op, op.getAxis(), indices.rank() + 1);
  if (failed(axis)) {
    return failure();
  }
  if (depths.size() != 1 || values.size() != 2) {
    return op.emitOpError("needs one depth and two values");
  }
  if (!(depths.at(0) >= 1 && depths.at(0) <= static_cast<double>(kMaxElements))) {
    return op.emitOpError("depth must be positive, not ") << depths.at(0);
  }
  int64_t depth = static_cast<int64_t>(depths.at(0));
  Dims shape = indices.shape;
  shape.insert(shape.begin() + *axis, depth);
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  int64_t inner = product(ArrayRef<int64_t>(indices.shape).drop_front(*axis));
  std::vector<int64_t> from(*countElements(shape), 0);
  for (int64_t n = 0; n < indices.size(); ++n) {
    double given = indices.at(n);
    int64_t index = given >= -static_cast<double>(depth) && given < static_cast<double>(depth)
                        ? static_cast<int64_t>(given)
                        : depth; // outside: off everywhere
    index += index < 0 ? depth : 0;
    if (index < depth) {
      from[(n / inner * depth + index) * inner + n % inner] = 1;
    }
  }
  e.set(op.getOutput(), values.take(shape, from));
  return success();
}

static LogicalResult evaluateNonZero(onnx::NonZeroOp op, Evaluator &e) {
  Tensor x = e.get(op.getX());
  std::vector<int64_t> found;
  for (int64_t n = 0; n < x.size(); ++n) {
    if (x.at(n) != 0) {
      found.push_back(n);
    }
  }
  Dims strides = stridesOf(x.shape);
  std::vector<int64_t> coordinates;
  for (int64_t axis = 0; axis < x.rank(); ++axis) {
    for (int64_t n : found) {
      coordinates.push_back(n / strides[axis] % x.shape[axis]);
    }
  }
  e.set(op.getY(), Tensor::of({x.rank(), static_cast<int64_t>(found.size())}, std::move(coordinates)));
  return success();
}

static LogicalResult evaluateCompress(onnx::CompressOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), condition = e.get(op.getCondition());
  if (!op.getAxis()) {
    x = x.reshaped({x.size()});
  }
  auto axis = axisOf(op, op.getAxis().value_or(0), x.rank());
  if (failed(axis)) {
    return failure();
  }
  Dims kept;
  for (int64_t n = 0; n < std::min(condition.size(), x.shape[*axis]); ++n) {
    if (condition.at(n) != 0) {
      kept.push_back(n);
    }
  }
  ArrayRef<int64_t> all(x.shape);
  int64_t outer = product(all.take_front(*axis)), inner = product(all.drop_front(*axis + 1)), extent = all[*axis];
  std::vector<int64_t> from;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t index : kept) {
      for (int64_t n = 0; n < inner; ++n) {
        from.push_back((o * extent + index) * inner + n);
      }
    }
  }
  Dims shape = x.shape;
  shape[*axis] = static_cast<int64_t>(kept.size());
  e.set(op.getOutput(), x.take(shape, from));
  return success();
}

// Is a before b in a descending order? NaN counts as the largest.
static bool isLarger(double a, double b) { return std::isnan(a) ? !std::isnan(b) : a > b; }

static LogicalResult evaluateTopK(onnx::TopKOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), k = e.get(op.getK());
  auto axis = axisOf(op, op.getAxis(), x.rank());
  if (failed(axis)) {
    return failure();
  }
  ArrayRef<int64_t> all(x.shape);
  int64_t extent = all[*axis];
  if (k.size() != 1 || k.kind == Kind::Float || k.i()[0] < 0 || k.i()[0] > extent) {
    return op.emitOpError("K must be one integer of 0 to ") << extent;
  }
  int64_t count = k.i()[0];
  int64_t outer = product(all.take_front(*axis)), inner = product(all.drop_front(*axis + 1));
  Dims shape = x.shape;
  shape[*axis] = count;
  std::vector<int64_t> from(outer * count * inner), index(outer * count * inner), order(extent);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t n = 0; n < inner; ++n) {
      auto value = [&](int64_t i) { return x.at((o * extent + i) * inner + n); };
      std::iota(order.begin(), order.end(), 0);
      // A stable sort keeps the lower of equal elements first.
      llvm::stable_sort(order, [&](int64_t a, int64_t b) {
        return op.getLargest() ? isLarger(value(a), value(b)) : isLarger(value(b), value(a));
      });
      for (int64_t i = 0; i < count; ++i) {
        from[(o * count + i) * inner + n] = (o * extent + order[i]) * inner + n;
        index[(o * count + i) * inner + n] = order[i];
      }
    }
  }
  e.set(op.getValues(), x.take(shape, from));
  e.set(op.getIndices(), Tensor::of(shape, std::move(index)));
  return success();
}

void addGatherOps(EvaluateTable &table) {
  addOp<onnx::GatherOp>(table, evaluateGather);
  addOp<onnx::GatherElementsOp>(table, evaluateGatherElements);
  addOp<onnx::GatherNDOp>(table, evaluateGatherND);
  addOp<onnx::ScatterElementsOp>(table, evaluateScatterElements);
  addOp<onnx::ScatterNDOp>(table, evaluateScatterND);
  addOp<onnx::OneHotOp>(table, evaluateOneHot);
  addOp<onnx::NonZeroOp>(table, evaluateNonZero);
  addOp<onnx::CompressOp>(table, evaluateCompress);
  addOp<onnx::TopKOp>(table, evaluateTopK);
}

} // namespace emoe
