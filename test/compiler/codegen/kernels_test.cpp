// Every family without packed weights, on every instruction set that runs here, against a slow reference in double.
// Inputs have NaN in their padding, caches where nothing was written, outputs everywhere.
#include <algorithm>
#include <cmath>
#include <map>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "compiler/codegen/half.h"
#include "gtest/gtest.h"
#include "test/support/image_runner.h"

using namespace emoe;
using namespace emoe::test;

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int64_t paddedTo64(int64_t width) { return (width + 63) / 64 * 64; }

Floats randomFloats(size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float &value : values) {
    value = normal(generator);
  }
  return values;
}

Bytes bytesOf(const Floats &values) {
  Bytes bytes(4 * values.size());
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <typename T = float> std::vector<T> valuesOf(const Bytes &bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// f32 rows with NaN in the padding.
Bytes rowsOf(const Floats &values, int64_t width) {
  int64_t stride = paddedTo64(width), rows = static_cast<int64_t>(values.size()) / width;
  Floats out(rows * stride, kNan);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(values.begin() + r * width, width, out.begin() + r * stride);
  }
  return bytesOf(out);
}

Bytes poison(size_t floats) { return bytesOf(Floats(floats, kNan)); }

// The values of f32 rows, whose padding must be zeros.
Floats unpad(const Bytes &bytes, int64_t width) {
  Floats rows = valuesOf(bytes), out;
  int64_t stride = paddedTo64(width);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<int64_t>(i % stride) < width) {
      out.push_back(rows[i]);
    } else {
      EXPECT_EQ(rows[i], 0) << "padding of row " << i / stride;
    }
  }
  return out;
}

// |got - expected| <= relative * |expected| + absolute.
void expectNear(const Floats &got, const std::vector<double> &expected, double relative, double absolute,
                const std::string &what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_LE(std::abs(got[i] - expected[i]), relative * std::abs(expected[i]) + absolute)
        << what << " element " << i << ": " << got[i] << " is not " << expected[i];
  }
}

class KernelTest : public ::testing::TestWithParam<const Target *> {
protected:
  const Target &target() { return *GetParam(); }
  void run(const KernelSpec &spec, KernelCall &call) {
    std::string problem = runKernel(spec, target(), call);
    ASSERT_EQ(problem, "") << kernelName(spec);
  }
};

double activate(Activation activation, double x) {
  switch (activation) {
  case Activation::Silu: return x / (1 + std::exp(-x));
  case Activation::GeluTanh:
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case Activation::GeluErf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case Activation::Relu: return std::max(x, 0.0);
  case Activation::Relu2: return x > 0 ? x * x : 0;
  case Activation::Sigmoid: return 1 / (1 + std::exp(-x));
  case Activation::Tanh: return std::tanh(x);
  }
  return 0;
}

TEST_P(KernelTest, Scale) {
  for (int64_t width : {1, 17, 100}) {
    int64_t tokens = 3;
    Floats x = randomFloats(tokens * width, 1, 3), factors = randomFloats(tokens, 2);
    KernelSpec scale;
    scale.family = KernelFamily::Scale;
    scale.k = width;
    scale.scale = 0.3f;
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(x, width), poison(tokens * paddedTo64(width))};
    run(scale, call);
    Floats got = unpad(call.operands[1], width);
    KernelSpec byRow;
    byRow.family = KernelFamily::ScaleRows;
    byRow.k = width;
    KernelCall rows;
    rows.tokens = tokens;
    rows.operands = {rowsOf(x, width), rowsOf(factors, 1), poison(tokens * paddedTo64(width))};
    run(byRow, rows);
    Floats gotRows = unpad(rows.operands[2], width);
    byRow.packedFactor = true;
    rows.operands = {rowsOf(x, width), bytesOf(factors), poison(tokens * paddedTo64(width))};
    run(byRow, rows);
    ASSERT_EQ(unpad(rows.operands[2], width), gotRows);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(got[i], x[i] * 0.3f);
      ASSERT_EQ(gotRows[i], x[i] * factors[i / width]);
    }
  }
}

TEST_P(KernelTest, Columns) {
  for (auto [heads, part, start, width] : {std::tuple<int64_t, int64_t, int64_t, int64_t>{1, 5, 2, 3}, {3, 24, 7, 17}, {2, 40, 0, 33}}) {
    const int64_t tokens = 3, wide = heads * part, taken = heads * width;
    Floats x = randomFloats(tokens * wide, 1), shared = randomFloats(tokens * width, 2);
    KernelSpec slice;
    slice.family = KernelFamily::Slice;
    slice.k = wide;
    slice.heads = heads;
    slice.headDim = width;
    slice.start = start;
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(x, wide), poison(tokens * paddedTo64(taken))};
    run(slice, call);
    Floats columns = unpad(call.operands[1], taken);
    for (int64_t i = 0; i < tokens * taken; ++i) {
      ASSERT_EQ(columns[i], x[i / width * part + start + i % width]);
    }
    for (int64_t rhsHeads : {heads, int64_t(1)}) {
      const Floats &rhs = rhsHeads == 1 ? shared : columns;
      const int64_t more = rhsHeads == 1 ? width : taken, out = wide + taken;
      KernelSpec concat;
      concat.family = KernelFamily::Concat;
      concat.k = wide;
      concat.n = more;
      concat.heads = heads;
      concat.kvHeads = rhsHeads;
      KernelCall join;
      join.tokens = tokens;
      join.operands = {rowsOf(x, wide), rowsOf(rhs, more), poison(tokens * paddedTo64(out))};
      run(concat, join);
      Floats got = unpad(join.operands[2], out);
      for (int64_t i = 0; i < tokens * out; ++i) {
        int64_t at = i / (part + width), within = i % (part + width);
        float expected = within < part ? x[at * part + within]
                                       : rhs[(rhsHeads == 1 ? at / heads : at) * width + within - part];
        ASSERT_EQ(got[i], expected) << i;
      }
    }
  }
}

// Numbers go on from call to call, skip padding and stay below the limit.
TEST_P(KernelTest, Number) {
  auto integers = [](const Bytes &bytes) {
    std::vector<int32_t> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  auto bytes = [](const std::vector<int32_t> &values) {
    Bytes result(values.size() * 4);
    std::memcpy(result.data(), values.data(), result.size());
    return result;
  };
  const std::vector<int32_t> ids = {7, 1, 9, 9, 1, 1, 3, 0, 5, 1}, expected = {2, 1, 3, 4, 1, 1, 5, 6, 6, 1};
  for (bool counts : {false, true}) {
    KernelSpec spec;
    spec.family = KernelFamily::Number;
    spec.n = 7;
    spec.start = 2;
    spec.padding = 1;
    spec.hasState = counts;
    for (const std::vector<size_t> &chunks : {std::vector<size_t>{10}, {1, 4, 5}}) {
      std::vector<int32_t> got;
      Bytes state(64, 0);
      for (size_t done = 0; size_t chunk : chunks) {
        KernelCall call;
        call.tokens = static_cast<int64_t>(chunk);
        call.operands = {bytes({ids.begin() + done, ids.begin() + done + chunk}), Bytes(4 * chunk, 0xff)};
        if (counts) {
          call.operands.push_back(state);
        }
        run(spec, call);
        std::vector<int32_t> part = integers(call.operands[1]);
        got.insert(got.end(), part.begin(), part.end());
        if (counts) {
          state = call.operands[2];
        }
        done += chunk;
      }
      if (counts || chunks.size() == 1) {
        EXPECT_EQ(got, expected);
      } else {
        EXPECT_EQ(got[1], 1);
        EXPECT_EQ(got[2], 2) << "each call is a sequence";
      }
      if (counts) {
        EXPECT_EQ(integers(state)[0], 6);
      }
    }
  }
}

// The whole sequence at once, and cut into calls that pass the state on.
TEST_P(KernelTest, ShortConv) {
  struct Case { int64_t taps, width; bool bias; };
  for (const Case &c : {Case{2, 1, false}, {3, 64, false}, {3, 100, true}, {4, 17, true}, {16, 130, false}}) {
    const int64_t tokens = 9, stride = paddedTo64(c.width), before = c.taps - 1;
    Floats x = randomFloats(tokens * c.width, 1), w = randomFloats(c.taps * c.width, 2), bias = randomFloats(c.width, 3);
    Floats past = randomFloats(before * c.width, 4), seen = past;
    seen.insert(seen.end(), x.begin(), x.end());
    std::vector<double> expected;
    for (int64_t i = 0; i < tokens * c.width; ++i) {
      double sum = c.bias ? bias[i % c.width] : 0;
      for (int64_t j = 0; j < c.taps; ++j) {
        sum += double(w[j * c.width + i % c.width]) * seen[i + j * c.width];
      }
      expected.push_back(sum);
    }
    KernelSpec spec;
    spec.family = KernelFamily::ShortConv;
    spec.n = c.taps;
    spec.k = c.width;
    spec.hasBias = c.bias;
    Floats state(before * stride, 0);
    for (int64_t i = 0; i < before * c.width; ++i) {
      state[i / c.width * stride + i % c.width] = past[i];
    }
    Floats first;
    for (const std::vector<int64_t> &chunks : {std::vector<int64_t>{9}, {1, 3, 5}, {2, 2, 2, 2, 1}}) {
      Floats got;
      Bytes carried = bytesOf(state);
      for (int64_t done = 0; int64_t chunk : chunks) {
        KernelCall call;
        call.tokens = chunk;
        Floats part(x.begin() + done * c.width, x.begin() + (done + chunk) * c.width);
        call.operands = {rowsOf(part, c.width), bytesOf(w), carried, poison(chunk * stride)};
        if (c.bias) {
          call.operands.push_back(bytesOf(bias));
        }
        run(spec, call);
        carried = call.operands[2];
        Floats out = unpad(call.operands[3], c.width);
        got.insert(got.end(), out.begin(), out.end());
        done += chunk;
      }
      expectNear(got, expected, 1e-5, 1e-5, kernelName(spec));
      Floats left = unpad(carried, c.width);
      ASSERT_EQ(left, Floats(seen.end() - before * c.width, seen.end()));
      first = first.empty() ? got : first;
      ASSERT_EQ(got, first) << "another chunk, other bits";
    }
    // Tiles are independent: the last one alone.
    KernelCall last;
    last.tokens = tokens;
    last.firstTile = stride / 16 - 1;
    last.lastTile = stride / 16;
    last.operands = {rowsOf(x, c.width), bytesOf(w), bytesOf(state), poison(tokens * stride)};
    if (c.bias) {
      last.operands.push_back(bytesOf(bias));
    }
    run(spec, last);
    Floats rows = valuesOf(last.operands[3]);
    for (int64_t i = 0; i < tokens * stride; ++i) {
      const int64_t column = i % stride;
      if (column < stride - 16) {
        ASSERT_TRUE(std::isnan(rows[i])) << i;
      } else {
        ASSERT_EQ(rows[i], column < c.width ? first[i / stride * c.width + column] : 0) << i;
      }
    }
  }
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

// The whole sequence at once, and cut into calls that pass the state on.
TEST_P(KernelTest, DeltaNet) {
  struct Case { int64_t heads, keyHeads, keyWidth, width; bool normalise, bias, log; float epsilon; };
  for (const Case &c : {Case{1, 1, 1, 1, false, false, false, 0}, {4, 2, 16, 16, true, true, false, 0},
                        {2, 1, 24, 40, true, false, true, 1e-3f}, {3, 3, 7, 17, false, true, true, 0},
                        {6, 2, 32, 32, true, true, false, 1e-6f}}) {
    const int64_t tokens = 9, keys = c.keyHeads * c.keyWidth, values = c.heads * c.width, stride = paddedTo64(values);
    const int64_t padded = (c.width + 15) / 16 * 16;
    Floats q = randomFloats(tokens * keys, 1), key = randomFloats(tokens * keys, 2, c.normalise ? 1 : 0.2f);
    Floats v = randomFloats(tokens * values, 3), a = randomFloats(tokens * c.heads, 4, 3), b = randomFloats(tokens * c.heads, 5, 2);
    Floats factor = randomFloats(c.heads, 6), bias = randomFloats(c.heads, 7), past = randomFloats(c.heads * c.keyWidth * c.width, 8);
    if (!c.log) {
      for (float &f : factor) {
        f = -std::abs(f);
      }
    }
    if (c.normalise && c.epsilon == 0) {
      std::fill_n(q.begin() + keys, c.keyWidth, 0.0f); // of the second token's first head: stays zero
      std::fill_n(key.begin() + 2 * keys, c.keyWidth, 0.0f);
    }
    KernelSpec spec;
    spec.family = KernelFamily::DeltaNet;
    spec.heads = c.heads;
    spec.kvHeads = c.keyHeads;
    spec.headDim = c.keyWidth;
    spec.n = c.width;
    spec.scale = 0.7f;
    spec.renormalise = c.normalise;
    spec.epsilon = c.epsilon;
    spec.hasBias = c.bias;
    spec.logDecay = c.log;
    std::vector<double> expected(tokens * values), s(past.begin(), past.end());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t at = t * keys + h / (c.heads / c.keyHeads) * c.keyWidth, gate = t * c.heads + h;
        auto unit = [&](const Floats &rows) {
          std::vector<double> x(rows.begin() + at, rows.begin() + at + c.keyWidth);
          double sum = std::inner_product(x.begin(), x.end(), x.begin(), double(c.epsilon));
          for (double &value : x) {
            value = !c.normalise ? value : sum == 0 ? 0 : value / std::sqrt(sum);
          }
          return x;
        };
        std::vector<double> qs = unit(q), ks = unit(key);
        double f = c.log ? -std::exp(double(factor[h])) : factor[h];
        double decay = std::exp(f * softplus(double(a[gate]) + (c.bias ? bias[h] : 0))), rate = 1 / (1 + std::exp(-double(b[gate])));
        for (int64_t j = 0; j < c.width; ++j) {
          double *column = &s[h * c.keyWidth * c.width + j], said = 0, y = 0;
          for (int64_t i = 0; i < c.keyWidth; ++i) {
            column[i * c.width] *= decay;
            said += ks[i] * column[i * c.width];
          }
          for (int64_t i = 0; i < c.keyWidth; ++i) {
            column[i * c.width] += ks[i] * rate * (v[t * values + h * c.width + j] - said);
            y += qs[i] * column[i * c.width];
          }
          expected[t * values + h * c.width + j] = 0.7f * y;
        }
      }
    }
    auto rowsOfState = [&](const auto &values_) {
      Floats out(c.heads * c.keyWidth * padded, 0);
      for (int64_t i = 0; i < static_cast<int64_t>(values_.size()); ++i) {
        out[i / c.width * padded + i % c.width] = values_[i];
      }
      return out;
    };
    auto operandsOf = [&](int64_t done, int64_t chunk, const Bytes &state) {
      auto part = [&](const Floats &rows, int64_t width) {
        return rowsOf(Floats(rows.begin() + done * width, rows.begin() + (done + chunk) * width), width);
      };
      std::vector<Bytes> operands{part(q, keys), part(key, keys), part(v, values), part(a, c.heads), part(b, c.heads),
                                  bytesOf(factor), state, poison(chunk * stride)};
      if (c.bias) {
        operands.push_back(bytesOf(bias));
      }
      return operands;
    };
    Floats first;
    for (const std::vector<int64_t> &chunks : {std::vector<int64_t>{9}, {1, 3, 5}, {2, 2, 2, 2, 1}}) {
      Floats got;
      Bytes carried = bytesOf(rowsOfState(past));
      for (int64_t done = 0; int64_t chunk : chunks) {
        KernelCall call;
        call.tokens = chunk;
        call.operands = operandsOf(done, chunk, carried);
        run(spec, call);
        carried = call.operands[6];
        Floats out = unpad(call.operands[7], values);
        got.insert(got.end(), out.begin(), out.end());
        done += chunk;
      }
      expectNear(got, expected, 1e-4, 1e-4, kernelName(spec));
      Floats left = valuesOf(carried);
      Floats wanted = rowsOfState(s);
      expectNear(left, std::vector<double>(wanted.begin(), wanted.end()), 1e-4, 1e-4, kernelName(spec) + " state");
      first = first.empty() ? got : first;
      ASSERT_EQ(got, first) << "another chunk, other bits";
    }
    // Tiles are independent: the last one alone, which also writes the padding.
    KernelCall last;
    last.tokens = tokens;
    last.firstTile = c.heads * (padded / 16) - 1;
    last.lastTile = last.firstTile + 1;
    last.operands = operandsOf(0, tokens, bytesOf(rowsOfState(past)));
    run(spec, last);
    Floats rows = valuesOf(last.operands[7]);
    for (int64_t i = 0; i < tokens * stride; ++i) {
      const int64_t column = i % stride;
      if (column >= values) {
        ASSERT_EQ(rows[i], 0) << i;
      } else if (column < values - c.width + (padded - 16)) {
        ASSERT_TRUE(std::isnan(rows[i])) << i;
      } else {
        ASSERT_EQ(rows[i], first[i / stride * values + column]) << i;
      }
    }
  }
}

TEST_P(KernelTest, Elementwise) {
  for (int64_t width : {1, 17, 64, 100}) {
    int64_t tokens = 3;
    Floats a = randomFloats(tokens * width, 1, 3), b = randomFloats(tokens * width, 2);
    for (KernelFamily family : {KernelFamily::Add, KernelFamily::Mul}) {
      KernelSpec spec;
      spec.family = family;
      spec.k = width;
      KernelCall call;
      call.tokens = tokens;
      call.operands = {rowsOf(a, width), rowsOf(b, width), poison(tokens * paddedTo64(width))};
      run(spec, call);
      Floats got = unpad(call.operands[2], width);
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(got[i], family == KernelFamily::Add ? a[i] + b[i] : a[i] * b[i]);
      }
    }
  }
  const int64_t width = 100;
  Floats x = randomFloats(2 * width, 3, 4);
  x[0] = 0, x[1] = -0.0f, x[2] = 100, x[3] = -100;
  for (Activation activation : {Activation::Silu, Activation::GeluTanh, Activation::GeluErf, Activation::Relu,
                                Activation::Relu2, Activation::Sigmoid, Activation::Tanh}) {
    KernelSpec spec;
    spec.family = KernelFamily::Activate;
    spec.k = width;
    spec.activation = activation;
    KernelCall call;
    call.tokens = 2;
    call.operands = {rowsOf(x, width), poison(2 * paddedTo64(width))};
    run(spec, call);
    std::vector<double> expected;
    for (float value : x) {
      expected.push_back(activate(activation, value));
    }
    // The error functions are absolute in 1 + tanh or erf, and multiplied by |x| <= 16 here.
    expectNear(unpad(call.operands[1], width), expected, 2e-6, 8e-6, kernelName(spec));
  }
}

TEST_P(KernelTest, Norm) {
  struct Case { int64_t k, heads; };
  for (Case c : {Case{7, 1}, Case{64, 1}, Case{100, 1}, Case{130, 2}, Case{96, 4}, Case{320, 1}}) {
    for (NormKind kind : {NormKind::Rms, NormKind::Layer}) {
      int64_t tokens = 2, part = c.k / c.heads;
      KernelSpec spec;
      spec.family = KernelFamily::Norm;
      spec.k = c.k;
      spec.heads = c.heads;
      spec.norm = kind;
      spec.epsilon = 1e-5f;
      spec.hasBias = kind == NormKind::Layer;
      spec.offset = kind == NormKind::Rms && c.heads == 2 ? 1 : 0;
      Floats x = randomFloats(tokens * c.k, 5), w = randomFloats(part, 6), bias = randomFloats(part, 7);
      KernelCall call;
      call.tokens = tokens;
      call.operands = {rowsOf(x, c.k), bytesOf(w), poison(tokens * paddedTo64(c.k))};
      if (spec.hasBias) {
        call.operands.push_back(bytesOf(bias));
      }
      run(spec, call);
      std::vector<double> expected;
      for (int64_t start = 0; start < tokens * c.k; start += part) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < part; ++i) {
          mean += x[start + i] / double(part);
        }
        mean = kind == NormKind::Layer ? mean : 0;
        for (int64_t i = 0; i < part; ++i) {
          squares += (x[start + i] - mean) * (x[start + i] - mean) / double(part);
        }
        for (int64_t i = 0; i < part; ++i) {
          expected.push_back((x[start + i] - mean) / std::sqrt(squares + 1e-5f) * (w[i] + spec.offset) +
                             (spec.hasBias ? bias[i] : 0));
        }
      }
      expectNear(unpad(call.operands[2], c.k), expected, 2e-6, 2e-6, kernelName(spec));
    }
  }
}

TEST_P(KernelTest, QuantizeIsExact) {
  for (int64_t width : {1, 33, 64, 100}) {
    int64_t tokens = 3, padded = paddedTo64(width), stride = padded + padded / 4;
    Floats x = randomFloats(tokens * width, 8, 10);
    for (int64_t i = 0; i < std::min<int64_t>(width, 32); ++i) {
      x[i] = 0;              // a group of zeros
      x[width + i] *= 1e-32f;  // and one too small to scale
    }
    KernelSpec spec;
    spec.family = KernelFamily::Quantize;
    spec.k = width;
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(x, width), Bytes(tokens * stride, 0xee)};
    run(spec, call);
    for (int64_t t = 0; t < tokens; ++t) {
      const uint8_t *row = call.operands[1].data() + t * stride;
      for (int64_t g = 0; g < padded / 32; ++g) {
        float amax = 0, scale;
        int32_t sum = 0, gotSum;
        auto at = [&](int64_t i) { return g * 32 + i < width ? x[t * width + g * 32 + i] : 0.0f; };
        for (int64_t i = 0; i < 32; ++i) {
          amax = std::max(amax, std::abs(at(i)));
        }
        bool tiny = amax < 0x1p-100f;
        for (int64_t i = 0; i < 32; ++i) {
          int q = tiny ? 0 : static_cast<int>(std::nearbyint(at(i) * (127.0f / amax)));
          ASSERT_EQ(static_cast<int8_t>(row[g * 32 + i]), q) << "width " << width << " group " << g << " element " << i;
          sum += q;
        }
        std::memcpy(&scale, row + padded + 4 * g, 4);
        std::memcpy(&gotSum, row + padded + padded / 8 + 4 * g, 4);
        ASSERT_EQ(scale, tiny ? 0 : amax / 127.0f);
        ASSERT_EQ(gotSum, sum);
      }
    }
  }
}

TEST_P(KernelTest, Rotary) {
  struct Case { int64_t heads, headDim, rotated, position; };
  for (Case c : {Case{2, 16, 16, 0}, Case{3, 64, 64, 1000}, Case{2, 80, 20, 7}, Case{1, 128, 96, (1 << 20) - 2}}) {
    for (RotaryStyle style : {RotaryStyle::Half, RotaryStyle::Interleaved}) {
      int64_t tokens = 2, width = c.heads * c.headDim, pairs = c.rotated / 2;
      KernelSpec spec;
      spec.family = KernelFamily::Rotary;
      spec.heads = c.heads;
      spec.headDim = c.headDim;
      spec.rotated = c.rotated;
      spec.rotary = style;
      spec.scale = 1.25f;
      Floats x = randomFloats(tokens * width, 9), frequencies;
      for (int64_t i = 0; i < pairs; ++i) {
        frequencies.push_back(static_cast<float>(std::pow(10000.0, -double(i) / pairs)));
      }
      KernelCall call;
      call.tokens = tokens;
      call.position = c.position;
      call.operands = {rowsOf(x, width), bytesOf(frequencies), poison(tokens * paddedTo64(width))};
      run(spec, call);
      std::vector<double> expected(x.begin(), x.end());
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < c.heads; ++h) {
          for (int64_t i = 0; i < pairs; ++i) {
            float angle = static_cast<float>(c.position + t) * frequencies[i];
            size_t head = t * width + h * c.headDim;
            size_t first = head + (style == RotaryStyle::Half ? i : 2 * i);
            size_t second = style == RotaryStyle::Half ? first + pairs : first + 1;
            double u = x[first], v = x[second], s = std::sin(double(angle)), k = std::cos(double(angle));
            expected[first] = 1.25 * (u * k - v * s);
            expected[second] = 1.25 * (v * k + u * s);
          }
        }
      }
      expectNear(unpad(call.operands[2], width), expected, 1e-6, 2e-6, kernelName(spec));
    }
  }
}

// Cosines and sines as a table of float16 holds them: those whose float32 lies at the edge between two may go either way.
TEST_P(KernelTest, RotaryOfRoundedTables) {
  const int64_t tokens = 40, width = 64, pairs = width / 2;
  KernelSpec spec;
  spec.family = KernelFamily::Rotary;
  spec.heads = 1;
  spec.headDim = spec.rotated = width;
  spec.scale = 1.25f;
  spec.digits = 11;
  Floats x = randomFloats(tokens * width, 9), frequencies;
  for (int64_t i = 0; i < pairs; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(10000.0, -double(i) / pairs)));
  }
  KernelCall call;
  call.tokens = tokens;
  call.position = 3;
  call.operands = {rowsOf(x, width), bytesOf(frequencies), poison(tokens * paddedTo64(width))};
  run(spec, call);
  auto rounded = [](double value) {
    int exponent = 0;
    const double fraction = std::frexp(value, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, 11)), exponent - 11);
  };
  const Floats got = unpad(call.operands[2], width);
  int off = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(3 + t) * frequencies[i];
      const double s = rounded(1.25 * std::sin(double(angle))), c = rounded(1.25 * std::cos(double(angle)));
      const double u = x[t * width + i], v = x[t * width + i + pairs];
      off += std::abs(got[t * width + i] - (u * c - v * s)) > 2e-6;
      off += std::abs(got[t * width + i + pairs] - (v * c + u * s)) > 2e-6;
    }
  }
  EXPECT_LE(off, tokens * width / 100);
}

struct AttentionCase {
  int64_t heads, kvHeads, headDim, window, past, tokens;
  float softcap;
  bool sinks;
  int64_t distances = 0, before = 0;
  bool bidirectional = false;  // all positions are seen, wherever the query is
  int64_t kvBits = 32;
};

TEST_P(KernelTest, Attention) {
  for (AttentionCase c : {AttentionCase{2, 1, 8, 0, 0, 3, 0, false}, AttentionCase{4, 2, 20, 0, 17, 2, 0, true},
                          AttentionCase{2, 2, 64, 5, 30, 4, 20, false}, AttentionCase{6, 2, 100, 16, 40, 1, 0, true},
                          AttentionCase{4, 4, 16, 0, 9, 3, 0, false, 5, 4}, AttentionCase{2, 2, 8, 0, 21, 2, 0, true, 1, 0},
                          AttentionCase{2, 1, 24, 0, 18, 4, 0, false, 9, 3, true},
                          AttentionCase{4, 4, 16, 0, 0, 1, 0, false, 0, 0, true}, AttentionCase{2, 1, 8, 0, 0, 3, 0, false, 0, 0, false, 16},
                          AttentionCase{4, 2, 20, 0, 17, 2, 0, true, 0, 0, false, 16},
                          AttentionCase{2, 2, 64, 5, 30, 4, 20, false, 0, 0, false, 16},
                          AttentionCase{2, 1, 256, 0, 40, 1, 0, true, 0, 0, false, 16},
                          AttentionCase{6, 2, 100, 16, 40, 1, 0, true, 0, 0, false, 16},
                          AttentionCase{2, 1, 24, 0, 18, 4, 0, false, 9, 3, true, 16}}) {
    int64_t total = c.past + c.tokens, capacity = (total + 15) / 16 * 16 + 16;
    int64_t width = c.heads * c.headDim, kvWidth = c.kvHeads * c.headDim;
    KernelSpec append;
    append.family = KernelFamily::KvAppend;
    append.kvHeads = c.kvHeads;
    append.headDim = c.headDim;
    append.kvBits = c.kvBits;
    Floats key = randomFloats(total * kvWidth, 10), value = randomFloats(total * kvWidth, 11);
    const int64_t floats = capacity * kvWidth * c.kvBits / 32;  // of a cache's memory
    KernelCall fill;
    fill.tokens = total;
    fill.capacity = capacity;
    fill.operands = {rowsOf(key, kvWidth), rowsOf(value, kvWidth), poison(floats), poison(floats)};
    run(append, fill);
    if (c.kvBits == 16) {  // what is stored is the nearest float16
      for (Floats *list : {&key, &value}) {
        for (float &x : *list) {
          x = halfToFloat(floatToHalf(x));
        }
      }
    }

    KernelSpec spec = append;
    spec.family = KernelFamily::Attention;
    spec.heads = c.heads;
    spec.window = c.window;
    spec.softcap = c.softcap;
    spec.hasSinks = c.sinks;
    spec.scale = 0.3f;
    spec.distances = c.distances;
    spec.biasBefore = c.before;
    spec.bidirectional = c.bidirectional;
    Floats q = randomFloats(c.tokens * width, 12, 2), sinks = randomFloats(c.heads, 13);
    Floats table = randomFloats(c.heads * c.distances, 14);
    KernelCall call;
    call.tokens = c.tokens;
    call.position = c.past;
    call.capacity = capacity;
    call.operands = {rowsOf(q, width), fill.operands[2], fill.operands[3], poison(c.tokens * paddedTo64(width))};
    if (c.sinks) {
      call.operands.push_back(bytesOf(sinks));
    }
    if (c.distances) {
      call.operands.push_back(bytesOf(table));
    }
    call.source = c.bidirectional ? total : 0;
    KernelCall whole = call;
    run(spec, whole);

    std::vector<double> expected;
    for (int64_t t = 0; t < c.tokens; ++t) {
      for (int64_t h = 0; h < c.heads; ++h) {
        int64_t own = c.past + t, last = c.bidirectional ? total - 1 : own, low = c.window ? std::max<int64_t>(0, last - c.window + 1) : 0;
        int64_t kv = h / (c.heads / c.kvHeads);
        double denominator = c.sinks ? std::exp(double(sinks[h])) : 0;
        std::vector<double> sum(c.headDim, 0);
        for (int64_t p = low; p <= last; ++p) {
          double s = 0;
          for (int64_t d = 0; d < c.headDim; ++d) {
            s += double(q[t * width + h * c.headDim + d]) * key[p * kvWidth + kv * c.headDim + d];
          }
          s *= 0.3f;
          s = c.softcap > 0 ? c.softcap * std::tanh(s / c.softcap) : s;
          if (c.distances) {
            s += table[h * c.distances + std::clamp<int64_t>(p - own + c.before, 0, c.distances - 1)];
          }
          denominator += std::exp(s);
          for (int64_t d = 0; d < c.headDim; ++d) {
            sum[d] += std::exp(s) * value[p * kvWidth + kv * c.headDim + d];
          }
        }
        for (double v : sum) {
          expected.push_back(v / denominator);
        }
      }
    }
    expectNear(unpad(whole.operands[3], width), expected, 2e-5, 2e-5, kernelName(spec));

    // One token at a time: the same bits.
    Bytes rows;
    for (int64_t t = 0; t < c.tokens; ++t) {
      KernelCall one = call;
      one.tokens = 1;
      one.position = c.past + t;
      one.operands[0] = rowsOf(Floats(q.begin() + t * width, q.begin() + (t + 1) * width), width);
      one.operands[3] = poison(paddedTo64(width));
      run(spec, one);
      rows.insert(rows.end(), one.operands[3].begin(), one.operands[3].end());
    }
    EXPECT_EQ(rows, whole.operands[3]) << kernelName(spec);
  }
}

// What is appended as float16: every kind of float, to the nearest one with ties to even, on every target.
TEST_P(KernelTest, KeysAndValuesAreRoundedToTheNearestHalf) {
  constexpr int64_t kHeadDim = 40;
  Floats special = {0.0f, -0.0f, 1.0f, -1.0f, 65504.0f, 65519.0f, 65520.0f, -65520.0f, 1e30f, -1e30f, INFINITY, -INFINITY,
                    0x1p-14f, 0x1.ffcp-15f, 0x1.ffep-15f, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1.000002p-25f, -0x1p-26f, 1e-40f,
                    1.00048828125f, 1.00146484375f, 0x1.004p0f, 0x1.002p0f, 0x1.006p0f, -0x1.ffdp3f, -0x1.fffp3f, 0x1.002002p0f};
  special.push_back(NAN);
  Floats more = randomFloats(kHeadDim * 16 - static_cast<int64_t>(special.size()), 31, 6);
  special.insert(special.end(), more.begin(), more.end());
  KernelSpec append;
  append.family = KernelFamily::KvAppend;
  append.kvHeads = 1;
  append.headDim = kHeadDim;
  append.kvBits = 16;
  KernelCall call;
  call.tokens = 16;
  call.capacity = 16;
  call.operands = {rowsOf(special, kHeadDim), rowsOf(special, kHeadDim), poison(8 * kHeadDim), poison(8 * kHeadDim)};
  run(append, call);
  auto stored = [&](size_t operand, int64_t index) {
    uint16_t half;
    std::memcpy(&half, call.operands[operand].data() + 2 * index, 2);
    return half;
  };
  for (int64_t t = 0; t < 16; ++t) {
    for (int64_t d = 0; d < kHeadDim; ++d) {
      const float x = special[t * kHeadDim + d];
      if (std::isnan(x)) {
        EXPECT_TRUE(std::isnan(halfToFloat(stored(2, d * 16 + t))) && std::isnan(halfToFloat(stored(3, t * kHeadDim + d))));
        continue;
      }
      const uint16_t expected = floatToHalf(std::min(65504.0f, std::max(-65504.0f, x)));
      EXPECT_EQ(stored(2, d * 16 + t), expected) << x;
      EXPECT_EQ(stored(3, t * kHeadDim + d), expected) << x;
    }
  }
}

struct RouteCase {
  int64_t n, topK;
  ScoreFunction score;
  bool bias, softmaxAfter, renormalise;
  float scale;
};

// Groups, and a factor for each expert.
TEST_P(KernelTest, RouteInGroups) {
  const int64_t n = 24, topK = 4, groups = 6, topGroups = 2, size = n / groups, tokens = 7;
  for (int64_t groupTop : {1, 2}) {
    KernelSpec spec;
    spec.family = KernelFamily::Route;
    spec.n = n, spec.topK = topK, spec.score = ScoreFunction::None;
    spec.groups = groups, spec.topGroups = topGroups, spec.groupTop = groupTop, spec.groupFill = -100;
    spec.hasBias = true, spec.hasScale = true;
    Floats logits = randomFloats(tokens * n, 3), bias = randomFloats(n, 4), factors = randomFloats(n, 5);
    std::fill_n(logits.begin(), n, 0.5f);
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(logits, n), Bytes(4 * tokens * topK, 0xee), poison(tokens * topK), bytesOf(bias), bytesOf(factors)};
    run(spec, call);
    std::vector<int32_t> ids = valuesOf<int32_t>(call.operands[1]);
    Floats weights = valuesOf(call.operands[2]);
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<float> choice(n), score(groups);
      for (int64_t e = 0; e < n; ++e) {
        choice[e] = logits[t * n + e] + bias[e];
      }
      for (int64_t g = 0; g < groups; ++g) {
        std::vector<float> own(choice.begin() + g * size, choice.begin() + (g + 1) * size);
        std::sort(own.rbegin(), own.rend());
        score[g] = groupTop == 1 ? own[0] : own[0] + own[1];
      }
      auto order = [](const std::vector<float> &values) {
        std::vector<int32_t> indices(values.size());
        std::iota(indices.begin(), indices.end(), 0);
        std::stable_sort(indices.begin(), indices.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
        return indices;
      };
      std::vector<int32_t> best = order(score);
      for (int64_t e = 0; e < n; ++e) {
        choice[e] = e / size == best[0] || e / size == best[1] ? choice[e] : -100;
      }
      std::vector<int32_t> chosen = order(choice);
      chosen.resize(topK);
      std::sort(chosen.begin(), chosen.end());
      for (int64_t j = 0; j < topK; ++j) {
        ASSERT_EQ(ids[t * topK + j], chosen[j]) << "token " << t;
        ASSERT_EQ(weights[t * topK + j], logits[t * n + chosen[j]] * factors[chosen[j]]) << "token " << t;
      }
    }
  }
}

TEST_P(KernelTest, RouteBySparseMixer) {
  const int64_t n = 20, topK = 2, tokens = 5;
  KernelSpec spec;
  spec.family = KernelFamily::Route;
  spec.n = n, spec.topK = topK, spec.score = ScoreFunction::SparseMixer, spec.threshold = 0.3f;
  Floats logits = randomFloats(tokens * n, 9, 2);
  std::fill_n(logits.begin(), n, 0.5f);
  KernelCall call;
  call.tokens = tokens;
  call.operands = {rowsOf(logits, n), Bytes(4 * tokens * topK, 0xee), poison(tokens * topK)};
  run(spec, call);
  std::vector<int32_t> ids = valuesOf<int32_t>(call.operands[1]);
  Floats weights = valuesOf(call.operands[2]);
  for (int64_t t = 0; t < tokens; ++t) {
    const float *row = logits.data() + t * n;
    std::map<int32_t, double> chosen;
    for (int64_t round = 0; round < topK; ++round) {
      int32_t best = -1;
      for (int32_t e = 0; e < n; ++e) {
        best = !chosen.count(e) && (best < 0 || row[e] > row[best]) ? e : best;
      }
      double sum = 0;
      for (int32_t e = 0; e < n; ++e) {
        float distance = (row[best] - row[e]) / std::max(std::abs(row[e]), row[best]);
        sum += chosen.count(e) || distance > 0.3f ? 0 : std::exp(static_cast<double>(row[e]) - row[best]);
      }
      chosen[best] = 1 / sum;
    }
    int64_t j = t * topK;
    for (auto [expert, weight] : chosen) {
      ASSERT_EQ(ids[j], expert) << "token " << t;
      ASSERT_NEAR(weights[j], weight, 1e-5) << "token " << t;
      ++j;
    }
  }
}

TEST_P(KernelTest, Route) {
  for (RouteCase c : {RouteCase{16, 2, ScoreFunction::Softmax, false, false, true, 1},
                      RouteCase{60, 4, ScoreFunction::Softmax, false, false, false, 1},
                      RouteCase{130, 8, ScoreFunction::Sigmoid, true, false, true, 2.5f},
                      RouteCase{32, 4, ScoreFunction::None, false, true, false, 1},
                      RouteCase{3, 3, ScoreFunction::None, false, true, false, 1},
                      RouteCase{5, 1, ScoreFunction::Softmax, false, false, false, 1}}) {
    KernelSpec spec;
    spec.family = KernelFamily::Route;
    spec.n = c.n;
    spec.topK = c.topK;
    spec.score = c.score;
    spec.hasBias = c.bias;
    spec.softmaxAfter = c.softmaxAfter;
    spec.renormalise = c.renormalise;
    spec.epsilon = c.renormalise ? 1e-20f : 0;
    spec.scale = c.scale;
    int64_t tokens = 5;
    Floats logits = randomFloats(tokens * c.n, 14, 2), bias = randomFloats(c.n, 15, 0.1f);
    std::fill_n(logits.begin(), c.n, 0.5f);              // ties
    std::fill_n(logits.begin() + c.n, c.n, kNan);        // nothing to choose by
    logits[2 * c.n + c.n / 2] = kNan;
    logits[3 * c.n] = -std::numeric_limits<float>::infinity();
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(logits, c.n), Bytes(4 * tokens * c.topK, 0xee), poison(tokens * c.topK)};
    if (c.bias) {
      call.operands.push_back(bytesOf(bias));
    }
    run(spec, call);
    std::vector<int32_t> ids = valuesOf<int32_t>(call.operands[1]);
    Floats weights = valuesOf(call.operands[2]);
    for (int64_t t = 0; t < tokens; ++t) {
      const int32_t *chosen = ids.data() + t * c.topK;
      for (int64_t j = 0; j < c.topK; ++j) {
        ASSERT_GE(chosen[j], j ? chosen[j - 1] + 1 : 0) << kernelName(spec) << " token " << t;
        ASSERT_LT(chosen[j], c.n) << kernelName(spec) << " token " << t;
      }
      if (t == 1 || t == 2) {
        continue;  // NaN: valid and distinct, weights are not stated
      }
      std::vector<double> scores(c.n);
      double total = 0;
      for (int64_t e = 0; e < c.n; ++e) {
        double x = logits[t * c.n + e];
        scores[e] = c.score == ScoreFunction::Softmax   ? std::exp(x)
                    : c.score == ScoreFunction::Sigmoid ? 1 / (1 + std::exp(-x))
                                                        : x;
        total += scores[e];
      }
      std::vector<int32_t> order(c.n);
      std::iota(order.begin(), order.end(), 0);
      for (double &s : scores) {
        s = c.score == ScoreFunction::Softmax ? s / total : s;
      }
      // Choices differ by far more than rounding, or are equal in both.
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        auto choice = [&](int32_t e) { return scores[e] + (c.bias ? double(bias[e]) : 0); };
        return choice(a) > choice(b);
      });
      order.resize(c.topK);
      std::sort(order.begin(), order.end());
      ASSERT_EQ(std::vector<int32_t>(chosen, chosen + c.topK), order) << kernelName(spec) << " token " << t;
      std::vector<double> expected;
      double sum = 0, exponentials = 0;
      for (int32_t e : order) {
        exponentials += std::exp(scores[e]);
      }
      for (int32_t e : order) {
        expected.push_back(c.softmaxAfter ? std::exp(scores[e]) / exponentials : scores[e]);
        sum += expected.back();
      }
      for (double &w : expected) {
        w = (c.renormalise ? w / sum : w) * c.scale;
      }
      expectNear(Floats(weights.begin() + t * c.topK, weights.begin() + (t + 1) * c.topK), expected, 3e-6, 1e-9,
                 kernelName(spec));
    }
  }
}

TEST_P(KernelTest, Combine) {
  for (bool residual : {false, true}) {
    int64_t width = 100, topK = 3, tokens = 2;
    KernelSpec spec;
    spec.family = KernelFamily::Combine;
    spec.k = width;
    spec.topK = topK;
    spec.hasResidual = residual;
    Floats pairs = randomFloats(tokens * topK * width, 16), weights = randomFloats(tokens * topK, 17),
           base = randomFloats(tokens * width, 18);
    KernelCall call;
    call.tokens = tokens;
    call.operands = {rowsOf(pairs, width), bytesOf(weights), poison(tokens * paddedTo64(width))};
    if (residual) {
      call.operands.push_back(rowsOf(base, width));
    }
    run(spec, call);
    std::vector<double> expected;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        double sum = residual ? base[t * width + i] : 0;
        for (int64_t j = 0; j < topK; ++j) {
          sum += double(weights[t * topK + j]) * pairs[(t * topK + j) * width + i];
        }
        expected.push_back(sum);
      }
    }
    expectNear(unpad(call.operands[2], width), expected, 1e-6, 1e-6, kernelName(spec));
  }
}

// Where multiply-add is fused the same operations are made in the same order.
TEST(Targets, WithFusedMultiplyAddAgreeBitForBit) {
  const int64_t width = 320, tokens = 3, headDim = 80, capacity = 64;
  KernelSpec norm;
  norm.family = KernelFamily::Norm;
  norm.k = width;
  norm.heads = 1;
  norm.norm = NormKind::Layer;
  KernelSpec silu;
  silu.family = KernelFamily::Activate;
  silu.k = width;
  KernelSpec rotary;
  rotary.family = KernelFamily::Rotary;
  rotary.heads = width / headDim;
  rotary.headDim = rotary.rotated = headDim;
  KernelSpec attention;
  attention.family = KernelFamily::Attention;
  attention.heads = width / headDim;
  attention.kvHeads = 2;
  attention.headDim = headDim;
  attention.softcap = 25;
  attention.scale = 0.1f;
  KernelSpec half = attention;
  half.kvBits = 16;
  KernelSpec route;
  route.family = KernelFamily::Route;
  route.n = width;
  route.topK = 6;
  KernelSpec net;
  net.family = KernelFamily::DeltaNet;
  net.heads = 2;
  net.kvHeads = 1;
  net.headDim = width;
  net.n = width / 2;
  net.renormalise = true;
  KernelSpec conv;
  conv.family = KernelFamily::ShortConv;
  conv.n = 3;
  conv.k = width;
  Bytes rows = rowsOf(randomFloats(tokens * width, 20, 2), width), vector = bytesOf(randomFloats(width, 21));
  Bytes cache = bytesOf(randomFloats(capacity * 2 * headDim, 22)), out = poison(tokens * paddedTo64(width));
  Bytes halves;
  for (float x : randomFloats(capacity * 2 * headDim, 22)) {
    const uint16_t rounded = floatToHalf(x);
    halves.insert(halves.end(), {static_cast<uint8_t>(rounded), static_cast<uint8_t>(rounded >> 8)});
  }
  Bytes gates = rowsOf(randomFloats(tokens * 2, 26), 2);
  struct Case { KernelSpec spec; std::vector<Bytes> operands; };
  for (const Case &c : {Case{norm, {rows, vector, out}}, Case{silu, {rows, out}}, Case{rotary, {rows, vector, out}},
                        Case{conv, {rows, bytesOf(randomFloats(3 * width, 23)), bytesOf(randomFloats(2 * width, 24)), out}},
                        Case{net, {rows, rows, rows, gates, gates, bytesOf({-0.5f, -2.0f}),
                                   bytesOf(randomFloats(2 * width * ((width / 2 + 15) / 16 * 16), 25)), out}},
                        Case{attention, {rows, cache, cache, out}}, Case{half, {rows, halves, halves, out}},
                        Case{route, {rows, poison(6 * tokens), poison(6 * tokens)}}}) {
    std::vector<Bytes> first;
    for (const Target *target : runnableTargets()) {
      if (target->name == "x86-64") {
        continue;
      }
      KernelCall call;
      call.tokens = tokens;
      call.position = 37;
      call.capacity = capacity;
      call.operands = c.operands;
      ASSERT_EQ(runKernel(c.spec, *target, call), "");
      first = first.empty() ? call.operands : first;
      EXPECT_EQ(call.operands, first) << kernelName(c.spec) << " for " << target->name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, KernelTest, ::testing::ValuesIn(runnableTargets()),
                         [](const ::testing::TestParamInfo<const Target *> &info) {
                           std::string name = info.param->name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
