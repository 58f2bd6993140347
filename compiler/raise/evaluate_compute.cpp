// Evaluation of ops that combine elements: products, reductions, normalisation, quantisation.
#include <cmath>
#include <limits>
#include <numeric>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;

// Fails unless all tensors hold floats.
static LogicalResult needFloats(Operation *op, ArrayRef<Tensor> tensors) {
  for (const Tensor &tensor : tensors) {
    if (tensor.kind != Kind::Float) {
      return op->emitOpError("cannot be evaluated on integers");
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

// The sum of a[k] * b[k], in eight partial sums.
static double dot(const double *a, const double *b, int64_t count) {
  double sums[8] = {};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    for (int64_t i = 0; i < 8; ++i) {
      sums[i] += a[k + i] * b[k + i];
    }
  }
  for (int64_t i = 0; k < count; ++k, ++i) {
    sums[i] += a[k] * b[k];
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// out[m, n] += a[m, k] * b[k, n]; strides in elements.
static void multiply(const double *a, int64_t aRow, int64_t aColumn, const double *b, int64_t bRow, int64_t bColumn,
                     double *out, int64_t outRow, int64_t rows, int64_t inner, int64_t columns) {
  if (aColumn == 1 && bRow == 1) {
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t n = 0; n < columns; ++n) {
        out[m * outRow + n] += dot(a + m * aRow, b + n * bColumn, inner);
      }
    }
    return;
  }
  if (bColumn == 1) {
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t k = 0; k < inner; ++k) {
        double factor = a[m * aRow + k * aColumn];
        const double *row = b + k * bRow;
        double *to = out + m * outRow;
        for (int64_t n = 0; n < columns; ++n) {
          to[n] += factor * row[n];
        }
      }
    }
    return;
  }
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < columns; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < inner; ++k) {
        sum += a[m * aRow + k * aColumn] * b[k * bRow + n * bColumn];
      }
      out[m * outRow + n] += sum;
    }
  }
}

// The same for a matrix b [inner, columns] (or its transpose) that may still lie in its file: of that, some columns at
// a time are read, so that the table of a large vocabulary is never in memory.
static LogicalResult multiplyMatrix(Operation *op, Evaluator &e, const double *a, int64_t aRow, int64_t aColumn,
                                    const Tensor &b, bool transposed, double *out, int64_t rows) {
  int64_t inner = b.shape[transposed], columns = b.shape[!transposed];
  if (!b.view) {
    multiply(a, aRow, aColumn, b.f(), transposed ? 1 : columns, transposed ? inner : 1, out, columns, rows, inner,
             columns);
    return success();
  }
  // Blocks of a multiple of 8 columns begin at a byte, whatever the element's width.
  int64_t block = std::max<int64_t>((int64_t(1) << 20) / std::max<int64_t>(inner, 1) / 8 * 8, 8);
  for (int64_t first = 0; first < columns; first += block) {
    int64_t count = std::min(block, columns - first);
    WeightView part = *b.view;
    part.shape[!transposed] = count;
    part.offset += first * part.strides[!transposed] * storageBits(part.element) / 8;
    auto data = e.read(op, part);
    if (failed(data)) {
      return failure();
    }
    multiply(a, aRow, aColumn, data->f(), transposed ? 1 : count, transposed ? inner : 1, out + first, columns, rows,
             inner, count);
  }
  return success();
}

static LogicalResult evaluateMatMul(onnx::MatMulOp op, Evaluator &e) {
  Tensor a = e.get(op.getA()), b = e.get(op.getB());
  if (failed(needFloats(op, {a, b}))) {
    return failure();
  }
  if (a.slices && b.view && !b.slices) {
    auto whole = e.read(op, b);
    if (failed(whole)) {
      return failure();
    }
    b = *whole;
  }
  if (a.rank() == 0 || b.rank() == 0) {
    return op.emitOpError("cannot multiply a scalar");
  }
  // A vector is a row on the left and a column on the right; the axis goes again afterwards.
  bool rowVector = a.rank() == 1, columnVector = b.rank() == 1;
  if (rowVector) {
    a = a.reshaped({1, a.shape[0]});
  }
  if (columnVector) {
    b = b.reshaped({b.shape[0], 1});
  }
  int64_t rows = a.shape[a.rank() - 2], inner = a.shape.back(), columns = b.shape.back();
  auto batch = broadcastShapes(ArrayRef<int64_t>(a.shape).drop_back(2), ArrayRef<int64_t>(b.shape).drop_back(2));
  if (b.shape[b.rank() - 2] != inner || !batch) {
    InFlightDiagnostic error = op.emitOpError("cannot multiply [");
    llvm::interleaveComma(a.shape, error);
    error << "] and [";
    llvm::interleaveComma(b.shape, error);
    return error << "]";
  }
  Dims shape = *batch;
  shape.append({rows, columns});
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  std::vector<double> out(*countElements(shape), 0.0);
  int64_t done = 0;
  if (b.rank() == 2 && !a.slices) {
    int64_t all = inner == 0 ? 0 : a.size() / inner;
    if (failed(multiplyMatrix(op, e, a.f(), inner, 1, b, /*transposed=*/false, out.data(), all))) {
      return failure();
    }
  } else {
    // Data of matrix `index` of a tensor; of slices it is read into `slice`. Null after an error.
    std::vector<double> left, right;
    auto matrix = [&](const Tensor &tensor, int64_t index, int64_t elements, std::vector<double> &slice) -> const double * {
      if (!tensor.slices) {
        return tensor.f() + index * elements;
      }
      return succeeded(e.readSlice(op, *tensor.view, (*tensor.slices)[index], slice)) ? slice.data() : nullptr;
    };
    bool read = true;
    walk<2>(*batch,
            {broadcastStrides(ArrayRef<int64_t>(a.shape).drop_back(2), *batch),
             broadcastStrides(ArrayRef<int64_t>(b.shape).drop_back(2), *batch)},
            [&](const std::array<int64_t, 2> &at) {
              const double *aData = read ? matrix(a, at[0], rows * inner, left) : nullptr;
              const double *bData = aData ? matrix(b, at[1], inner * columns, right) : nullptr;
              read = bData;
              if (read) {
                multiply(aData, inner, 1, bData, columns, 1, out.data() + done++ * rows * columns, columns, rows, inner,
                         columns);
              }
            });
    if (!read) {
      return failure();
    }
  }
  if (columnVector) {
    shape.pop_back();
  }
  if (rowVector) {
    shape.erase(shape.end() - (columnVector ? 1 : 2));
  }
  e.set(op.getY(), Tensor::of(shape, std::move(out)));
  return success();
}

static LogicalResult evaluateGemm(onnx::GemmOp op, Evaluator &e) {
  Tensor a = e.get(op.getA()), b = e.get(op.getB());
  if (failed(needFloats(op, {a, b}))) {
    return failure();
  }
  bool transA = op.getTransA() != 0, transB = op.getTransB() != 0;
  if (a.rank() != 2 || b.rank() != 2 || a.shape[transA ? 0 : 1] != b.shape[transB ? 1 : 0]) {
    return op.emitOpError("cannot multiply operands of these shapes");
  }
  int64_t rows = a.shape[transA], inner = a.shape[!transA], columns = b.shape[!transB];
  if (failed(checkShape(op, {rows, columns}))) {
    return failure();
  }
  std::vector<double> out(rows * columns, 0.0);
  if (failed(multiplyMatrix(op, e, a.f(), transA ? 1 : inner, transA ? rows : 1, b, transB, out.data(), rows))) {
    return failure();
  }
  for (double &value : out) {
    value *= op.getAlpha();
  }
  if (op.getC()) {
    Tensor c = e.get(op.getC());
    Dims shape = {rows, columns};
    if (failed(needFloats(op, {c})) || broadcastShapes(c.shape, shape) != shape) {
      return op.emitOpError("C cannot be broadcast to the product");
    }
    int64_t n = 0;
    walk<1>(shape, {broadcastStrides(c.shape, shape)},
            [&](const std::array<int64_t, 1> &at) { out[n++] += op.getBeta() * c.f()[at[0]]; });
  }
  e.set(op.getY(), Tensor::of({rows, columns}, std::move(out)));
  return success();
}

static LogicalResult evaluateEinsum(onnx::EinsumOp op, Evaluator &e) {
  std::string equation;
  llvm::copy_if(op.getEquation(), std::back_inserter(equation), [](char c) { return c != ' '; });
  auto [left, right] = StringRef(equation).split("->");
  SmallVector<StringRef> terms;
  left.split(terms, ',');
  if (!StringRef(equation).contains("->") || equation.find('.') != std::string::npos ||
      terms.size() != op.getInputs().size()) {
    return op.emitOpError("cannot be evaluated: equation '") << op.getEquation() << "' (it needs '->' and no '...')";
  }
  // Letters of the result first, then the summed ones.
  std::string letters = right.str();
  for (char letter : left) {
    if (letter != ',' && letters.find(letter) == std::string::npos) {
      letters += letter;
    }
  }
  Dims extents(letters.size(), -1);
  SmallVector<Tensor> inputs;
  std::vector<Dims> strides;
  for (auto [term, value] : llvm::zip(terms, op.getInputs())) {
    Tensor input = e.get(value);
    if (failed(needFloats(op, {input}))) {
      return failure();
    }
    if (input.rank() != static_cast<int64_t>(term.size())) {
      return op.emitOpError("term '") << term << "' names " << term.size() << " axes of an input of rank "
                                      << input.rank();
    }
    Dims own = stridesOf(input.shape), here(letters.size(), 0);
    for (auto [axis, letter] : llvm::enumerate(term)) {
      size_t place = letters.find(letter);
      if (extents[place] >= 0 && extents[place] != input.shape[axis]) {
        return op.emitOpError("extents of '") << std::string(1, letter) << "' differ";
      }
      extents[place] = input.shape[axis];
      here[place] += own[axis];
    }
    inputs.push_back(input);
    strides.push_back(here);
  }
  if (llvm::is_contained(extents, -1)) {
    return op.emitOpError("a letter of the result is in no input");
  }
  Dims shape(ArrayRef<int64_t>(extents).take_front(right.size()));
  Dims summed(ArrayRef<int64_t>(extents).drop_front(right.size()));
  if (failed(checkShape(op, shape)) || failed(checkShape(op, summed))) {
    return failure();
  }
  std::vector<double> out;
  Dims index(extents.size(), 0);
  for (int64_t n = 0, count = *countElements(shape), terms = *countElements(summed); n < count; ++n) {
    double sum = 0;
    for (int64_t m = 0; m < terms; ++m) {
      int64_t rest = m;
      for (size_t axis = extents.size(); axis-- > right.size(); rest /= extents[axis]) {
        index[axis] = rest % extents[axis];
      }
      rest = n;
      for (size_t axis = right.size(); axis-- > 0; rest /= extents[axis]) {
        index[axis] = rest % extents[axis];
      }
      double term = 1;
      for (auto [input, stride] : llvm::zip(inputs, strides)) {
        int64_t at = std::inner_product(index.begin(), index.end(), stride.begin(), int64_t(0));
        term *= input.f()[at];
      }
      sum += term;
    }
    out.push_back(sum);
  }
  e.set(op.getOutput(), Tensor::of(shape, std::move(out)));
  return success();
}

// Convolution of [N, C, L] with [M, C/group, K] along one axis.
static LogicalResult evaluateConv(onnx::ConvOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), w = e.get(op.getW());
  if (failed(needFloats(op, {x, w}))) {
    return failure();
  }
  int64_t group = op.getGroup();
  if (x.rank() != 3 || w.rank() != 3 || group < 1 || w.shape[1] * group != x.shape[1] || w.shape[0] % group != 0 ||
      op.getAutoPad() != "NOTSET") {
    return op.emitOpError("cannot be evaluated: the evaluator has one-dimensional convolutions with explicit pads");
  }
  auto attribute = [](std::optional<ArrayRef<int64_t>> list, size_t index, int64_t other) {
    return list && index < list->size() ? (*list)[index] : other;
  };
  int64_t stride = attribute(op.getStrides(), 0, 1), dilation = attribute(op.getDilations(), 0, 1);
  int64_t before = attribute(op.getPads(), 0, 0), after = attribute(op.getPads(), 1, 0);
  int64_t batch = x.shape[0], length = x.shape[2], channels = w.shape[1], outputs = w.shape[0], taps = w.shape[2];
  if (stride < 1 || dilation < 1 || std::abs(before) > kMaxElements || std::abs(after) > kMaxElements) {
    return op.emitOpError("has impossible strides, dilations or pads");
  }
  int64_t span = length + before + after - dilation * (taps - 1) - 1;
  Dims shape = {batch, outputs, span < 0 ? 0 : span / stride + 1};
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  Tensor bias;
  if (op.getB()) {
    bias = e.get(op.getB());
    if (failed(needFloats(op, {bias})) || bias.size() != outputs) {
      return op.emitOpError("bias must have one float an output");
    }
  }
  std::vector<double> out;
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t m = 0; m < outputs; ++m) {
      for (int64_t t = 0; t < shape[2]; ++t) {
        double sum = op.getB() ? bias.f()[m] : 0;
        for (int64_t c = 0; c < channels; ++c) {
          int64_t channel = m / (outputs / group) * channels + c;
          for (int64_t k = 0; k < taps; ++k) {
            int64_t at = t * stride + k * dilation - before;
            if (at >= 0 && at < length) {
              sum += x.f()[(n * x.shape[1] + channel) * length + at] * w.f()[(m * channels + c) * taps + k];
            }
          }
        }
        out.push_back(sum);
      }
    }
  }
  e.set(op.getY(), Tensor::of(shape, std::move(out)));
  return success();
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

struct Reduction {
  double start;
  double (*step)(double total, double x);
  double (*finish)(double total, int64_t count);
};

static double keepTotal(double total, int64_t) { return total; }

// Reduces over the op's axes: calls for each element of the result, in float64 (exact for integers below 2^53).
template <typename OpT> static LogicalResult reduce(OpT op, Evaluator &e, Reduction reduction) {
  Tensor x = e.get(op.getData());
  SmallVector<bool> reduced(x.rank(), false);
  bool any = false;
  if (op.getAxes()) {
    auto axes = integersOf(op, e.get(op.getAxes()));
    if (failed(axes)) {
      return failure();
    }
    for (int64_t axis : *axes) {
      auto place = axisOf(op, axis, x.rank());
      if (failed(place)) {
        return failure();
      }
      reduced[*place] = any = true;
    }
  }
  if (!any && !op.getNoopWithEmptyAxes()) {
    reduced.assign(x.rank(), true);
  }
  Dims shape, kept = x.shape;
  int64_t count = 1;
  for (int64_t axis = 0; axis < x.rank(); ++axis) {
    if (reduced[axis]) {
      count *= x.shape[axis];
      kept[axis] = 1;
      if (op.getKeepdims()) {
        shape.push_back(1);
      }
    } else {
      shape.push_back(x.shape[axis]);
    }
  }
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  std::vector<double> totals(*countElements(kept), reduction.start);
  Dims strides = stridesOf(kept);
  for (int64_t axis = 0; axis < x.rank(); ++axis) {
    strides[axis] = reduced[axis] ? 0 : strides[axis];
  }
  int64_t n = 0;
  walk<1>(x.shape, {strides}, [&](const std::array<int64_t, 1> &at) {
    totals[at[0]] = reduction.step(totals[at[0]], x.at(n++));
  });
  for (double &total : totals) {
    total = reduction.finish(total, count);
  }
  e.set(op.getReduced(), x.kind == Kind::Float
                             ? Tensor::of(shape, std::move(totals))
                             : Tensor::of(shape, std::vector<int64_t>(totals.begin(), totals.end()), x.kind));
  return success();
}

template <typename OpT> static void addReduction(EvaluateTable &table, Reduction reduction) {
  addOp<OpT>(table, [reduction](OpT op, Evaluator &e) { return reduce(op, e, reduction); });
}

static void addReductions(EvaluateTable &table) {
  using namespace onnx;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  auto add = [](double total, double x) { return total + x; };
  addReduction<ReduceSumOp>(table, {0, add, keepTotal});
  addReduction<ReduceMeanOp>(table, {0, add, [](double total, int64_t n) { return total / static_cast<double>(n); }});
  addReduction<ReduceMaxOp>(table, {-kInfinity, [](double a, double x) { return x > a || x != x ? x : a; }, keepTotal});
  addReduction<ReduceMinOp>(table, {kInfinity, [](double a, double x) { return x < a || x != x ? x : a; }, keepTotal});
  addReduction<ReduceProdOp>(table, {1, [](double total, double x) { return total * x; }, keepTotal});
  addReduction<ReduceSumSquareOp>(table, {0, [](double total, double x) { return total + x * x; }, keepTotal});
  addReduction<ReduceL1Op>(table, {0, [](double total, double x) { return total + std::abs(x); }, keepTotal});
  addReduction<ReduceL2Op>(table, {0, [](double total, double x) { return total + x * x; },
                                   [](double total, int64_t) { return std::sqrt(total); }});
  addReduction<ReduceLogSumOp>(table, {0, add, [](double total, int64_t) { return std::log(total); }});
  addReduction<ReduceLogSumExpOp>(table, {0, [](double total, double x) { return total + std::exp(x); },
                                          [](double total, int64_t) { return std::log(total); }});
}

// Calls body(read, write, extent) for each line along `axis` of x; read(i) is element i, write(i, v) sets the result's.
template <typename Body>
static LogicalResult alongAxis(Operation *op, Evaluator &e, const Tensor &x, int64_t axisAttribute, Body &&body) {
  auto axis = axisOf(op, axisAttribute, x.rank());
  if (failed(axis) || failed(needFloats(op, {x}))) {
    return failure();
  }
  int64_t extent = x.shape[*axis], inner = stridesOf(x.shape)[*axis], outer = extent ? x.size() / extent : 0;
  std::vector<double> out(x.size());
  for (int64_t line = 0; line < outer; ++line) {
    int64_t start = line / inner * inner * extent + line % inner;
    body([&](int64_t i) { return x.f()[start + i * inner]; },
         [&](int64_t i, double value) { out[start + i * inner] = value; }, extent);
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(out)));
  return success();
}

// e^(x - max) of a line and their sum.
template <typename Read> static double exponentials(Read read, int64_t extent, std::vector<double> &terms) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t i = 0; i < extent; ++i) {
    largest = std::max(largest, read(i));
  }
  terms.resize(extent);
  for (int64_t i = 0; i < extent; ++i) {
    sum += terms[i] = std::exp(read(i) - largest);
  }
  return sum;
}

static LogicalResult evaluateSoftmax(onnx::SoftmaxOp op, Evaluator &e) {
  std::vector<double> terms;
  return alongAxis(op, e, e.get(op.getInput()), op.getAxis(), [&](auto read, auto write, int64_t extent) {
    double sum = exponentials(read, extent, terms);
    for (int64_t i = 0; i < extent; ++i) {
      write(i, terms[i] / sum);
    }
  });
}

static LogicalResult evaluateLogSoftmax(onnx::LogSoftmaxOp op, Evaluator &e) {
  std::vector<double> terms;
  return alongAxis(op, e, e.get(op.getInput()), op.getAxis(), [&](auto read, auto write, int64_t extent) {
    double sum = exponentials(read, extent, terms);
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < extent; ++i) {
      largest = std::max(largest, read(i));
    }
    for (int64_t i = 0; i < extent; ++i) {
      write(i, read(i) - largest - std::log(sum));
    }
  });
}

static LogicalResult evaluateHardmax(onnx::HardmaxOp op, Evaluator &e) {
  return alongAxis(op, e, e.get(op.getInput()), op.getAxis(), [&](auto read, auto write, int64_t extent) {
    int64_t best = 0;
    for (int64_t i = 1; i < extent; ++i) {
      best = read(i) > read(best) ? i : best;
    }
    for (int64_t i = 0; i < extent; ++i) {
      write(i, i == best);
    }
  });
}

static LogicalResult evaluateLpNormalization(onnx::LpNormalizationOp op, Evaluator &e) {
  bool squares = op.getP() == 2;
  return alongAxis(op, e, e.get(op.getInput()), op.getAxis(), [&](auto read, auto write, int64_t extent) {
    double norm = 0;
    for (int64_t i = 0; i < extent; ++i) {
      norm += squares ? read(i) * read(i) : std::abs(read(i));
    }
    norm = squares ? std::sqrt(norm) : norm;
    for (int64_t i = 0; i < extent; ++i) {
      write(i, norm == 0 ? 0 : read(i) / norm);
    }
  });
}

template <typename OpT> static LogicalResult evaluateArg(OpT op, Evaluator &e, bool largest) {
  Tensor x = e.get(op.getData());
  auto axis = axisOf(op, op.getAxis(), x.rank());
  if (failed(axis)) {
    return failure();
  }
  int64_t extent = x.shape[*axis], inner = stridesOf(x.shape)[*axis];
  if (extent == 0) {
    return op.emitOpError("has nothing to choose from");
  }
  std::vector<int64_t> out;
  for (int64_t line = 0; line < x.size() / extent; ++line) {
    int64_t start = line / inner * inner * extent + line % inner, best = 0;
    auto read = [&](int64_t i) { return x.at(start + i * inner); };
    for (int64_t i = 1; i < extent; ++i) {
      bool better = largest ? read(i) > read(best) : read(i) < read(best);
      best = better || (op.getSelectLastIndex() && read(i) == read(best)) ? i : best;
    }
    out.push_back(best);
  }
  Dims shape = x.shape;
  shape[*axis] = 1;
  if (!op.getKeepdims()) {
    shape.erase(shape.begin() + *axis);
  }
  e.set(op.getReduced(), Tensor::of(shape, std::move(out)));
  return success();
}

static LogicalResult evaluateCumSum(onnx::CumSumOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), axes = e.get(op.getAxis());
  if (axes.size() != 1 || axes.kind == Kind::Float) {
    return op.emitOpError("axis must be one integer");
  }
  auto axis = axisOf(op, axes.i()[0], x.rank());
  if (failed(axis)) {
    return failure();
  }
  int64_t extent = x.shape[*axis], inner = stridesOf(x.shape)[*axis];
  std::vector<double> out(x.size());
  for (int64_t line = 0; extent && line < x.size() / extent; ++line) {
    int64_t start = line / inner * inner * extent + line % inner;
    double sum = 0;
    for (int64_t n = 0; n < extent; ++n) {
      int64_t at = start + (op.getReverse() ? extent - 1 - n : n) * inner;
      out[at] = op.getExclusive() ? sum : sum + x.at(at);
      sum += x.at(at);
    }
  }
  e.set(op.getY(), x.kind == Kind::Float
                       ? Tensor::of(x.shape, std::move(out))
                       : Tensor::of(x.shape, std::vector<int64_t>(out.begin(), out.end()), x.kind));
  return success();
}

//===----------------------------------------------------------------------===//
// Normalisation over trailing axes
//===----------------------------------------------------------------------===//

// Normalises runs of the axes from `axis` on: (x - mean) / sqrt(mean((x - mean)^2) + epsilon), without the mean if
// `rms`; then scales by `scale` and adds `bias` (if it has a shape), both broadcast over a run.
static LogicalResult normalise(Operation *op, Evaluator &e, const Tensor &x, const Tensor &scale, const Tensor *bias,
                               int64_t axisAttribute, double epsilon, bool rms) {
  auto axis = axisOf(op, axisAttribute, x.rank());
  if (failed(axis) || failed(needFloats(op, {x, scale})) || (bias && failed(needFloats(op, {*bias})))) {
    return failure();
  }
  Dims inner(ArrayRef<int64_t>(x.shape).drop_front(*axis));
  int64_t run = *countElements(inner), runs = run ? x.size() / run : 0;
  for (const Tensor *factor : {&scale, bias}) {
    if (factor && broadcastShapes(factor->shape, inner) != inner) {
      return op->emitOpError("has a scale or bias that does not fit the axes that it normalises");
    }
  }
  std::vector<double> out(x.size()), means, inverses;
  for (int64_t r = 0; r < runs; ++r) {
    const double *from = x.f() + r * run;
    double mean = rms ? 0 : std::accumulate(from, from + run, 0.0) / static_cast<double>(run), squares = 0;
    for (int64_t n = 0; n < run; ++n) {
      squares += (from[n] - mean) * (from[n] - mean);
    }
    double inverse = 1 / std::sqrt(squares / static_cast<double>(run) + epsilon);
    int64_t n = 0;
    walk<2>(inner, {broadcastStrides(scale.shape, inner), broadcastStrides(bias ? bias->shape : scale.shape, inner)},
            [&](const std::array<int64_t, 2> &at) {
              out[r * run + n] = (from[n] - mean) * inverse * scale.f()[at[0]] + (bias ? bias->f()[at[1]] : 0);
              ++n;
            });
    means.push_back(mean);
    inverses.push_back(inverse);
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(out)));
  Dims statistics = x.shape;
  std::fill(statistics.begin() + *axis, statistics.end(), 1);
  for (auto [result, values] : llvm::zip(op->getResults().drop_front(),
                                         rms ? SmallVector<std::vector<double>>{inverses}
                                             : SmallVector<std::vector<double>>{means, inverses})) {
    e.set(result, Tensor::of(statistics, values));
  }
  return success();
}

static LogicalResult evaluateLayerNormalization(onnx::LayerNormalizationOp op, Evaluator &e) {
  Tensor bias = op.getB() ? e.get(op.getB()) : Tensor();
  return normalise(op, e, e.get(op.getX()), e.get(op.getScale()), op.getB() ? &bias : nullptr, op.getAxis(),
                   op.getEpsilon(), false);
}

template <typename OpT> static LogicalResult evaluateRms(OpT op, Evaluator &e) {
  return normalise(op, e, e.get(op.getX()), e.get(op.getScale()), nullptr, op.getAxis(), op.getEpsilon(), true);
}

//===----------------------------------------------------------------------===//
// Quantisation
//===----------------------------------------------------------------------===//

// (x - zero point) * scale; the scale is one number, one for each index of an axis, or one for each block of an axis.
static LogicalResult evaluateDequantizeLinear(onnx::DequantizeLinearOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), scale = e.get(op.getXScale());
  Tensor zero = op.getXZeroPoint() ? e.get(op.getXZeroPoint()) : Tensor();
  if (failed(needFloats(op, {scale}))) {
    return failure();
  }
  Dims strides(x.rank(), 0);
  int64_t block = op.getBlockSize(), axis = 0;
  if (scale.size() != 1 || block > 0) {
    auto place = axisOf(op, op.getAxis(), x.rank());
    if (failed(place)) {
      return failure();
    }
    axis = *place;
    Dims expected = x.shape;
    if (block > 0) {
      expected[axis] = (x.shape[axis] + block - 1) / block;
      strides = stridesOf(expected);
    } else {
      expected = {x.shape[axis]};
      strides[axis] = 1;
    }
    if (scale.shape != expected) {
      return op.emitOpError("has scales that do not fit its input, axis and block size");
    }
  }
  if (op.getXZeroPoint() && zero.size() != scale.size()) {
    return op.emitOpError("has zero points that do not fit its scales");
  }
  Dims own = stridesOf(x.shape);
  std::vector<double> out(x.size());
  for (int64_t n = 0; n < x.size(); ++n) {
    int64_t at = 0;
    for (int64_t a = 0; a < x.rank(); ++a) {
      int64_t index = n / own[a] % x.shape[a];
      at += (block > 0 && a == axis ? index / block : index) * strides[a];
    }
    out[n] = (x.at(n) - (op.getXZeroPoint() ? zero.at(at) : 0)) * scale.f()[at];
  }
  e.set(op.getY(), Tensor::of(x.shape, std::move(out)));
  return success();
}

void addComputeOps(EvaluateTable &table) {
  addOp<onnx::MatMulOp>(table, evaluateMatMul);
  addOp<onnx::GemmOp>(table, evaluateGemm);
  addOp<onnx::EinsumOp>(table, evaluateEinsum);
  addOp<onnx::ConvOp>(table, evaluateConv);
  addReductions(table);
  addOp<onnx::ArgMaxOp>(table, [](onnx::ArgMaxOp op, Evaluator &e) { return evaluateArg(op, e, true); });
  addOp<onnx::ArgMinOp>(table, [](onnx::ArgMinOp op, Evaluator &e) { return evaluateArg(op, e, false); });
  addOp<onnx::CumSumOp>(table, evaluateCumSum);
  addOp<onnx::SoftmaxOp>(table, evaluateSoftmax);
  addOp<onnx::LogSoftmaxOp>(table, evaluateLogSoftmax);
  addOp<onnx::HardmaxOp>(table, evaluateHardmax);
  addOp<onnx::LpNormalizationOp>(table, evaluateLpNormalization);
  addOp<onnx::LayerNormalizationOp>(table, evaluateLayerNormalization);
  addOp<onnx::RMSNormalizationOp>(table, evaluateRms<onnx::RMSNormalizationOp>);
  addOp<onnx::SimplifiedLayerNormalizationOp>(table, evaluateRms<onnx::SimplifiedLayerNormalizationOp>);
  addOp<onnx::DequantizeLinearOp>(table, evaluateDequantizeLinear);
}

} // namespace emoe
