// A bundle, opened and validated: plain arrays over the index's bytes. After Open, no index, offset, size or enum in
// here can lead outside the file, the tables or the buffers: nothing is checked again (FORMAT.md, "validation").
#ifndef EMOE_RUNTIME_BUNDLE_BUNDLE_H_
#define EMOE_RUNTIME_BUNDLE_BUNDLE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

namespace emoe::rt {

template <typename T>
struct Span {
  const T *data = nullptr;
  size_t size = 0;
  const T &operator[](size_t i) const { return data[i]; }
  const T *begin() const { return data; }
  const T *end() const { return data + size; }
};

// Not NUL-terminated; points into the index.
using Text = Span<char>;

// Where a bundle's bytes come from: a file, memory, or (calibration) records packed on demand.
// Read fills the buffer whole or fails (retries are the provider's). Thread-safe.
class Provider {
 public:
  virtual ~Provider() = default;
  virtual uint64_t size() const = 0;
  virtual Status Read(uint64_t offset, void *out, size_t bytes) = 0;
  // A file descriptor that asynchronous readers may use at the same offsets, or -1.
  virtual int descriptor() const { return -1; }
};

enum class FloatType : uint8_t { kF32 = 0, kF16 = 1, kBf16 = 2 };
enum : uint8_t { kTernary = 1, kCentred = 3 };  // Layout::codebook; 0: integers
enum class Activations : uint8_t { kF32 = 0, kQ8 = 1 };
enum class OperandKind : uint8_t { kNone = 0, kTokenIds = 1, kBuffer = 2, kTensor = 3, kKvKeys = 4, kKvValues = 5, kState = 6 };
enum class StepKind : uint8_t { kKernel = 0, kExperts = 1, kLookAhead = 2 };
enum class ScoreFunction : uint8_t { kSoftmax = 0, kSigmoid = 1, kNone = 2 };
// Described where they are used: runtime/experts/predict.h.
enum class PredictorKind : uint8_t { kNone = 0, kStatic = 1, kPreviousToken = 2, kTable = 3, kLookAhead = 4 };
constexpr uint32_t kPredictorKinds = 5;
// What they mean: runtime/experts/cache_parameters.h.
enum class CachePolicy : uint8_t { kLfu = 0, kLru = 1, kEdgeMoe = 2, kLeastStale = 3, kNextUse = 4 };
enum class Rows : uint32_t { kAll = 0, kWanted = 1, kSource = 2 };

// These mirror the structs of schema/bundle.fbs byte for byte (static_asserts in index.cpp).
struct Layout {
  uint8_t bits, float_type, zero_point, codebook;
  uint16_t group, panel;
};
struct Buffer {
  uint64_t fixed, per_token;
  uint32_t slot;
  Rows rows;
};
struct KvLayer {
  uint32_t kv_heads, head_dim;
};
struct Extent {
  uint64_t fixed, per_token, per_position;
};
struct Operand {
  OperandKind kind;
  uint32_t index;
};
struct Record {
  uint64_t offset;  // from the start of the experts section
  uint32_t first_crc, variant;
};
// What the cache does with at least so many slots (runtime/experts/cache_parameters.h).
struct CacheChoice {
  uint32_t slots, pinned;
  uint16_t half_life;
  CachePolicy policy;
  uint8_t distance_power, recent, per_layer;
};
struct HitPoint {
  uint32_t slots;
  float lru, lfu, planned, belady;
};
// rows[first + a * experts of target + b]: what it says of expert b of `target` that `source` chose expert a: for its
// next chance in a later token, or (same_token 1, source before target) in this one.
struct NextUseBlock {
  uint32_t first;
  uint16_t source, target;
  uint8_t same_token;
};

struct Tensor {
  Text name;
  uint64_t offset, bytes;  // in the resident section
  uint32_t rows, columns;
  Layout layout;
  bool paged = false;      // need not be in memory: FORMAT.md, "paged tensors"
};
struct Kernel {
  Text name;
  Span<Extent> extents;
  uint32_t tiles_fixed, tiles_per_token;
};
struct Step {
  StepKind kind;
  uint32_t kernel;
  Span<Operand> operands;
  uint32_t layer;
  Rows rows;
  uint32_t router = 0;                            // kLookAhead
  ScoreFunction score = ScoreFunction::kSoftmax;  // kLookAhead
};
struct Variant {
  uint32_t gate_up_kernel, down_kernel, gate_up_offset, down_offset, record_bytes;
  Span<uint32_t> chunk_ends;
  Activations activations;
  Layout layout, down_layout;  // of gate and up, of down
};
struct MoeLayer {
  uint32_t experts, top_k;
  Span<Variant> variants;
  Span<Record> records;
  uint32_t capacity = 0;  // tokens of a sequence that an expert takes; 0: all
  bool source = false;    // of the encoder: it runs once a request
  bool ranked = false;    // second choices find room beside all first ones
  float weight_floor = 0, weight_scale = 0;  // of weights that a capacity leaves, if the scale is positive
};
struct PredictorQuality {
  PredictorKind predictor;
  uint32_t tokens;
  float recall, recall_low, recall_high, recall_2k, precision_2k;
};
struct PredictorEntry {
  PredictorKind predictor;
  float scale;
  uint64_t offset;  // in the tables section
  uint32_t parts, keys;
  Span<PredictorQuality> quality;
  float break_even;
};
struct Image {
  Text isa;
  uint16_t machine;
  uint64_t features, offset, bytes;  // in the kernels section
  Span<uint64_t> entries;
};
struct Section {
  uint64_t offset = 0, length = 0;
  uint32_t crc = 0;
  bool present = false;
  uint32_t type = 0;  // emoe_section_type
};

struct Bundle {
  Section index, resident, experts, kernels, tokenizer, tables;
  bool has_model = false;  // false: a tokenizer-only bundle, all that follows but `memory` is empty
  struct {
    Text architecture;
    uint32_t vocab = 0, hidden = 0, layers = 0, context = 0;
    int32_t first_token = -1;
    Span<int32_t> stop_tokens;
    uint64_t parameters = 0;
    uint32_t positions = 0;  // tokens that it has embeddings of positions for; 0: no bound
  } model;
  Span<Tensor> tensors;
  Span<Buffer> buffers;
  Span<KvLayer> kv_layers;
  Span<uint64_t> states;  // bytes of each recurrent state
  uint32_t kv_bits = 32;  // of each key and value: 32 or 16
  Span<Kernel> kernel_table;
  Span<Step> steps;
  uint32_t logits = 0;
  Span<MoeLayer> moe_layers;
  Span<uint32_t> chunk_crcs;
  Span<uint32_t> panel_crcs;  // empty where no tensor is paged
  Span<Image> images;
  struct {
    uint32_t context = 0, chunk = 0;
    Text policy;
    Span<CacheChoice> choices;
    Span<HitPoint> hit_curve;
    uint32_t recommended_slots = 0;
    float regret = 0;  // hit rate that Belady's optimum has above the plan's, with the recommended slots
    struct {
      uint8_t discount = 128;
      float scale = 0;
      Span<uint16_t> usual;
      Span<NextUseBlock> blocks;
      Span<int8_t> rows;
    } next_use;
  } plan;
  struct {
    Text producer, source, source_hash, options;
  } provenance;
  struct {
    Text texts, hash;
    uint64_t fit_tokens = 0, held_out_tokens = 0;
    float held_out_loss = 0;
  } calibration;  // empty without texts
  Span<PredictorEntry> predictors;  // one per mixture layer, or none
  struct {
    Text policy, rounding, measure, uniform_format, rival_format, notes;
    double tolerance = 0, predicted = 0, verified = 0, verified_error = 0, divergence = 0;
    double uniform_loss = 0, rival_loss = 0, random_loss = 0, random_divergence = 0;
    uint64_t bytes = 0, weights = 0, uniform_bytes = 0, rival_bytes = 0;
    Span<float> amplification;
  } widths;  // how the experts' widths were chosen; policy is empty where nobody chose

  // Whether the model has an encoder: steps that run on its input.
  bool HasSource() const {
    for (const Step &step : steps) {
      if (step.rows == Rows::kSource) return true;
    }
    return false;
  }

  // Owns the index bytes and the tables above; released by CloseBundle. Counted in `bytes_held`.
  void *memory = nullptr;
  uint64_t bytes_held = 0;
};

// Reads the header, the section table and the index, validates them wholly, and fills `out`. The resident, kernels,
// tokenizer and tables sections are located but not read. `out` is untouched on failure.
// kBadBundle, kUnsupported (newer format or unknown layout), kIo (the provider's), kBudget (no memory for the index).
Status OpenBundle(Provider &provider, Bundle *out);
void CloseBundle(Bundle *bundle);

// Reads a whole section into `out` (section.length bytes) and checks its CRC-32C.
Status ReadSection(Provider &provider, const Section &section, void *out);

// Checks every byte of the file: header, sections, record chunks, zero padding. `progress` (may be null) gets bytes
// done, up to provider.size(). A damaged record: detail = mixture layer, detail2 = expert.
Status VerifyBundle(Provider &provider, const Bundle &bundle, void (*progress)(uint64_t, void *), void *user);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_BUNDLE_H_
