// Kernels that know a sequence (positions, states, caches), on every instruction set that runs here, against a slow reference
// in double. Inputs have NaN in their padding, caches where nothing was written, outputs everywhere.
#include "test/compiler/codegen/kernels_test.h"

using namespace emoe;
using namespace emoe::test;

namespace {

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
      size_t done = 0;
      for (size_t chunk : chunks) {
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
      int64_t done = 0;
      for (int64_t chunk : chunks) {
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
      int64_t done = 0;
      for (int64_t chunk : chunks) {
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

INSTANTIATE_TEST_SUITE_P(Targets, KernelTest, ::testing::ValuesIn(runnableTargets()), targetName);

} // namespace
