// A small model whose kernels are plain functions, so that the engine can be tested without the compiler, and a second,
// naive implementation of the same arithmetic to compare with.
//
// Embedding; then per layer: a decaying sum of earlier rows (through a recurrent state), a causal sum over all earlier
// positions (through the KV caches), a router that picks the
// experts of a token by hashing its row, experts (hidden = W x, out = V hidden), combine with residual; then logits.
#ifndef EMOE_TEST_RUNTIME_ENGINE_FAKE_MODEL_H_
#define EMOE_TEST_RUNTIME_ENGINE_FAKE_MODEL_H_

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/engine/session.h"
#include "runtime/io/file.h"

namespace emoe::rt::fake {

constexpr int kWidth = 64, kVocab = 40, kLayers = 3, kExperts = 7, kTopK = 2;
constexpr uint32_t kHalf = kWidth * kWidth * sizeof(float), kRecordBytes = 2 * kHalf;
constexpr uint32_t kRowBytes = kWidth * sizeof(float), kLogitBytes = 64 * sizeof(float);
constexpr uint32_t kPanelBytes = 16 * kRowBytes, kPanels = 64;

// The arithmetic, shared by kernels and reference: sums in ascending order.
inline void Multiply(const float *w, const float *x, float *y, int first, int last) {
  for (int i = first; i < last; ++i) {
    float sum = 0;
    for (int j = 0; j < kWidth; ++j) sum += w[i * kWidth + j] * x[j];
    y[i] = sum;
  }
}
inline void Choose(const float *x, int32_t *ids, float *weights) {
  uint32_t hash = 2166136261u;
  for (int j = 0; j < kWidth; ++j) {
    uint32_t bits;
    memcpy(&bits, &x[j], 4);
    hash = (hash ^ bits) * 16777619u;
  }
  hash ^= hash >> 15;
  ids[0] = static_cast<int32_t>(hash % kExperts);
  ids[1] = static_cast<int32_t>((ids[0] + 1 + hash / kExperts % (kExperts - 1)) % kExperts);
  weights[0] = 0.75f;
  weights[1] = 0.25f;
}

inline float *F(void *p) { return static_cast<float *>(p); }
inline int In(const emoe_kernel_args *a, int64_t i) { return a->rows_in ? a->rows_in[i] : static_cast<int>(i); }
inline int Out(const emoe_kernel_args *a, int64_t i) { return a->rows_out ? a->rows_out[i] : static_cast<int>(i); }

// ids, table, out                                        tile: a token
inline void Embed(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t) {
    memcpy(F(a->operand[2]) + t * kWidth, F(a->operand[1]) + static_cast<int32_t *>(a->operand[0])[t] * kWidth,
           kRowBytes);
  }
}
// x, keys, values                                        tile: a token
inline void Append(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t) {
    memcpy(F(a->operand[1]) + (a->position + t) * kWidth, F(a->operand[0]) + t * kWidth, kRowBytes);
    for (int j = 0; j < kWidth; ++j) {
      F(a->operand[2])[(a->position + t) * kWidth + j] = F(a->operand[0])[t * kWidth + j] * 0.5f;
    }
  }
}
// x, keys, values, out                                   tile: a token
inline void Attend(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t) {
    for (int j = 0; j < kWidth; ++j) {
      float sum = F(a->operand[0])[t * kWidth + j];
      for (int64_t p = 0; p <= a->position + t; ++p) {
        sum += (F(a->operand[1])[p * kWidth + j] - F(a->operand[2])[p * kWidth + j]) * 0.01f;
      }
      F(a->operand[3])[t * kWidth + j] = sum;
    }
  }
}
// x, ids, weights                                        tile: a token
inline void Route(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t) {
    Choose(F(a->operand[0]) + t * kWidth, static_cast<int32_t *>(a->operand[1]) + t * kTopK,
           F(a->operand[2]) + t * kTopK);
  }
}
// x, W, out; rows_in, rows_out                           tile: 16 outputs
inline void Linear(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t i = 0; i < a->tokens; ++i) {
    Multiply(F(a->operand[1]), F(a->operand[0]) + In(a, i) * kWidth, F(a->operand[2]) + Out(a, i) * kWidth,
             static_cast<int>(first * 16), static_cast<int>(last * 16));
  }
}
// pairs, weights, out, residual                          tile: a token
inline void Combine(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = first; t < last; ++t) {
    for (int j = 0; j < kWidth; ++j) {
      float sum = F(a->operand[3])[t * kWidth + j];
      for (int k = 0; k < kTopK; ++k) {
        sum += F(a->operand[1])[t * kTopK + k] * F(a->operand[0])[(t * kTopK + k) * kWidth + j];
      }
      F(a->operand[2])[t * kWidth + j] = sum * 0.5f;
    }
  }
}
inline void Decay(float *x, float *state) {
  const float row = *x;
  *x += *state * 0.1f;
  *state = *state * 0.5f + row;
}
// x (in place), state                                    tile: 16 columns of all rows
inline void Remember(const emoe_kernel_args *a, int64_t first, int64_t last) {
  for (int64_t t = 0; t < a->tokens; ++t) {
    for (int64_t j = first * 16; j < last * 16; ++j) Decay(F(a->operand[0]) + t * kWidth + j, F(a->operand[1]) + j);
  }
}
constexpr emoe_kernel_fn kKernels[] = {Embed, Append, Attend, Route, Linear, Combine, Remember};

// The bundle's tables in memory, and a file that holds its sections.
struct Model {
  Bundle bundle;
  std::string path;
  FileProvider provider;
  std::vector<float> table, experts;  // resident embedding (also the logits' matrix); records

  // `paged`: the embedding is another tensor than the logits' matrix, behind 64 bytes, and need not be in memory.
  explicit Model(const Syscalls &calls = kSyscalls, uint32_t chunk_bytes = 12 * 1024, bool paged = false)
      : provider(calls) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> real(-0.2f, 0.2f);
    table.resize(64 * kWidth);
    experts.resize(size_t{kLayers} * kExperts * kRecordBytes / sizeof(float));
    for (float &x : table) x = real(random) * 5;
    for (float &x : experts) x = real(random);

    for (uint32_t end = chunk_bytes; end < kRecordBytes; end += chunk_bytes) ends.push_back(end);
    ends.push_back(kRecordBytes);
    const char *at = reinterpret_cast<const char *>(experts.data());
    for (int record = 0; record < kLayers * kExperts; ++record, at += kRecordBytes) {
      records.push_back({static_cast<uint64_t>(record) * kRecordBytes, static_cast<uint32_t>(crcs.size()), 0});
      uint32_t begin = 0;
      for (uint32_t end : ends) {
        crcs.push_back(Crc32c(at + begin, end - begin));
        begin = end;
      }
    }
    variant = {4, 4, 0, kHalf, kRecordBytes, {ends.data(), ends.size()}, Activations::kF32, {32, 0, 0, 0, 0, 16},
               {32, 0, 0, 0, 0, 16}};
    for (int layer = 0; layer < kLayers; ++layer) {
      moe.push_back({kExperts, kTopK, {&variant, 1}, {records.data() + layer * kExperts, size_t{kExperts}}});
    }
    //         bytes a row            slot  rows
    buffers = {{0, kRowBytes,          0, Rows::kAll},      // 0: x
               {0, kRowBytes,          1, Rows::kAll},      // 1: after attention
               {0, 4 * kTopK,          2, Rows::kAll},      // 2: ids
               {0, 4 * kTopK,          3, Rows::kAll},      // 3: weights
               {0, kTopK * kRowBytes,  4, Rows::kAll},      // 4: hidden
               {0, kTopK * kRowBytes,  5, Rows::kAll},      // 5: pairs
               {0, kLogitBytes,        4, Rows::kWanted}};  // 6: logits, in the memory of hidden
    for (uint32_t i = 0; i < 7; ++i) {
      const bool by_columns = i == 4 || i == 6;
      kernels.push_back({{}, {}, by_columns ? 4u : 0u, by_columns ? 0u : 1u});
    }
    for (int layer = 0; layer < kLayers; ++layer) kv.push_back({1, kWidth});
    states.assign(kLayers, kRowBytes);

    auto buffer = [](uint32_t i) { return Operand{OperandKind::kBuffer, i}; };
    Operand tensor{OperandKind::kTensor, 0}, none{OperandKind::kNone, 0};
    operands.push_back({{OperandKind::kTokenIds, 0}, {OperandKind::kTensor, paged ? 2u : 0u}, buffer(0)});
    AddStep(0, Rows::kAll);
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      Operand keys{OperandKind::kKvKeys, layer}, values{OperandKind::kKvValues, layer};
      operands.push_back({buffer(0), {OperandKind::kState, layer}});
      AddStep(6, Rows::kAll);
      operands.push_back({buffer(0), keys, values});
      AddStep(1, Rows::kAll);
      operands.push_back({buffer(0), keys, values, buffer(1)});
      AddStep(2, Rows::kAll);
      operands.push_back({buffer(1), buffer(2), buffer(3)});
      AddStep(3, Rows::kAll);
      operands.push_back({buffer(1), none, buffer(2), buffer(4), buffer(5)});
      AddStep(0, Rows::kAll);
      steps.back().kind = StepKind::kExperts;
      steps.back().layer = layer;
      operands.push_back({buffer(5), buffer(3), buffer(0), buffer(1)});
      AddStep(5, Rows::kAll);
    }
    operands.push_back({buffer(0), tensor, buffer(6)});
    AddStep(4, Rows::kWanted);
    for (size_t i = 0; i < steps.size(); ++i) steps[i].operands = {operands[i].data(), operands[i].size()};

    bundle.model.vocab = kVocab;
    bundle.model.context = 64;
    const uint64_t table_bytes = table.size() * 4;
    const char *bytes = reinterpret_cast<const char *>(table.data());
    resident.assign(bytes, bytes + table_bytes);
    tensors = {{{}, 0, table_bytes, 64, kWidth, {32, 0, 0, 0, 0, 1}}};
    if (paged) {
      resident.insert(resident.end(), 64, 'x');
      panel_crcs.push_back(Crc32c(resident.data(), resident.size()));
      // The rest of a vocabulary that is much larger than what is kept of it.
      resident.insert(resident.end(), bytes, bytes + table_bytes);
      resident.resize(table_bytes + 64 + kPanels * kPanelBytes, 'y');
      tensors.push_back({{}, table_bytes, 64, 1, 16, {32, 0, 0, 0, 0, 1}});
      tensors.push_back({{}, table_bytes + 64, kPanels * kPanelBytes, 16 * kPanels, kWidth, {32, 0, 0, 0, 0, 16}, true});
      for (uint32_t i = 0; i < kPanels; ++i) {
        panel_crcs.push_back(Crc32c(resident.data() + table_bytes + 64 + i * kPanelBytes, kPanelBytes));
      }
    }
    bundle.tensors = {tensors.data(), tensors.size()};
    bundle.panel_crcs = {panel_crcs.data(), panel_crcs.size()};
    bundle.buffers = {buffers.data(), buffers.size()};
    bundle.kv_layers = {kv.data(), kv.size()};
    bundle.states = {states.data(), states.size()};
    bundle.kernel_table = {kernels.data(), kernels.size()};
    bundle.steps = {steps.data(), steps.size()};
    bundle.logits = 6;
    bundle.moe_layers = {moe.data(), moe.size()};
    bundle.chunk_crcs = {crcs.data(), crcs.size()};
    bundle.plan.context = 64;
    bundle.plan.chunk = 16;
    bundle.resident.offset = 4096;
    bundle.resident.length = resident.size();
    bundle.resident.crc = Crc32c(resident.data(), resident.size());
    bundle.experts.offset = 4096 + (resident.size() + 4095) / 4096 * 4096;
    bundle.experts.length = experts.size() * 4;
    bundle.resident.present = bundle.experts.present = true;

    char name[] = "emoe_fake_XXXXXX";
    int fd = mkstemp(name);
    path = name;
    Put(fd, resident.data(), resident.size(), bundle.resident.offset);
    Put(fd, experts.data(), experts.size() * 4, bundle.experts.offset);
    close(fd);
    if (!provider.Open(path.c_str()).ok()) abort();
  }
  ~Model() { unlink(path.c_str()); }

  void AddStep(uint32_t kernel, Rows rows) { steps.push_back({StepKind::kKernel, kernel, {}, 0, rows, 0, ScoreFunction::kNone}); }
  static void Put(int fd, const void *data, size_t bytes, uint64_t offset) {
    if (pwrite(fd, data, bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) abort();
  }
  // Flips a bit of a record in the file.
  void Damage(uint64_t record, uint64_t byte) { DamageAt(bundle.experts.offset + record * kRecordBytes + byte); }
  void DamageAt(uint64_t offset) {
    int fd = open(path.c_str(), O_RDWR);
    char value;
    if (pread(fd, &value, 1, static_cast<off_t>(offset)) != 1) abort();
    value = static_cast<char>(value ^ 4);
    Put(fd, &value, 1, offset);
    close(fd);
  }

  // Logits of all rows, token by token, without chunks, caches or threads.
  std::vector<float> Reference(const std::vector<int32_t> &tokens) const {
    std::vector<std::vector<float>> seen(kLayers), remembered(kLayers, std::vector<float>(kWidth));
    std::vector<float> result;
    for (int32_t token : tokens) {
      std::vector<float> x(table.begin() + token * kWidth, table.begin() + (token + 1) * kWidth);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int j = 0; j < kWidth; ++j) Decay(&x[j], &remembered[layer][j]);
        seen[layer].insert(seen[layer].end(), x.begin(), x.end());
        std::vector<float> attended = x;
        for (int j = 0; j < kWidth; ++j) {
          for (size_t p = 0; p < seen[layer].size() / kWidth; ++p) {
            float key = seen[layer][p * kWidth + j];
            attended[j] += (key - key * 0.5f) * 0.01f;
          }
        }
        int32_t ids[kTopK];
        float weights[kTopK];
        Choose(attended.data(), ids, weights);
        std::vector<float> sum = attended;
        for (int k = 0; k < kTopK; ++k) {
          const float *record = experts.data() + (size_t{kExperts} * layer + ids[k]) * (kRecordBytes / 4);
          std::vector<float> hidden(kWidth), out(kWidth);
          Multiply(record, attended.data(), hidden.data(), 0, kWidth);
          Multiply(record + kHalf / 4, hidden.data(), out.data(), 0, kWidth);
          for (int j = 0; j < kWidth; ++j) sum[j] += weights[k] * out[j];
        }
        for (int j = 0; j < kWidth; ++j) x[j] = sum[j] * 0.5f;
      }
      std::vector<float> logits(64);
      Multiply(table.data(), x.data(), logits.data(), 0, 64);
      result.insert(result.end(), logits.begin(), logits.begin() + kVocab);
    }
    return result;
  }

  std::vector<uint32_t> ends, crcs;
  std::vector<Record> records;
  std::vector<MoeLayer> moe;
  std::vector<Buffer> buffers;
  std::vector<Kernel> kernels;
  std::vector<KvLayer> kv;
  std::vector<uint64_t> states;
  std::vector<Step> steps;
  std::vector<std::vector<Operand>> operands;
  Variant variant;
  std::vector<Tensor> tensors;
  std::vector<uint32_t> panel_crcs;
  std::vector<char> resident;
};

inline SessionOptions Options(uint32_t threads = 1, uint32_t chunk = 0) {
  SessionOptions options;
  options.kernels = kKernels;
  options.memory.threads = threads;
  options.memory.chunk = chunk;
  options.memory.all_logits = true;
  options.memory.process_bytes = 1;  // not measured: a sanitizer's own memory grows as it likes
  return options;
}

inline Status Collect(void *user, uint64_t, uint32_t count, const float *logits, uint64_t stride) {
  auto *out = static_cast<std::vector<float> *>(user);
  for (uint32_t row = 0; row < count; ++row) out->insert(out->end(), logits + row * stride, logits + row * stride + kVocab);
  return OkStatus();
}

struct Destroyer {
  void operator()(Session *session) const { Session::Destroy(session); }
};
using SessionPtr = std::unique_ptr<Session, Destroyer>;

inline SessionPtr Make(Model &model, const SessionOptions &options, Status *status) {
  Session *session = nullptr;
  *status = Session::Create(model.bundle, model.provider, options, &session);
  return SessionPtr(session);
}

// The smallest budget that works: a paged embedding is not in memory then.
inline uint64_t Floor(Model &model, SessionOptions options) {
  options.memory.budget = 1;
  Status status;
  return Make(model, options, &status) == nullptr && status.code == StatusCode::kBudget ? status.detail : 0;
}

inline std::vector<int32_t> Tokens(int count) {
  std::vector<int32_t> tokens;
  std::mt19937 random(3);
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(random() % kVocab));
  return tokens;
}

}  // namespace emoe::rt::fake

#endif  // EMOE_TEST_RUNTIME_ENGINE_FAKE_MODEL_H_
