// Every family without packed weights that knows no sequence, on every instruction set that runs here, against a slow
// reference in double. Inputs have NaN in their padding, outputs everywhere.
#include "test/compiler/codegen/kernels_test.h"

using namespace emoe;
using namespace emoe::test;

namespace {

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

INSTANTIATE_TEST_SUITE_P(Targets, KernelTest, ::testing::ValuesIn(runnableTargets()), targetName);

} // namespace
