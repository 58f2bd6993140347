// The state of raising. One walk over the graph in its own order: each op's handler looks at what its operands mean and
// says what its result means; where a part of the model is complete, it emits the emoe op and replaces the result.
// Matching meanings instead of shapes of graphs makes glue (casts, reshapes, the order of factors) irrelevant.
#ifndef EMOE_COMPILER_RAISE_RAISER_H_
#define EMOE_COMPILER_RAISE_RAISER_H_

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "compiler/raise/claim.h"
#include "compiler/raise/evaluate_tensor.h"
#include "compiler/raise/meaning.h"
#include "dialects/onnx/onnx.h"
#include "frontends/weights.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

constexpr int64_t kMostNumbers = 4096;  // longer constants are data, not shapes

// The product of extents that are all constant.
std::optional<int64_t> volumeOf(const Extents &extents);

class Raiser {
public:
  Raiser(mlir::ModuleOp module, const WeightStore &store, Prover *prover);
  mlir::LogicalResult run();

  // A handler sets the meaning of its op's results; leaving them out means that they are opaque. It fails only after
  // an error that says why the model cannot be compiled.
  using Handler = std::function<mlir::LogicalResult(Raiser &, mlir::Operation *)>;
  // Adds a handler of `op` (its name in the onnx dialect) behind those that it has.
  void add(llvm::StringRef op, Handler handler) { handlers[op].push_back(std::move(handler)); }

  // What a value means; opaque if nobody said.
  const Meaning &of(mlir::Value value);
  // Known numbers are as many as the extents say: an op of a damaged model for which they are not is opaque.
  void set(mlir::Value value, Meaning meaning);
  // Scores of the experts, if the value means some: rows are logits.
  std::optional<Meaning> asScores(const Meaning &meaning);
  // The axis attribute, counted from the front.
  int64_t axisAttr(mlir::Operation *op, int64_t byDefault, size_t rank);

private:
  void addRankedHandlers();    // raise_ranked.cpp
  void addPositionHandlers();  // raise_positions.cpp
  void addRecurrentHandlers(); // raise_recurrent.cpp
  void addDeltaHandlers();     // raise_delta.cpp
  void addScatteredHandlers(); // raise_scattered.cpp
  void addShapeHandlers();     // raise_shapes.cpp, raise_numbers.cpp
  void addDecoderHandlers();   // raise_decoder.cpp
  void addAttentionHandlers(); // raise_attention.cpp
  void addLatentHandlers();    // raise_latent.cpp
  void addGroupHandlers();     // raise_groups.cpp
  void addExpertHandlers();    // raise_experts.cpp
  void addLoopHandlers();      // raise_loop.cpp
  void addGroupedHandlers();   // raise_grouped.cpp
  void addMixerHandlers();     // raise_mixer.cpp
  void addFusedHandlers();     // raise_fused.cpp
  void addMixtureHandlers();   // raise_mixture.cpp
  void addEncoderHandlers();   // raise_encoder.cpp
  void addScaledHandlers();    // raise_scaled.cpp

  // Refuses axes that are none: handlers rely on them.
  mlir::LogicalResult checkAxes(mlir::Operation *op);
  mlir::LogicalResult describeInputs(mlir::func::FuncOp main);
  mlir::LogicalResult finish(mlir::func::FuncOp main);
  mlir::LogicalResult reportOpaque(mlir::Operation *op);
  void tieEmbedding(mlir::func::FuncOp main);
  void nameWeights(mlir::func::FuncOp main);

  //===--- meanings ----------------------------------------------------------------------------------------------===//
  bool known(mlir::Operation *op) { return meanings.count(op->getResult(0)); }
  // The meaning of `value` with other extents.
  static Meaning reshaped(Meaning meaning, Extents extents);
  Extent freshSymbol() { return Extent::symbol(nextSymbol++); }
  // The value's integers, if all are constants.
  std::optional<llvm::SmallVector<int64_t>> integers(mlir::Value value);
  std::optional<int64_t> integer(mlir::Value value);
  // The one float (or integer) that all elements of the value equal.
  std::optional<double> scalar(mlir::Value value);
  // How exactly the file's type can say a constant: half a unit in the last place, relative.
  static double roundingOf(mlir::Value value);
  static double roundingOfType(mlir::Type element);
  static int64_t intAttr(mlir::Operation *op, llvm::StringRef name, int64_t byDefault);
  static double floatAttr(mlir::Operation *op, llvm::StringRef name, double byDefault);
  std::optional<std::vector<float>> readVector(const Meaning &meaning);

  //===--- emission ----------------------------------------------------------------------------------------------===//
  mlir::Value toRows(mlir::Value source);
  int64_t rowWidth(const Meaning &rows);
  mlir::FlatSymbolRefAttr weight(mlir::Location loc, const TensorView &matrix, std::string name = "");
  // The value in the graph whose rows a layer that was emitted reads.
  static mlir::Value inputOf(LinearOp linear);
  // Rows with no pending scale, in a form that to_rows reads.
  bool isPlainRows(const Meaning &meaning) const;
  // Replaces `original` by `rows`: from `inputs`, both have the same values.
  mlir::LogicalResult replace(mlir::Value original, mlir::Value rows, Form form, int64_t heads, llvm::StringRef pattern,
                              llvm::ArrayRef<mlir::Value> inputs, mlir::Value pastKey = {}, mlir::Value pastValue = {});
  // The same; `claim` says where both start, and the cache.
  mlir::LogicalResult replaceAs(mlir::Value original, mlir::Value rows, Form form, int64_t heads, llvm::StringRef pattern,
                              Claim claim);

  //===--- handlers ----------------------------------------------------------------------------------------------===//
  // shapes and numbers
  mlir::LogicalResult constant(mlir::Operation *op);
  mlir::LogicalResult initializer(mlir::Operation *op);
  mlir::LogicalResult selectPositions(mlir::Operation *op);
  mlir::LogicalResult shape(mlir::Operation *op);
  mlir::LogicalResult reshape(mlir::Operation *op);
  mlir::LogicalResult squeeze(mlir::Operation *op);
  mlir::LogicalResult unsqueeze(mlir::Operation *op);
  mlir::LogicalResult expand(mlir::Operation *op);
  mlir::LogicalResult transpose(mlir::Operation *op);
  mlir::LogicalResult passOn(mlir::Operation *op);
  mlir::LogicalResult concatNumbers(mlir::Operation *op);
  mlir::LogicalResult sliceNumbers(mlir::Operation *op);
  mlir::LogicalResult gatherNumbers(mlir::Operation *op);
  mlir::LogicalResult range(mlir::Operation *op);
  mlir::LogicalResult constantOfShape(mlir::Operation *op);
  mlir::LogicalResult arithmetic(mlir::Operation *op);
  mlir::LogicalResult compare(mlir::Operation *op);
  mlir::LogicalResult where(mlir::Operation *op);
  mlir::LogicalResult fillMath(mlir::Operation *op);
  mlir::LogicalResult largest(mlir::Operation *op);
  mlir::LogicalResult sumNumbers(mlir::Operation *op);
  mlir::LogicalResult joinSequence(mlir::Operation *op);
  mlir::LogicalResult gatherTuples(mlir::Operation *op);
  mlir::LogicalResult broadcastOnly(mlir::Operation *op);  // extents of elementwise results
  bool reform(mlir::Operation *op, const Meaning &from, Extents extents);
  Extents broadcast(const Extents &a, const Extents &b);
  // decoder
  mlir::LogicalResult embedding(mlir::Operation *op);
  mlir::LogicalResult square(mlir::Operation *op);
  mlir::LogicalResult power(mlir::Operation *op);
  mlir::LogicalResult reduceMean(mlir::Operation *op);
  mlir::LogicalResult squareRoot(mlir::Operation *op);
  mlir::LogicalResult reciprocal(mlir::Operation *op);
  mlir::LogicalResult normAdd(mlir::Operation *op);
  mlir::LogicalResult normMul(mlir::Operation *op);
  mlir::LogicalResult normDiv(mlir::Operation *op);
  mlir::LogicalResult normalised(mlir::Operation *op, const Meaning &meaning);
  mlir::LogicalResult emitRmsNorm(mlir::Operation *op, const Meaning &normalised, mlir::FlatSymbolRefAttr weights);
  mlir::LogicalResult activateRows(mlir::Operation *op);
  mlir::LogicalResult linear(mlir::Operation *op);
  mlir::LogicalResult gemm(mlir::Operation *op);
  mlir::LogicalResult addRows(mlir::Operation *op);
  mlir::LogicalResult mulRows(mlir::Operation *op);
  mlir::LogicalResult scaleRows(mlir::Operation *op);
  mlir::LogicalResult sigmoid(mlir::Operation *op);
  mlir::LogicalResult emitLinear(mlir::Operation *op, mlir::Value input, const TensorView &matrix,
                                 const TensorView *bias = nullptr);
  // attention
  mlir::LogicalResult angle(mlir::Operation *op);
  mlir::LogicalResult trigonometry(mlir::Operation *op);
  mlir::LogicalResult sliceHalf(mlir::Operation *op);
  mlir::LogicalResult negate(mlir::Operation *op);
  mlir::LogicalResult concatHeads(mlir::Operation *op);
  mlir::LogicalResult splitHalves(mlir::Operation *op);
  mlir::LogicalResult turnHalf(mlir::Operation *op);
  mlir::LogicalResult joinTurned(mlir::Operation *op);
  mlir::LogicalResult capScores(mlir::Operation *op);
  mlir::LogicalResult sinkColumn(mlir::Operation *op);
  mlir::LogicalResult rowMax(mlir::Operation *op);
  mlir::LogicalResult dropSinks(mlir::Operation *op);
  mlir::LogicalResult rotaryMul(mlir::Operation *op);
  mlir::LogicalResult rotaryAdd(mlir::Operation *op);
  mlir::LogicalResult scale(mlir::Operation *op);
  mlir::LogicalResult mask(mlir::Operation *op);
  mlir::LogicalResult maskCount(mlir::Operation *op);
  mlir::LogicalResult maskAdd(mlir::Operation *op);
  mlir::LogicalResult scores(mlir::Operation *op);
  mlir::LogicalResult probabilities(mlir::Operation *op);
  mlir::LogicalResult isNan(mlir::Operation *op);
  mlir::LogicalResult attend(mlir::Operation *op);
  std::optional<Meaning> asCache(const Meaning &meaning);
  mlir::LogicalResult standardAttention(mlir::Operation *op);
  // Heads of `from` columns with zeros behind, up to `to`; or only the first `to` of them.
  mlir::Value resizeHeads(mlir::Location loc, mlir::Value rows, int64_t heads, int64_t from, int64_t to);
  // heads in parts, keys and values computed from cached latents
  mlir::Value newRows(mlir::Location loc, mlir::Value rows);
  void setCache(mlir::Value result, Meaning cache, mlir::Value rows);
  mlir::LogicalResult latentLinear(mlir::Operation *op);
  mlir::LogicalResult latentColumns(mlir::Operation *op);
  mlir::LogicalResult joinHeads(mlir::Operation *op);
  mlir::LogicalResult joinParts(mlir::Value result, const Meaning &first, const Meaning &second);
  bool columnsTransposed(mlir::Operation *op, llvm::ArrayRef<int64_t> order);
  mlir::LogicalResult fillColumns(mlir::Operation *op);
  mlir::LogicalResult halfWave(mlir::Operation *op);
  mlir::LogicalResult slicePairs(mlir::Operation *op);
  mlir::LogicalResult repeatWave(mlir::Operation *op);
  // The halves' elements of each head of `rows`, so that those of a half lie together.
  mlir::Value evenBeforeOdd(mlir::Location loc, mlir::Value rows, int64_t heads);
  // fused ops
  mlir::LogicalResult emitNorm(mlir::Value original, mlir::Value x, const Meaning &scale, const Meaning *bias,
                               NormKind kind, double epsilon, llvm::ArrayRef<mlir::Value> inputs);
  mlir::LogicalResult shiftWeight(mlir::Operation *op);
  mlir::LogicalResult normOp(mlir::Operation *op);
  mlir::LogicalResult skipNorm(mlir::Operation *op);
  // Rows with some of each head's columns; `input` is where a claim about them starts. Null after an error.
  mlir::Value columns(mlir::Location loc, mlir::Value source, int64_t heads, int64_t start, int64_t width,
                      mlir::Value &input);
  // The (start, width) of each result of a Split or Slice along the last axis; empty if it is not one.
  mlir::FailureOr<llvm::SmallVector<std::pair<int64_t, int64_t>>> columnParts(mlir::Operation *op, const Meaning &x);
  mlir::LogicalResult splitRows(mlir::Operation *op);
  mlir::LogicalResult gatedAdd(mlir::Operation *op);
  std::optional<std::vector<float>> frequenciesOf(const Meaning &cosines, const Meaning &sines, double &magnitude,
                                                  int64_t &digits);
  std::optional<Meaning> waveOf(const Meaning &table, const Meaning &other);
  mlir::LogicalResult tableRows(mlir::Operation *op);
  mlir::LogicalResult rotaryOp(mlir::Operation *op);
  mlir::LogicalResult groupQueryAttention(mlir::Operation *op);
  // mixtures as one op, and dense ones
  bool isZero(const Meaning &bias);
  mlir::LogicalResult mixtureOp(mlir::Operation *op);
  template <typename OpT> mlir::LogicalResult emitMixture(OpT op, mlir::Value routerWeights);
  bool mixingScores(mlir::Value routerWeights, const Meaning &choosing, RouteMeaning &route);
  std::optional<ExpertMeaning> expertBehind(mlir::Value source, mlir::Value &input);
  mlir::LogicalResult chosenMask(mlir::Operation *op);
  mlir::LogicalResult denseMul(mlir::Operation *op);
  mlir::LogicalResult denseSum(mlir::Operation *op);
  mlir::LogicalResult mixerStep(mlir::Operation *op);
  mlir::LogicalResult joinRounds(mlir::Operation *op);
  // experts by groups
  mlir::LogicalResult sortPairs(mlir::Operation *op);
  mlir::LogicalResult sortMath(mlir::Operation *op);
  mlir::LogicalResult sortedGather(mlir::Operation *op);
  mlir::LogicalResult countPairs(mlir::Operation *op);
  mlir::LogicalResult endsOfRuns(mlir::Operation *op);
  mlir::LogicalResult splitEnds(mlir::Operation *op);
  mlir::LogicalResult runOfExpert(mlir::Operation *op);
  mlir::LogicalResult joinRuns(mlir::Operation *op);
  mlir::LogicalResult invertOrder(mlir::Operation *op);
  mlir::LogicalResult weighSorted(mlir::Operation *op);
  // routers that choose groups first
  mlir::LogicalResult biasScores(mlir::Operation *op);
  mlir::LogicalResult groupTop(mlir::Operation *op);
  mlir::LogicalResult groupSum(mlir::Operation *op);
  mlir::LogicalResult groupChoice(mlir::Operation *op);
  mlir::LogicalResult groupMask(mlir::Operation *op);
  mlir::LogicalResult maskScores(mlir::Operation *op);
  mlir::LogicalResult gatherScores(mlir::Operation *op);
  mlir::LogicalResult clampSum(mlir::Operation *op);
  // encoders
  std::shared_ptr<const Tensor> ofPositions(mlir::Value value);
  mlir::LogicalResult positionBias(mlir::Operation *op);
  mlir::LogicalResult unmaskedProbabilities(mlir::Operation *op);
  mlir::LogicalResult switchIds(mlir::Operation *op);
  mlir::LogicalResult switchChoice(mlir::Operation *op);
  mlir::LogicalResult switchCount(mlir::Operation *op);
  mlir::LogicalResult switchFits(mlir::Operation *op);
  mlir::LogicalResult switchWeight(mlir::Operation *op);
  mlir::LogicalResult switchExpert(mlir::Operation *op);
  mlir::LogicalResult switchSum(mlir::Operation *op);
  // experts whose inputs are scaled
  mlir::LogicalResult chosenScores(mlir::Operation *op);
  mlir::LogicalResult everySigmoid(mlir::Operation *op);
  mlir::LogicalResult everyShape(mlir::Operation *op);
  mlir::LogicalResult everyRows(mlir::Operation *op);
  mlir::LogicalResult scaleEvery(mlir::Operation *op);
  mlir::LogicalResult everyMatMul(mlir::Operation *op);
  mlir::LogicalResult sumEvery(mlir::Operation *op);
  // two experts a token
  bool isOnes(mlir::Value value);
  mlir::LogicalResult rankedIds(mlir::Operation *op);
  mlir::LogicalResult rankedCount(mlir::Operation *op);
  mlir::LogicalResult rankedSums(mlir::Operation *op);
  mlir::LogicalResult rankedProducts(mlir::Operation *op);
  mlir::LogicalResult rankedQuotient(mlir::Operation *op);
  mlir::LogicalResult rankedMask(mlir::Operation *op);
  mlir::LogicalResult rankedGather(mlir::Operation *op);
  mlir::LogicalResult rankedEinsum(mlir::Operation *op);
  bool rankedResult(mlir::Operation *op, const Meaning &rows, const Meaning &column);
  mlir::LogicalResult rankedPartial(mlir::Operation *op);
  // positions
  mlir::LogicalResult countText(mlir::Operation *op);
  mlir::LogicalResult positionEmbedding(mlir::Operation *op);
  // experts
  static ExpertMeanings expertsOf(const ExpertMeaning &stacked, int64_t count);
  mlir::LogicalResult expertScores(mlir::Operation *op);
  mlir::LogicalResult topK(mlir::Operation *op);
  mlir::LogicalResult topSum(mlir::Operation *op);
  mlir::LogicalResult topAdd(mlir::Operation *op);
  mlir::LogicalResult topDiv(mlir::Operation *op);
  mlir::LogicalResult topMul(mlir::Operation *op);
  mlir::LogicalResult repeatRows(mlir::Operation *op);
  mlir::LogicalResult gatherExperts(mlir::Operation *op);
  mlir::LogicalResult expertMatMul(mlir::Operation *op);
  mlir::LogicalResult expertSplit(mlir::Operation *op);
  mlir::LogicalResult expertSlice(mlir::Operation *op);
  mlir::LogicalResult expertActivation(mlir::Operation *op);
  mlir::LogicalResult expertMul(mlir::Operation *op);
  mlir::LogicalResult squareActive(mlir::Operation *op);
  mlir::LogicalResult expertAdd(mlir::Operation *op);
  mlir::LogicalResult expertClip(mlir::Operation *op);
  std::optional<Meaning> asDenseLinear(const Meaning &meaning);
  mlir::LogicalResult sumExperts(mlir::Operation *op);
  mlir::LogicalResult emitSummed(mlir::Operation *op, const Meaning &sum, const Extents &extents);
  mlir::LogicalResult oneHot(mlir::Operation *op);
  mlir::LogicalResult hitExperts(mlir::Operation *op);
  mlir::LogicalResult choiceGather(mlir::Operation *op);
  mlir::LogicalResult selectWeight(mlir::Operation *op);
  mlir::LogicalResult nonZero(mlir::Operation *op);
  mlir::LogicalResult splitPairs(mlir::Operation *op);
  mlir::LogicalResult pairIndex(mlir::Operation *op);
  mlir::LogicalResult joinPairs(mlir::Operation *op);
  mlir::LogicalResult pairWeights(mlir::Operation *op);
  mlir::LogicalResult scatter(mlir::Operation *op);
  mlir::LogicalResult scatterRows(mlir::Operation *op);
  mlir::LogicalResult emitWhole(mlir::Operation *op);
  mlir::LogicalResult addPartial(mlir::Operation *op);
  mlir::LogicalResult emitMoe(mlir::Operation *op, const RouteMeaning &route, mlir::Value source,
                              const ExpertMeanings &experts, Form form, llvm::StringRef pattern,
                              mlir::Value scaled = {});

  // recurrent states
  Meaning channels(mlir::Value rows, const Meaning &from);
  mlir::LogicalResult emitChannels(mlir::Location loc, Meaning &meaning);
  mlir::LogicalResult transposeChannels(mlir::Operation *op);
  mlir::LogicalResult splitChannels(mlir::Operation *op);
  mlir::LogicalResult multiplyChannels(mlir::Operation *op);
  mlir::LogicalResult joinState(mlir::Operation *op);
  bool isDepthwise(const Meaning &input, const Meaning &matrix, mlir::Value bias);
  mlir::LogicalResult emitShortConv(mlir::Operation *op, Meaning input, const Meaning &matrix, const Meaning *bias,
                                    mlir::Value past, mlir::Value present, Meaning &result);
  Meaning settled(const Meaning &convolved);
  mlir::LogicalResult convolve(mlir::Operation *op);
  mlir::LogicalResult negateNumbers(mlir::Operation *op);
  mlir::LogicalResult sliceTime(mlir::Operation *op);
  mlir::LogicalResult causalConv(mlir::Operation *op);
  mlir::LogicalResult checkStates(mlir::func::FuncOp main);
  // gated delta nets
  mlir::LogicalResult sumOfSquares(mlir::Operation *op);
  mlir::LogicalResult length(mlir::Operation *op);
  mlir::LogicalResult unitRows(mlir::Operation *op);
  mlir::LogicalResult scaleUnitRows(mlir::Operation *op);
  mlir::LogicalResult softplus(mlir::Operation *op);
  mlir::LogicalResult expWeight(mlir::Operation *op);
  mlir::LogicalResult decay(mlir::Operation *op);
  mlir::LogicalResult linearAttentionGate(mlir::Operation *op);
  mlir::LogicalResult linearAttention(mlir::Operation *op);
  mlir::LogicalResult gatedNorm(mlir::Operation *op);
  // routers that write logits for an op
  mlir::LogicalResult sigmoidStep(mlir::Operation *op);
  mlir::LogicalResult shareOfSum(mlir::Operation *op);
  mlir::LogicalResult positiveWeights(mlir::Operation *op);
  mlir::LogicalResult logWeights(mlir::Operation *op);
  mlir::LogicalResult scatterLogs(mlir::Operation *op);
  onnx::MulOp correctionOf(mlir::Value result, const RouteMeaning &route, double &epsilon);

  mlir::ModuleOp module;
  const WeightStore &store;
  Prover *prover;
  mlir::OpBuilder builder;
  llvm::StringMap<llvm::SmallVector<Handler, 6>> handlers;
  llvm::DenseMap<mlir::Value, std::unique_ptr<Meaning>> meanings;  // large: the table holds pointers
  unsigned nextSymbol = 2;
  const Extent tokens = Extent::symbol(0);
  Extent pastLength = Extent::symbol(1);  // 0 where the model has no cache inputs

  mlir::Value ids;  // the raised function's argument
  llvm::SmallVector<mlir::Value> pasts;
  llvm::DenseMap<mlir::Attribute, std::string> weightNames;  // by [source, shape]
  llvm::StringMap<TensorView> weightViews;  // by symbol
  std::map<std::string, mlir::Operation *> tensorOps;
  mlir::Operation *firstFunction = nullptr;  // weights are made before it
  int64_t attentionLayers = 0, moeLayers = 0;
  // Recurrent states of emitted ops, by number: the input that each goes on from and the output that it becomes.
  struct StateMeaning {
    mlir::Value past, present;
  };
  llvm::SmallVector<StateMeaning> states;
  llvm::DenseMap<mlir::Value, int64_t> newStates;  // outputs that are proven to be new states: of which of `pasts`
  // Rows that were dispatched to an expert by masks: the rows they are of, the expert and its route.
  llvm::DenseMap<mlir::Value, Meaning> dispatched;
  bool scaleNoted = false;
  mlir::Value source;  // the encoder's result, an input of the function; null: there is none
  unsigned sourceSymbol = 0;  // its length
  llvm::DenseMap<mlir::Value, std::shared_ptr<const Tensor>> positional;  // ofPositions; null: it is none
};

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_RAISER_H_
