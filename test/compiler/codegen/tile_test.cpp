// Linear, GateUp and Embed on every target that this machine can run, against slow loops that follow the definition of
// emoe.tile_product (dialects/emoe/kernel_ops.td). Linear and Embed must agree bit by bit: for all widths, row formats,
// remainders, epilogues, row lists, block sizes and tile ranges.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "compiler/codegen/half.h"
#include "compiler/codegen/pack.h"
#include "gtest/gtest.h"
#include "schema/kernel_abi.h"
#include "test/support/image_runner.h"

namespace emoe {
namespace {

using Bytes = std::vector<uint8_t>;

// GateUp's h against double arithmetic, relative to |gate part| + |h|: the activation's error, and two roundings.
constexpr double kActivationError = 2e-6;

mlir::MLIRContext &context() {
  static auto *context = [] {
    auto *made = new mlir::MLIRContext(mlir::MLIRContext::Threading::DISABLED);
    made->loadDialect<EmoeDialect>();
    return made;
  }();
  return *context;
}

LayoutAttr layout(unsigned bits, FloatType type = FloatType::F16) {
  return LayoutAttr::get(&context(), bits, type, bits < 16 ? 32 : 0, ZeroPoint::Symmetric, Codebook::Integer, 16);
}

LayoutAttr grouped(unsigned bits, unsigned group, bool ternary = false) {
  return LayoutAttr::get(&context(), bits, FloatType::F16, group, ZeroPoint::Symmetric,
                         ternary    ? Codebook::Ternary
                         : bits < 4 ? Codebook::Centred
                                    : Codebook::Integer,
                         16);
}

struct Shape {
  int64_t n, k;
};
struct Width {
  LayoutAttr layout;
  bool q8;
  std::vector<Shape> shapes;
};
// All targets compile each kernel, which is most of this test's time: widths and shapes are those that show most. What
// depends on rows, outputs and epilogues alone is shown by four bits with quantised rows.
std::vector<Width> widths() {
  std::vector<Width> all = {{layout(4), true, {{8, 32}, {37, 97}, {67, 160}}},
                            {layout(16), false, {{8, 32}, {37, 97}}},
                            {layout(32, FloatType::F32), false, {{37, 97}}},
                            {layout(16, FloatType::BF16), false, {{8, 32}}},
                            {layout(8), true, {{37, 97}}},
                            {layout(8), false, {{8, 160}}},
                            {layout(4), false, {{37, 97}}},
                            // Groups that end with the row, that are partial, and that lie in several blocks of which
                            // the last has one.
                            {grouped(2, 32), true, {{20, 97}}},
                            {grouped(2, 128), true, {{20, 160}}},
                            {grouped(2, 128), false, {{20, 160}}},
                            {grouped(3, 32), true, {{8, 97}}},
                            {grouped(3, 32), false, {{8, 97}}},
                            {grouped(3, 64), true, {{20, 192}}},
                            {grouped(4, 256), true, {{8, 704}}},
                            {grouped(2, 64, true), true, {{8, 97}}},
                            {grouped(2, 128, true), true, {{20, 320}}},
                            {grouped(2, 64, true), false, {{8, 97}}},
                            {grouped(4, 128), true, {{8, 128}}},
                            {grouped(8, 64), true, {{8, 160}}}};
  return all;
}

std::vector<KernelSpec> linears() {
  std::vector<KernelSpec> specs;
  int epilogue = 0;
  for (const Width &width : widths()) {
    for (Shape shape : width.shapes) {
      KernelSpec spec;
      spec.family = KernelFamily::Linear;
      spec.n = shape.n, spec.k = shape.k, spec.layout = width.layout, spec.quantizedActivations = width.q8;
      spec.hasBias = epilogue & 1, spec.hasResidual = epilogue & 2;
      ++epilogue;
      specs.push_back(spec);
    }
  }
  return specs;
}

// Products of panels are Linear's: here it is what GateUp does with them, on few widths.
std::vector<KernelSpec> gateUps() {
  struct Case {
    LayoutAttr layout;
    bool q8;
    Shape shape;
    bool gated;
    Activation activation;
  };
  std::vector<KernelSpec> specs;
  for (const Case &each : {Case{layout(4), true, {81, 70}, true, Activation::Silu},
                           {layout(4), true, {8, 33}, false, Activation::Relu2},
                           {layout(16), false, {81, 70}, true, Activation::GeluTanh},
                           {layout(16), false, {8, 33}, false, Activation::Silu},
                           {layout(8), true, {40, 70}, false, Activation::GeluTanh}}) {
    KernelSpec spec;
    spec.family = KernelFamily::GateUp;
    spec.n = each.shape.n, spec.k = each.shape.k, spec.layout = each.layout, spec.quantizedActivations = each.q8;
    spec.gated = each.gated, spec.activation = each.activation;
    specs.push_back(spec);
  }
  return specs;
}

std::vector<KernelSpec> embeds() {
  std::vector<KernelSpec> specs;
  for (const Width &width : widths()) {
    if (!width.q8 && width.layout.getCodebook() != Codebook::Ternary) {
      KernelSpec spec;
      spec.family = KernelFamily::Embed;
      spec.n = 37, spec.k = std::max<int64_t>(width.shapes[0].k, 71), spec.layout = width.layout;
      spec.scale = specs.size() % 2 ? 1.0f : 11.3f;
      specs.push_back(spec);
    }
  }
  return specs;
}

std::vector<float> randomFloats(std::mt19937 &random, int64_t count, float spread) {
  std::vector<float> values(count);
  for (float &value : values) {
    value = spread * (static_cast<float>(random() >> 8) * 0x1p-23f - 1);
  }
  return values;
}

Bytes packMatrix(LayoutAttr layout, const std::vector<float> &values, int64_t n, int64_t k) {
  Bytes bytes(packedBytes(layout, n, k));
  for (int64_t row = 0; row < n; row += 16) {
    absl::Status status = packPanel(layout, &values[row * k], std::min<int64_t>(16, n - row), k,
                                    &bytes[row / 16 * panelBytes(layout, k)]);
    EXPECT_TRUE(status.ok()) << status;
  }
  return bytes;
}

// One matrix as the format states it, decoded again here.
struct Matrix {
  LayoutAttr layout;
  int64_t k;
  const uint8_t *bytes;  // panels, `stride` bytes apart
  int64_t stride;

  bool ternary() const { return layout.getCodebook() == Codebook::Ternary; }
  bool centred() const { return layout.getCodebook() == Codebook::Centred; }
  int64_t payloadOf(int64_t columns) const {
    return ternary() ? columns / 20 * 64 + columns / 4 % 5 * 16 : columns / 32 * 64 * layout.getBits();
  }
  // The scale of a group and its payload.
  struct Group {
    float scale;
    const uint8_t *payload;
    int64_t columns;
  };
  Group group(int64_t row, int64_t column) const {
    const int64_t width = layout.getGroup(), padded = (k + 63) / 64 * 64, number = column / width;
    const uint8_t *at = bytes + row / 16 * stride;
    for (int64_t block = 0;; block += 2) {
      int64_t columns[2];
      for (int64_t i = 0; i < 2; ++i) {
        columns[i] = std::clamp<int64_t>(padded - (block + i) * width, 0, width);
      }
      const uint8_t *payload = at + (columns[1] ? 64 : 32);
      if (number < block + 2) {
        uint16_t half;
        std::memcpy(&half, at + (number - block) * 32 + row % 16 * 2, 2);
        return {halfToFloat(half), payload + (number - block) * payloadOf(columns[0]), columns[number - block]};
      }
      at = payload + payloadOf(columns[0]) + payloadOf(columns[1]);
    }
  }
  // The scale that codes count: half the stored one where they are halves.
  float scale(int64_t row, int64_t column) const { return group(row, column).scale * (centred() ? 0.5f : 1.0f); }
  int code(int64_t row, int64_t column) const {
    const Group group = this->group(row, column);
    const int64_t lane = row % 16, in = column % layout.getGroup(), i = in % 4, dword = in / 4;
    if (ternary()) {
      const int64_t units = group.columns / 20;
      if (dword >= 5 * units) {
        return (group.payload[64 * units + 16 * (dword - 5 * units) + lane] >> (2 * i) & 3) - 1;
      }
      int fraction = group.payload[64 * (dword / 5) + 4 * lane + i];
      for (int64_t t = 0; t < dword % 5; ++t) {
        fraction = fraction * 3 % 256;
      }
      return fraction * 3 / 256 - 1;
    }
    const uint8_t *payload = group.payload + in / 32 * 64 * layout.getBits() + 4 * lane + i;
    const int64_t d = dword % 8;
    switch (layout.getBits()) {
    case 8:
      return payload[64 * d] - 128;
    case 4:
      return (payload[d / 2 * 64] >> (d % 2 * 4) & 15) - 8;
    case 3:
      return 2 * ((payload[d / 4 * 64] >> (d % 4 * 2) & 3) + 4 * (payload[128] >> d & 1)) - 7;
    default:
      return 2 * (payload[d / 4 * 64] >> (d % 4 * 2) & 3) - 3;
    }
  }
  float value(int64_t row, int64_t column) const {
    const uint8_t *at = bytes + row / 16 * stride + (column * 16 + row % 16) * (layout.getBits() / 8);
    uint16_t half;
    std::memcpy(&half, at, 2);
    if (layout.getBits() == 32) {
      float wide;
      std::memcpy(&wide, at, 4);
      return wide;
    }
    return layout.getType() == FloatType::F16 ? halfToFloat(half) : bf16ToFloat(half);
  }
};

bool hasFma(const Target &target) { return target.machine == EMOE_MACHINE_AARCH64 || (target.cpuFeatures & EMOE_CPU_AVX2); }

float multiplyAdd(bool fused, float a, float b, float c) { return fused ? std::fma(a, b, c) : a * b + c; }

template <typename T> T read(const uint8_t *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Output `row` of the matrix for one row of activations.
float dot(const Matrix &w, int64_t row, const uint8_t *x, bool q8, bool fused) {
  float sum = 0;
  if (w.layout.getBits() >= 16) {
    for (int64_t c = 0; c < w.k; ++c) {
      sum = multiplyAdd(fused, w.value(row, c), read<float>(x + 4 * c), sum);
    }
    return sum;
  }
  const int64_t padded = (w.k + 63) / 64 * 64;
  for (int64_t first = 0; first < w.k; first += 32) {
    if (q8) {
      int32_t d = 0;
      for (int64_t c = first; c < first + 32; ++c) {
        d += w.code(row, c) * static_cast<int8_t>(x[c]);
      }
      float xScale = read<float>(x + padded + first / 32 * 4);
      sum = multiplyAdd(fused, static_cast<float>(d), w.scale(row, first) * xScale, sum);
    } else {
      float d = 0;
      for (int64_t c = first; c < first + 32; ++c) {
        d = multiplyAdd(fused, static_cast<float>(w.code(row, c)), read<float>(x + 4 * c), d);
      }
      sum = multiplyAdd(fused, d, w.scale(row, first), sum);
    }
  }
  return sum;
}

// `rows` rows of activations in the kernel's format. `extreme`: q8 codes are +-127 with the largest sums.
Bytes activationRows(std::mt19937 &random, const KernelSpec &spec, int64_t rows, bool extreme = false) {
  const int64_t padded = (spec.k + 63) / 64 * 64;
  Bytes bytes;
  for (int64_t r = 0; r < rows; ++r) {
    Bytes row(spec.quantizedActivations ? q8RowBytes(spec.k) : f32RowBytes(spec.k));
    for (int64_t c = 0; c < spec.k; ++c) {
      if (!spec.quantizedActivations) {
        float value = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
        std::memcpy(&row[4 * c], &value, 4);
      } else {
        row[c] = static_cast<uint8_t>(extreme ? (r % 2 ? 127 : -127) : static_cast<int>(random() % 255) - 127);
      }
    }
    for (int64_t g = 0; spec.quantizedActivations && g < padded / 32; ++g) {
      float scale = g * 32 < spec.k ? 0.01f * static_cast<float>(random() % 100 + 1) : 0;
      int32_t sum = 0;
      for (int64_t c = 32 * g; c < 32 * g + 32; ++c) {
        sum += static_cast<int8_t>(row[c]);
      }
      std::memcpy(&row[padded + 4 * g], &scale, 4);
      std::memcpy(&row[padded + padded / 32 * 4 + 4 * g], &sum, 4);
    }
    bytes.insert(bytes.end(), row.begin(), row.end());
  }
  return bytes;
}

constexpr int64_t kRows = 20;    // of the buffers
constexpr int64_t kTokens = 15;  // 8 + 4 + 2 + 1: every block size

void addRowLists(std::mt19937 &random, test::KernelCall &call) {
  std::vector<int32_t> rows(kRows);
  std::iota(rows.begin(), rows.end(), 0);
  std::shuffle(rows.begin(), rows.end(), random);
  call.rowsOut.assign(rows.begin(), rows.begin() + call.tokens);
  for (int64_t t = 0; t < call.tokens; ++t) {
    call.rowsIn.push_back(static_cast<int32_t>(random() % kRows));
  }
}

int64_t rowIn(const test::KernelCall &call, int64_t t) { return call.rowsIn.empty() ? t : call.rowsIn[t]; }
int64_t rowOut(const test::KernelCall &call, int64_t t) { return call.rowsOut.empty() ? t : call.rowsOut[t]; }

const KernelImage &image(const Target &target) {
  static auto *specs = [] {
    auto *all = new std::vector<KernelSpec>(linears());
    for (const KernelSpec &spec : gateUps()) {
      all->push_back(spec);
    }
    for (const KernelSpec &spec : embeds()) {
      all->push_back(spec);
    }
    return all;
  }();
  return test::imageFor(*specs, target);
}

// Runs a kernel of the image of all kernels.
std::string run(const KernelSpec &spec, const Target &target, test::KernelCall &call) {
  static auto *places = [] {
    auto *map = new std::map<std::string, size_t>;
    for (const auto &list : {linears(), gateUps(), embeds()}) {
      for (const KernelSpec &each : list) {
        map->insert({kernelName(each), map->size()});
      }
    }
    return map;
  }();
  const KernelImage &compiled = image(target);
  if (compiled.elf.empty()) {
    return "no image";
  }
  return test::runImage(compiled, compiled.entries[places->at(kernelName(spec))], target, tileCount(spec).fixed +
                        tileCount(spec).perToken * call.tokens, call);
}

struct Linear {
  KernelSpec spec;
  Bytes weights;
  test::KernelCall call;

  Linear(const KernelSpec &spec, uint32_t seed, bool extreme = false) : spec(spec) {
    std::mt19937 random(seed);
    std::vector<float> values = randomFloats(random, spec.n * spec.k, 0.1f);
    weights = packMatrix(spec.layout, values, spec.n, spec.k);
    // The lowest and the highest code: the largest products.
    for (int64_t row = 0; extreme && row < spec.n; row += 16) {
      const int64_t rows = std::min<int64_t>(16, spec.n - row);
      std::vector<uint8_t> codes(rows * spec.k);
      for (int64_t i = 0; i < rows * spec.k; ++i) {
        codes[i] = i / spec.k % 2 ? static_cast<uint8_t>(gridOf(spec.layout).levels - 1) : 0;
      }
      std::vector<float> scales(rows * scalesPerRow(spec.layout, spec.k), 0.125f);
      EXPECT_TRUE(packCodes(spec.layout, codes.data(), scales.data(), rows, spec.k,
                            &weights[row / 16 * panelBytes(spec.layout, spec.k)]).ok());
    }
    call.tokens = kTokens;
    call.operands = {activationRows(random, spec, kRows, extreme), weights, Bytes(kRows * f32RowBytes(spec.n), 0xff)};
    if (spec.hasResidual) {
      std::vector<float> residual = randomFloats(random, kRows * f32RowBytes(spec.n) / 4, 1);
      call.operands.emplace_back(kRows * f32RowBytes(spec.n));
      std::memcpy(call.operands.back().data(), residual.data(), call.operands.back().size());
    }
    if (spec.hasBias) {
      std::vector<float> bias = randomFloats(random, (spec.n + 15) / 16 * 16, 1);
      call.operands.emplace_back(4 * bias.size());
      std::memcpy(call.operands.back().data(), bias.data(), 4 * bias.size());
    }
  }

  // The output buffer after the call: rows that are not listed keep what they hold.
  Bytes expected(bool fused) const {
    Bytes out = call.operands[2];
    const Matrix w{spec.layout, spec.k, weights.data(), static_cast<int64_t>(panelBytes(spec.layout, spec.k))};
    const int64_t inRow = spec.quantizedActivations ? q8RowBytes(spec.k) : f32RowBytes(spec.k), outRow = f32RowBytes(spec.n);
    for (int64_t t = 0; t < call.tokens; ++t) {
      uint8_t *row = &out[rowOut(call, t) * outRow];
      std::memset(row, 0, outRow);
      for (int64_t o = 0; o < spec.n; ++o) {
        float y = dot(w, o, &call.operands[0][rowIn(call, t) * inRow], spec.quantizedActivations, fused);
        if (spec.hasBias) {
          y += read<float>(&call.operands[spec.hasResidual ? 4 : 3][4 * o]);
        }
        if (spec.hasResidual) {
          y += read<float>(&call.operands[3][rowOut(call, t) * outRow + 4 * o]);
        }
        std::memcpy(row + 4 * o, &y, 4);
      }
    }
    return out;
  }
};

// Says where two buffers of floats differ first.
std::string difference(const Bytes &got, const Bytes &want) {
  for (size_t i = 0; i < want.size(); i += 4) {
    if (std::memcmp(&got[i], &want[i], 4) != 0) {
      return "float " + std::to_string(i / 4) + " is " + std::to_string(read<float>(&got[i])) + ", not " +
             std::to_string(read<float>(&want[i]));
    }
  }
  return "";
}

class Tile : public ::testing::TestWithParam<const Target *> {
protected:
  const Target &target() { return *GetParam(); }
  bool native() {
    auto host = findTarget("host");
    return host.ok() && (*host)->machine == target().machine;
  }
};

TEST_P(Tile, LinearFollowsItsDefinitionBitByBit) {
  uint32_t seed = 1;
  for (const KernelSpec &spec : linears()) {
    Linear problem(spec, seed++);
    std::mt19937 random(seed);
    addRowLists(random, problem.call);
    test::KernelCall call = problem.call;
    ASSERT_EQ(run(spec, target(), call), "") << kernelName(spec);
    EXPECT_EQ(difference(call.operands[2], problem.expected(hasFma(target()))), "") << kernelName(spec);
  }
}

TEST_P(Tile, TilesAndTokensAreIndependent) {
  if (!native()) {
    GTEST_SKIP() << "each call starts an emulator; the other tests cover this target";
  }
  for (const KernelSpec &spec : linears()) {
    for (int64_t tokens : {1, 2, 3, 6, 13}) {
      Linear problem(spec, 77);
      problem.call.tokens = tokens;
      const Bytes expected = problem.expected(hasFma(target()));
      test::KernelCall call = problem.call;
      const int64_t tiles = tileCount(spec).fixed;
      // One tile at a time, the last first.
      for (int64_t tile = tiles; tile-- > 0;) {
        call.firstTile = tile, call.lastTile = tile + 1;
        ASSERT_EQ(run(spec, target(), call), "") << kernelName(spec);
      }
      EXPECT_EQ(difference(call.operands[2], expected), "") << kernelName(spec) << ", " << tokens << " tokens";
    }
  }
}

TEST_P(Tile, ExtremeCodesDoNotSaturate) {
  for (const KernelSpec &spec : linears()) {
    if (spec.quantizedActivations) {
      Linear problem(spec, 5, /*extreme=*/true);
      test::KernelCall call = problem.call;
      ASSERT_EQ(run(spec, target(), call), "") << kernelName(spec);
      EXPECT_EQ(difference(call.operands[2], problem.expected(hasFma(target()))), "") << kernelName(spec);
    }
  }
}

TEST_P(Tile, HalfWeightsOfEveryKindAreExact) {
  // Subnormal, largest and smallest halves; one column only counts, so that nothing is rounded.
  for (const KernelSpec &spec : linears()) {
    if (spec.layout.getBits() != 16 || spec.n != 8) {
      continue;
    }
    Linear problem(spec, 9);
    const uint16_t halves[] = {0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x8000, 0x3555};
    std::fill(problem.weights.begin(), problem.weights.end(), 0);
    std::memcpy(problem.weights.data(), halves, sizeof(halves));
    problem.call.operands[1] = problem.weights;
    test::KernelCall call = problem.call;
    ASSERT_EQ(run(spec, target(), call), "");
    EXPECT_EQ(difference(call.operands[2], problem.expected(hasFma(target()))), "") << kernelName(spec);
  }
}

double activate(Activation activation, double x) {
  switch (activation) {
  case Activation::Silu: return x / (1 + std::exp(-x));
  case Activation::GeluTanh: return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
  case Activation::GeluErf: return 0.5 * x * (1 + std::erf(x * 0.7071067811865476));
  case Activation::Relu: return std::max(x, 0.0);
  case Activation::Relu2: return x > 0 ? x * x : 0;
  case Activation::Sigmoid: return 1 / (1 + std::exp(-x));
  case Activation::Tanh: return std::tanh(x);
  }
  return NAN;
}

struct GateUp {
  KernelSpec spec;
  Bytes weights;
  std::vector<float> biases;
  test::KernelCall call;
  int64_t rowBytes, panel;

  GateUp(const KernelSpec &spec, uint32_t seed)
      : spec(spec), rowBytes(spec.quantizedActivations ? q8RowBytes(spec.n) : f32RowBytes(spec.n)),
        panel(panelBytes(spec.layout, spec.k)) {
    std::mt19937 random(seed);
    for (int64_t matrix = 0; matrix < (spec.gated ? 2 : 1); ++matrix) {
      Bytes packed = packMatrix(spec.layout, randomFloats(random, spec.n * spec.k, 0.3f), spec.n, spec.k);
      weights.resize((spec.gated ? 2 : 1) * packed.size());
      for (int64_t i = 0; i < (spec.n + 15) / 16; ++i) {
        std::memcpy(&weights[((spec.gated ? 2 : 1) * i + matrix) * panel], &packed[i * panel], panel);
      }
    }
    if (spec.hasBias) {
      biases = randomFloats(random, (spec.gated ? 2 : 1) * biasBytes(spec.n) / 4, 0.3f);
      weights.resize(weights.size() + biases.size() * 4);
      std::memcpy(weights.data() + weights.size() - biases.size() * 4, biases.data(), biases.size() * 4);
    }
    call.tokens = kTokens;
    call.operands = {activationRows(random, spec, kRows), weights, Bytes(kRows * rowBytes, 0xff)};
  }

  // Of gate (0) or up (1); a kernel without gates has biases of up alone.
  float bias(int matrix, int64_t output) const {
    return spec.hasBias ? biases[(spec.gated ? matrix : 0) * biasBytes(spec.n) / 4 + output] : 0;
  }

  void check(const test::KernelCall &after, bool fused) const {
    const int64_t inRow = spec.quantizedActivations ? q8RowBytes(spec.k) : f32RowBytes(spec.k);
    const int64_t padded = (spec.n + 63) / 64 * 64, stride = spec.gated ? 2 * panel : panel;
    const Matrix gate{spec.layout, spec.k, weights.data(), stride};
    const Matrix up{spec.layout, spec.k, weights.data() + (spec.gated ? panel : 0), stride};
    std::vector<bool> written(kRows);
    for (int64_t t = 0; t < call.tokens; ++t) {
      written[rowOut(call, t)] = true;
      const uint8_t *x = &call.operands[0][rowIn(call, t) * inRow], *row = &after.operands[2][rowOut(call, t) * rowBytes];
      std::vector<double> want(padded), tolerance(padded);
      for (int64_t o = 0; o < spec.n; ++o) {
        float first = dot(spec.gated ? gate : up, o, x, spec.quantizedActivations, fused);
        first += bias(spec.gated ? 0 : 1, o);
        float second = spec.gated ? dot(up, o, x, spec.quantizedActivations, fused) + bias(1, o) : 1;
        if (spec.limit > 0) {
          first = std::min(first, spec.limit);
          second = std::max(-spec.limit, std::min(spec.limit, second)) + spec.offset;
        }
        double active = spec.alpha != 1 ? first / (1 + std::exp(-static_cast<double>(spec.alpha) * first))
                                        : activate(spec.activation, first);
        want[o] = active * second;
        tolerance[o] = kActivationError * (std::fabs(static_cast<double>(first) * second) + std::fabs(want[o]));
      }
      for (int64_t first = 0; first < padded; first += 32) {
        double largest = 0, scale = spec.quantizedActivations ? read<float>(row + padded + first / 8) : 0;
        int32_t sum = 0;
        for (int64_t o = first; o < first + 32; ++o) {
          largest = std::max(largest, std::fabs(want[o]));
          if (!spec.quantizedActivations) {
            float got = read<float>(row + 4 * o);
            ASSERT_NEAR(got, want[o], tolerance[o]) << kernelName(spec) << ", token " << t << ", output " << o;
            ASSERT_TRUE(o < spec.n || floatBits(got) == 0) << "padding";
          } else {
            int code = static_cast<int8_t>(row[o]);
            sum += code;
            ASSERT_NEAR(code * scale, want[o], tolerance[o] + 0.501 * scale) << kernelName(spec) << ", output " << o;
            ASSERT_TRUE(o < spec.n || code == 0) << "padding";
          }
        }
        if (spec.quantizedActivations) {
          ASSERT_NEAR(scale, largest / 127, 1e-5 * largest) << kernelName(spec) << ", group at " << first;
          ASSERT_EQ(sum, read<int32_t>(row + padded + padded / 8 + first / 8));
        }
      }
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const uint8_t *row = &after.operands[2][r * rowBytes];
      ASSERT_TRUE(written[r] || std::all_of(row, row + rowBytes, [](uint8_t byte) { return byte == 0xff; }))
          << kernelName(spec) << " wrote row " << r << ", which is not listed";
    }
  }
};

// Hidden rows by kernel, of the first target with fused multiply-add: all others must have the same bits.
std::map<std::string, Bytes> &hiddenRows() {
  static auto *rows = new std::map<std::string, Bytes>;
  return *rows;
}

TEST_P(Tile, GateUpIsCloseAndTheSameOnAllFusedTargets) {
  uint32_t seed = 1;
  for (const KernelSpec &spec : gateUps()) {
    GateUp problem(spec, seed++);
    std::mt19937 random(seed);
    addRowLists(random, problem.call);
    test::KernelCall call = problem.call;
    ASSERT_EQ(run(spec, target(), call), "") << kernelName(spec);
    problem.check(call, hasFma(target()));
    if (hasFma(target())) {
      const Bytes &first = hiddenRows().insert({kernelName(spec), call.operands[2]}).first->second;
      EXPECT_EQ(difference(call.operands[2], first), "") << kernelName(spec);
    }
    if (native()) {
      // Row by row and tile by tile: the same bits.
      test::KernelCall single = problem.call;
      single.tokens = 1;
      for (int64_t t = 0; t < problem.call.tokens; ++t) {
        single.rowsIn = {problem.call.rowsIn[t]}, single.rowsOut = {problem.call.rowsOut[t]};
        for (int64_t tile = 0; tile < tileCount(spec).fixed; ++tile) {
          single.firstTile = tile, single.lastTile = tile + 1;
          ASSERT_EQ(run(spec, target(), single), "") << kernelName(spec);
        }
      }
      EXPECT_EQ(difference(single.operands[2], call.operands[2]), "") << kernelName(spec);
    }
  }
}

TEST_P(Tile, EmbedReadsRowsOutOfPanels) {
  for (const KernelSpec &spec : embeds()) {
    std::mt19937 random(3);
    Bytes weights = packMatrix(spec.layout, randomFloats(random, spec.n * spec.k, 2), spec.n, spec.k);
    std::vector<int32_t> ids{0, 36, 15, 16, 31, 7};
    test::KernelCall call;
    call.tokens = static_cast<int64_t>(ids.size());
    call.operands = {Bytes(4 * ids.size()), weights, Bytes(ids.size() * f32RowBytes(spec.k), 0xff)};
    std::memcpy(call.operands[0].data(), ids.data(), 4 * ids.size());
    Bytes expected(call.operands[2].size());
    const Matrix w{spec.layout, spec.k, weights.data(), static_cast<int64_t>(panelBytes(spec.layout, spec.k))};
    for (size_t t = 0; t < ids.size(); ++t) {
      for (int64_t c = 0; c < spec.k; ++c) {
        float value = spec.layout.getBits() >= 16 ? w.value(ids[t], c)
                                                  : static_cast<float>(w.code(ids[t], c)) * w.scale(ids[t], c);
        value *= spec.scale;
        std::memcpy(&expected[t * f32RowBytes(spec.k) + 4 * c], &value, 4);
      }
    }
    ASSERT_EQ(run(spec, target(), call), "") << kernelName(spec);
    EXPECT_EQ(difference(call.operands[2], expected), "") << kernelName(spec);
  }
}

std::string targetName(const ::testing::TestParamInfo<const Target *> &info) {
  std::string name = info.param->name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Targets, Tile, ::testing::ValuesIn(test::runnableTargets()), targetName);

TEST(TileErrors, LayoutsWithoutAKernelAreRefused) {
  KernelSpec spec = linears().back();
  auto refuses = [&](const KernelSpec &wrong) {
    return !compileImage({wrong}, allTargets()[0], context(), {}).ok();
  };
  EXPECT_FALSE(refuses(spec));
  spec.layout = LayoutAttr::get(&context(), 4, FloatType::F16, 32, ZeroPoint::PerGroup, Codebook::Integer, 16);
  EXPECT_TRUE(refuses(spec));
  spec.layout = LayoutAttr::get(&context(), 4, FloatType::F16, 96, ZeroPoint::Symmetric, Codebook::Integer, 16);
  EXPECT_TRUE(refuses(spec));
  spec.layout = LayoutAttr::get(&context(), 32, FloatType::F32, 0, ZeroPoint::Symmetric, Codebook::Integer, 1);
  spec.quantizedActivations = false;
  EXPECT_TRUE(refuses(spec));
  spec.layout = layout(16), spec.quantizedActivations = true;
  EXPECT_TRUE(refuses(spec));
}

} // namespace
} // namespace emoe
