// What raising knows about a value of the ONNX graph: its extents, and what it stands for in the model.
#ifndef EMOE_COMPILER_RAISE_MEANING_H_
#define EMOE_COMPILER_RAISE_MEANING_H_

#include <array>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "compiler/raise/extent.h"
#include "compiler/raise/view.h"
#include "mlir/IR/Value.h"

namespace emoe {

// In which order rows lie in a tensor: B = 1, S tokens, H heads, W width (of a head, where there are heads). BSHW also
// stands for [B, S * H, W] and [S * H, W].
enum class Form { SW, BSW, S1W, BSHW, BHSW, BHWS };

enum class Kind {
  Opaque,      // nothing is known but the extents
  // Numbers that the graph computes with
  Numbers,     // integers, each known as an expression: `numbers`
  Reals,       // floats, each known: `reals`
  Fill,        // every element is `scalar` (also booleans)
  IndexTuple,  // [.., n]: zeros, but the last component is the iota of `base` along `axis`
  Iota,        // `base` + index along `axis`, the same along all other axes; integer or float
  // Inputs
  TokenIds,    // [1, S]
  Weight,      // a tensor of the file: `view`
  ShiftedWeight,  // `view` plus `scalar`
  Past,        // cache input `index` of the function, [1, kv_heads, P, head_dim]
  State,       // recurrent state input `index` of the function, [1, channels, kept]
  // Channels first
  Channels,           // [1, width, S] of the emitted rows `key`, which come from `origins` and go through `states`; or, without
                      // `key`, of columns `index` .. of the rows `source`
  StateThenChannels,  // state input `past`, then Channels, along the last axis
  Convolved,          // what Conv makes of it: results of the new tokens, the Channels' rows, start at `index`
  // Masks over [.., S, P + S]
  Visible,     // boolean: the key's position is in (query's position - window, query's position]; window 0: no bound
  Hidden,      // boolean: not Visible
  VisibleOne,  // number: 1 where visible, 0 elsewhere
  HiddenOne,   // number: 1 where hidden, 0 elsewhere
  Bias,        // float: 0 where visible, so small elsewhere that its exponential vanishes
  // Rows
  Rows,        // `source` in `form` (with `heads`), times `scale`
  Sigmoid,     // sigmoid of the rows `source`
  Half,        // half `index` of each head of the rows
  NegatedHalf, // minus the second half
  HalfTimesCosine, HalfTimesSine,  // half `index` times a wave that is not doubled
  TurnedHalf,  // half `index` of the rotated rows
               // (of all halves: `interleaved` ones are the even and the odd elements)
  RotatedHalf, // (-second half, first half)
  Square, MeanSquare, RootMeanSquare, InverseRootMeanSquare, Normalised,  // steps of an rms norm of `source`; `epsilon`
  // Gated delta net
  SumOfSquares, Length,  // of each of `index` parts of the rows `source`, plus `epsilon`; its square root
  UnitRows,    // each of `index` parts of the rows `source` divided by its length, times `scale`
  Softplus,    // ln(1 + exp) of the rows `source`
  ExpWeight,   // exp of the weights `view`; `masked`: minus it
  Decay,       // `view` * softplus(rows `source` + `bias`); `masked`: -exp(`view`)
  // Rotary embedding
  Angle,       // position * frequency i, i < frequencies / 1, along the last axis (`doubled`: twice)
  AngleT,      // the same along the last axis but one
  TableRows,   // rows of the table `view` at the tokens' positions
  Difference,  // of two sequences along `axis` and `index`: `base` + one - other
  Cosine, Sine,          // of Angle (doubled), times `scale`
  TimesCosine, RotatedTimesSine,  // rows * cosine; rotated half of rows * sine
  // Attention
  Cache,       // past and new rows of keys or values: `past` (-1: none), `source`; `transposed`; `repeat` per head, `scale`
  Columns,     // the first `index` columns of `source`, then those of `key`, of heads [1, heads, T, width]; `transposed`:
               // the columns' axis comes first, the batch last
  Scores,      // query * key: `query`, `key`, `scale`; `masked`
  Probabilities,
  NotANumber,  // isnan(Probabilities)
  RowMax,      // the largest of the row of `source`
  // Router
  ExpertScores,  // `route` so far: softmax or sigmoid of the logits, plus a selection bias, masked by groups;
                 // also cut into groups [.., groups, experts / groups]
  GroupTop,      // each group's largest scores [.., groups, n]
  GroupScores,   // their sum [.., groups]
  ChosenGroups,  // [.., k]
  GroupChoice,   // their one-hot [.., k, groups]
  GroupMask,     // 1 for chosen groups, 0 for the others (`masked`: the other way round) [.., groups], then [.., experts]
  TopWeights,    // the chosen experts' weights [.., k]
  TopSum,        // their sum (+ epsilon)
  TopIds,        // the chosen experts [.., k]
  SigmoidStep,   // -x, exp(-x), exp(-x) + 1 of the rows `source`, by `index`
  TopShare,      // sum of the chosen experts' weights / (that sum + epsilon)
  LogTopWeights, ScatteredLogs,  // logarithms of TopWeights; the same [.., E], very negative where no expert is chosen
  // Experts, all tokens at once (batched) or the tokens of one expert (`expert` >= 0)
  RepeatedRows,  // rows `source`, each k times in a row
  ExpertWeight,  // stacked weights gathered by the chosen experts: `view` [E, ...]
  ExpertRows,    // rows of `source` that go to `expert`
  ExpertLinear,  // gate or up: `view` ([E,] outputs, inputs) and `bias`, applied to `source`, within `low` and `high`;
                 // then times `scale`, plus `offset`
  ExpertSigmoid,
  ExpertActive,  // activation of `gate`
  ExpertHidden,  // activation(gate) * up
  ExpertOut,     // down of it
  ExpertWeighted,  // times the routing weight
  ExpertSum,       // summed over the chosen experts, not yet in the shape of rows
  // Loop over experts
  Choice,        // one-hot of TopIds: axes `axisExpert`, `axisSlot`, `axisToken`
  ChoiceOf,      // of one expert: [slot, token] or [token, slot]
  ChosenPairs,   // its non-zero indices [2, n]; `transposed`: [n, 2]
  ChosenSlots, ChosenTokens,  // [n]
  ChosenTokensTimesK, ChosenPairIndex,
  ExpertTopWeight,  // routing weights of the expert's tokens
  Mixer,          // a step of a sparse mixer: `mixer`, in round `index`, on the logits `source`
  // Dense experts
  ChosenMask,     // where a token's chosen experts are `expert` [.., k]
  ChosenWeights,  // its routing weights there, zero elsewhere [.., k]
  TokenWeight,    // the expert's routing weight, zero if it was not chosen [.., 1]
  // Experts that all tokens go to, each with its input times its own score (`expert` is kEveryExpert)
  ChosenScores,   // scores of the chosen experts; of the others what a sigmoid makes zero of [S, E]
  ChosenSigmoids, // their sigmoids; `transposed`: the experts' axis comes first [E, S, ..], in any shape
  EveryRows,      // rows `source`, once for each expert [E, S, width], also [E * S, width]; `masked`: times ChosenSigmoids
  // Experts by groups: pairs (token, slot), numbered token * k + slot, sorted by expert
  SortedIds,         // a function of the pairs' experts: `reals` has its value for each expert
  SortOrder,         // the sorted pairs' numbers
  InverseOrder,      // where each pair is among the sorted
  SortedTokens,      // their tokens
  SortedRows,        // their tokens' rows `source`
  SortedTopWeights,  // their routing weights
  ExpertCounts,      // how many pairs each expert has [E]
  ExpertEnds,        // where each expert's run ends [E]
  ExpertEnd,         // where the run of `expert` ends
  ExpertRun,         // from where it starts to where it ends
  // Switch: one expert a token, by masks; `route` has the capacity
  SwitchIds,     // the best expert [.., S]
  SwitchChoice,  // its one-hot [.., S, E], zero for tokens beyond the capacity
  SwitchCount,   // how many tokens up to this one chose the expert
  SwitchFits,    // whether they are within the capacity
  SwitchWeight,  // the best expert's score
  SwitchExpert,  // the column of `expert` of the choice [.., S, 1]
  SwitchSum,     // results of the `experts`, each where it is chosen
  // Two experts a token, by masks: SwitchIds, SwitchChoice, SwitchCount (plus `offset`), SwitchFits of the first choice (`index`
  // 0) or of the second (1), whose first is `key`
  RankedRest,    // logits, those of the first choice -infinity
  RankedTotal,   // how many tokens chose the expert first [1, E]
  RankedScores,  // probabilities where chosen, else zero [S, E]
  RankedWeight,  // those of a choice [S] or [S, 1]; `masked`: divided by RankedSum
  RankedSum,     // of both, at least `epsilon`
  RankedGate,    // weight where chosen [S, E]
  RankedGates,   // of both choices
  RankedMask,    // where these are not zero
  RankedInputs,  // [E, S, width]: rows `source`, zero for experts that are not chosen
  RankedColumn, RankedMaskColumn,  // of RankedGates and RankedMask: of `expert` [S]
  RankedPartial,  // sum over `experts` of their weighted results, times `scale`
  // Places of tokens in a sequence, not counting padding
  PaddingMask, TextMask,  // where ids are `index`; where not
  TextCount, TextNumbers,  // running sum of TextMask; times TextMask, plus `axis`
  PartialSum,    // sum over the experts in `experts` of their weighted results, at the tokens' rows
};

enum class MixerStep {
  Remaining,  // logits, those of earlier rounds' choices replaced by -infinity
  Largest, Chosen,       // of the remaining: value and expert [.., 1]
  Magnitude, Divisor,    // |logits|; the larger of it and the largest
  Distance, Ratio,       // largest - logits; divided by the divisor
  Far, Close,            // ratio > `scalar`; remaining logits that are not far, -infinity elsewhere
  Scores, Weight,        // their softmax; of the chosen [.., 1]
};

// How experts are chosen and weighed, as far as the graph has said it.
struct RouteMeaning {
  mlir::Value logits;  // rows [S, E]
  int64_t experts = 0, topK = 0;
  ScoreFunction score = ScoreFunction::None;
  bool softmaxAfter = false, renormalise = false;
  double epsilon = 0, scale = 1;
  std::optional<TensorView> selectionBias, expertScale;
  int64_t groups = 1, topGroups = 1, groupTop = 1;
  double groupFill = 0, threshold = 0;
  int64_t capacity = 0;  // emoe.route's
  bool ranked = false, renormaliseKept = false;
  // The ids' producer: two uses of one choice are of the same op.
  mlir::Operation *choice = nullptr;
};

// One expert's matrices: [outputs, inputs] each, or [E, outputs, inputs] for all of them.
struct ExpertMeaning {
  std::optional<TensorView> gate, up, down;
  std::optional<TensorView> gateBias, upBias, downBias;  // [outputs], or [E, outputs]
  Activation activation = Activation::Silu;
  double alpha = 1, offset = 0, limit = 0;  // emoe.moe's

  // All tensors, those that are missing too.
  std::array<std::optional<TensorView> *, 6> parts() { return {&gate, &up, &down, &gateBias, &upBias, &downBias}; }
};

// Experts by number. A sum over all of them is made by as many partial sums, which share what they have in common.
using ExpertMeanings = std::map<int64_t, std::shared_ptr<const ExpertMeaning>>;

constexpr int64_t kDenseExpert = -2;  // Meaning::expert of an expert that runs on every token; which one shows later
constexpr int64_t kEveryExpert = -3;  // of all experts at once, stacked, on every token

struct Meaning {
  Kind kind = Kind::Opaque;
  Extents extents;
  bool ranked = false;  // extents are known

  llvm::SmallVector<Extent, 4> numbers;
  std::vector<double> reals;
  double scalar = 0, scale = 1, epsilon = 0;
  double softcap = 0;   // of Scores: factor on their hyperbolic tangent, if that was taken
  double rounding = 0;  // relative rounding of the constants in `scale`, by the type that the file stores them in
  Extent base;
  int64_t axis = 0, index = 0, past = -1, repeat = 1, window = 0, heads = 1;
  bool transposed = false, masked = false, doubled = false;
  bool sorted = false;  // experts' rows and results are in the order of SortOrder
  bool dense = false;   // PartialSum: of experts that ran on every token
  bool interleaved = false;
  // Cache: what was computed of cached rows, whose new ones are `query`; `whole` is it for all positions, [1, heads, P + S,
  // width]. `otherPast` and `key` are of a second cache input that went into it.
  bool derived = false;
  int64_t otherPast = -1;
  mlir::Value whole;
  TensorView view;
  std::optional<TensorView> bias;   // of ExpertLinear
  std::optional<TensorView> sinks;  // of Scores: a column with them was added for the softmax
  // Of Scores: emoe.attention's.
  bool bidirectional = false;
  std::vector<float> positionBias;
  int64_t biasBefore = 0;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity(), offset = 0;
  mlir::Value source, query, key;
  llvm::SmallVector<mlir::Value, 2> origins;
  llvm::SmallVector<int64_t, 1> states;
  Form form = Form::BSW;
  std::vector<float> frequencies;
  int64_t digits = 24;  // of scaled cosines and sines, as emoe.rotary has them

  MixerStep mixer = MixerStep::Remaining;
  RouteMeaning route;
  ExpertMeaning expertWeights;
  int64_t expert = -1;
  int64_t axisExpert = 0, axisSlot = 0, axisToken = 0;
  ExpertMeanings experts;

  bool is(Kind other) const { return kind == other; }
  Extent extent(int64_t axis) const { return extents[axis < 0 ? axis + static_cast<int64_t>(extents.size()) : axis]; }
};

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_MEANING_H_
