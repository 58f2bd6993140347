// What a kernel computes, as a value: the compiler's passes choose specifications, codegen turns them into code.
#ifndef EMOE_COMPILER_CODEGEN_KERNEL_H_
#define EMOE_COMPILER_CODEGEN_KERNEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dialects/emoe/emoe.h"
#include "mlir/IR/BuiltinAttributes.h"

namespace emoe {

// Families and their operands, in order. "rows" operands have the formats of schema/kernel_abi.h. T = args.tokens.
enum class KernelFamily {
  Embed,      // ids i32 [T], W [n, k], out f32 rows [T, k]: out = scale * W[ids]             tile: a token
  Norm,       // x f32 rows [T, k], W f32 [k / heads], out f32 rows; bias f32 if hasBias        tile: a token
  Quantize,   // x f32 rows [T, k], out q8 rows                                               tile: a token
  Linear,     // x rows [T, k] (f32 or q8), W [n, k], out f32 rows [T, n]; then residual f32 rows if hasResidual,
              // bias f32 [n] if hasBias (in W, behind the panels, if biasBehind). rows_in, rows_out apply.                            tile: a panel of 16 outputs
  Rotary,     // x f32 rows [T, heads * headDim], inv_freq f32 [rotated / 2], out f32 rows    tile: a token
  KvAppend,   // k, v f32 rows [T, kvHeads * headDim], key cache, value cache                 tile: a key head of a token
  Attention,  // q f32 rows [T, heads * headDim], key cache, value cache, out f32 rows;
              // sinks f32 [heads] if hasSinks, table f32 [heads, distances] if it has distances:
              // emoe.attention's position_bias. Bidirectional: sees args.source keys.        tile: token tile % T, head tile / T
  Route,      // logits f32 rows [T, n], ids out i32 [T, topK], weights out f32 [T, topK];
              // selection bias f32 [n] if hasBias, factors f32 [n] if hasScale              tile: a token
  GateUp,     // x rows [T, k] (f32 or q8), W: panels gate 0, up 0, gate 1, up 1 ..., h rows [T, n] (f32 or q8, as
              // the input): h = act(gate x) * (up x), or act(up x) if not gated (panels: up 0, up 1 ...).
              // Behind the panels, if hasBias: f32 biases [n rounded up to 16] of gate (if gated) and of up.
              // rows_in, rows_out apply.                                                     tile: 32 outputs
  Combine,    // pairs f32 rows [T * topK, k], weights f32 [T, topK], out f32 rows [T, k];
              // residual f32 rows if hasResidual: out = residual + sum_j weights[t, j] * pairs[t * topK + j], j ascending
              //                                                                              tile: a token
  Add, Mul,   // a, b f32 rows [T, k], out f32 rows                                           tile: a token
  Activate,   // x f32 rows [T, k], out f32 rows                                              tile: a token
  Scale,      // x f32 rows [T, k], out f32 rows: out = scale * x                             tile: a token
  ScaleRows,  // x f32 rows [T, k], factor f32 rows [T, 1] (f32 [T] if packedFactor, as Route writes the weights of one
              // expert), out f32 rows [T, k]                                                 tile: a token
  Slice,      // x f32 rows [T, k], out f32 rows [T, heads * headDim]: columns start .. start + headDim of each of
              // `heads` parts, zeros beyond it                                               tile: a token
  Concat,     // a f32 rows [T, k], b f32 rows [T, n], out f32 rows: each of `heads` parts of a followed by a part of
              // b, which has kvHeads of them (heads or 1)                                    tile: a token
  ShortConv,  // x f32 rows [T, k], W f32 [n, k], state f32 rows [n - 1, k], out f32 rows [T, k]; bias f32 [k] if hasBias:
              // out[t] = bias + sum_j W[j] * x[t - (n - 1) + j], rows before the first being the state's, which
              // becomes the last n - 1 rows                                                  tile: 16 columns
  DeltaNet,   // q, k f32 rows [T, kvHeads * headDim], v f32 rows [T, heads * n], a, b f32 rows [T, heads], decay f32 [heads],
              // state f32 [heads, headDim, n rounded up to 16], out f32 rows [T, heads * n]; decay bias f32 [heads] if
              // hasBias: emoe.delta_net with `renormalise` for its normalise           tile: 16 columns of a head
  Number,     // ids i32 [T], numbers i32 [T], state i32 [1] if hasState: emoe.number_tokens with `n` for its limit and
              // `start` for first                                                            tile: all tokens
};

// Fields that a family does not use keep their defaults, so that equal kernels compare equal.
struct KernelSpec {
  KernelFamily family = KernelFamily::Add;
  int64_t n = 0;              // outputs (Linear, GateUp: rows of W; Embed: vocabulary; Route: experts)
  int64_t k = 0;              // inputs (row width)
  int64_t heads = 0, kvHeads = 0, headDim = 0;
  int64_t kvBits = 32;        // KvAppend, Attention: of cached keys and values: 32 (f32) or 16 (f16)
  int64_t rotated = 0;        // Rotary: elements of a head that are rotated
  int64_t digits = 24;        // Rotary: binary digits of scaled cosines and sines
  int64_t topK = 0, window = 0, start = 0;
  int64_t distances = 0, biasBefore = 0;  // Attention
  bool bidirectional = false;             // Attention
  LayoutAttr layout;          // of W; null where there is no packed weight
  int64_t rowStride = 0;      // bytes from one row of h (GateUp) or of x (Linear) to the next; 0: the format's own
  bool quantizedActivations = false;  // Linear, GateUp: input (and h) are q8 rows
  bool biasBehind = false;    // Linear: the bias lies behind the panels of W, as a record has it
  bool gated = false, hasBias = false, hasResidual = false, hasSinks = false;
  bool hasScale = false;  // Route: a factor for each expert
  bool logDecay = false;  // DeltaNet
  bool packedFactor = false;  // ScaleRows
  bool hasState = false;  // Number
  int64_t padding = -1;   // Number
  bool softmaxAfter = false, renormalise = false;
  int64_t groups = 1, topGroups = 1, groupTop = 1;  // Route
  NormKind norm = NormKind::Rms;
  Activation activation = Activation::Silu;
  ScoreFunction score = ScoreFunction::Softmax;
  RotaryStyle rotary = RotaryStyle::Half;
  float epsilon = 0, scale = 1, softcap = 0;
  float groupFill = 0, threshold = 0;           // Route
  float alpha = 1, offset = 0, limit = 0;       // GateUp: emoe.moe's; Norm: added to the weights
};

// Bytes behind one operand: fixed + perToken * T + perPosition * capacity.
struct OperandExtent {
  uint64_t fixed = 0, perToken = 0, perPosition = 0;
};

// Tiles of a call: fixed + perToken * T.
struct TileCount {
  uint32_t fixed = 0, perToken = 0;
};

// A name that is unique among different specifications, deterministic, and readable: "linear_q4g32f16_n64_k128_q8".
std::string kernelName(const KernelSpec &spec);
std::vector<OperandExtent> operandExtents(const KernelSpec &spec);
TileCount tileCount(const KernelSpec &spec);

// Row strides in bytes of the row formats (schema/kernel_abi.h) for rows of `width` elements.
uint64_t f32RowBytes(int64_t width);
uint64_t q8RowBytes(int64_t width);

// Row stride of h (GateUp) or x (Linear).
uint64_t hiddenRowBytes(const KernelSpec &spec);

// The specification as a dictionary (only fields that differ from the defaults), and back.
mlir::DictionaryAttr specToAttr(mlir::MLIRContext *context, const KernelSpec &spec);
absl::StatusOr<KernelSpec> specFromAttr(mlir::DictionaryAttr attr);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_KERNEL_H_
