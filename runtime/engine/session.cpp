// Running: the program's steps over chunks of tokens. Starting is in start.cpp.
#include "runtime/engine/session.h"

#include <string.h>

#include <initializer_list>

#include "runtime/bundle/check.h"

namespace emoe::rt {
namespace {

struct Call {
  emoe_kernel_fn kernel;
  const emoe_kernel_args *args;
};

void CallBody(void *context, int64_t first, int64_t last) {
  const Call &call = *static_cast<const Call *>(context);
  call.kernel(call.args, first, last);
}

}  // namespace

SessionStats Session::stats() const {
  SessionStats stats;
  stats.tokens = tokens_;
  runner_.AddTo(&stats);
  panels_.AddTo(&stats);
  return stats;
}

void Session::ClearStates() {
  for (size_t i = 0; i < bundle_->states.size; ++i) memset(states_[i], 0, bundle_->states[i]);
}

void Session::Reset() {
  position_ = source_ = 0;
  for (uint64_t i = 0; i < taken_count_; ++i) taken_[i] = 0;
  predictor_.Reset();
  ClearStates();
  half_done_ = false;
}

// The address of an operand for a step whose first row is row `first` of the chunk.
void *Session::Resolve(const Operand &operand, const int32_t *tokens, uint32_t first) const {
  switch (operand.kind) {
    case OperandKind::kNone:
      return nullptr;
    case OperandKind::kTokenIds:
      return const_cast<int32_t *>(tokens + first);
    case OperandKind::kBuffer: {
      const Buffer &buffer = bundle_->buffers[operand.index];
      // A buffer of wanted rows holds nothing but these.
      return buffers_[operand.index] + (buffer.rows != Rows::kWanted ? buffer.per_token * first : 0);
    }
    case OperandKind::kTensor:
      return resident_ + bundle_->tensors[operand.index].offset;
    case OperandKind::kKvKeys:
      return keys_[operand.index];
    case OperandKind::kKvValues:
      return values_[operand.index];
    case OperandKind::kState:
      return states_[operand.index];
  }
  return nullptr;
}

void Session::Trace(const Step &step, const int32_t *ids, uint32_t count) const {
  uint32_t top_k = bundle_->moe_layers[step.layer].top_k;
  for (uint32_t row = 0; row < count; ++row) {
    trace_(trace_user_, position_ + row, step.layer, ids + static_cast<uint64_t>(row) * top_k, top_k);
  }
}

void Session::Reroute(const Step &step, int32_t *ids, uint32_t count) const {
  uint32_t top_k = bundle_->moe_layers[step.layer].top_k;
  for (uint32_t row = 0; row < count; ++row) {
    route_(route_user_, position_ + row, step.layer, ids + static_cast<uint64_t>(row) * top_k, top_k);
  }
}

void Session::CallKernel(uint32_t index, const emoe_kernel_args &args) {
  const Kernel &kernel = bundle_->kernel_table[index];
  int64_t tiles = int64_t{kernel.tiles_fixed} + int64_t{kernel.tiles_per_token} * args.tokens;
  Call call{kernels_[index], &args};
  pool_.ParallelFor(tiles, 1, CallBody, &call);
}

// Looking ahead is for decoding: a chunk of several tokens touches most experts whatever they are.
void Session::LookAhead(const Step &step, uint32_t count) {
  if (look_ahead_ == nullptr && (count != 1 || !predicting_ || !predictor_.WantsLookAhead(step.layer) ||
                                 !runner_.heeds_predictions())) {
    return;
  }
  uint64_t start = runner_.StartLooking();
  size_t first = 0;
  for (uint32_t kernel : {step.kernel, step.router}) {
    emoe_kernel_args args = {};
    size_t operands = bundle_->kernel_table[kernel].extents.size;
    for (size_t i = 0; i < operands; ++i) args.operand[i] = Resolve(step.operands[first + i], nullptr, 0);
    args.tokens = count;
    args.position = static_cast<int64_t>(position_);
    args.capacity = static_cast<int64_t>(plan_.capacity);
    CallKernel(kernel, args);
    first += operands;
  }
  const MoeLayer &layer = bundle_->moe_layers[step.layer];
  const Kernel &router = bundle_->kernel_table[step.router];
  auto *scores = static_cast<char *>(Resolve(step.operands[first - router.extents.size + 2], nullptr, 0));
  const float *bias = step.operands.size > first
                          ? static_cast<const float *>(Resolve(step.operands[first], nullptr, 0)) : nullptr;
  uint32_t ranked = RankedExperts(layer.experts, layer.top_k);
  for (uint32_t row = 0; row < count; ++row) {
    auto *logits = reinterpret_cast<float *>(scores + router.extents[2].per_token * row);
    ChoiceScores(step.score, bias, layer.experts, logits);
    RankScores(logits, layer.experts, ranked, ranked_);
    if (look_ahead_ != nullptr) look_ahead_(look_ahead_user_, position_ + row, step.layer, ranked_, ranked);
    if (count == 1) predictor_.LookAhead(step.layer, ranked_);
  }
  runner_.EndLooking(start);
}

// The step's kernel, on as many tokens at a time as there is room for panels.
Status Session::LookUp(const Step &step, const int32_t *tokens, uint32_t count) {
  for (uint32_t first = 0; first < count;) {
    const uint32_t left = count - first, some = left < panels_.most_tokens() ? left : panels_.most_tokens();
    RT_RETURN_IF_ERROR(panels_.Bring(step.operands[1].index, tokens + first, some));
    emoe_kernel_args args = {};
    for (size_t i = 2; i < step.operands.size; ++i) args.operand[i] = Resolve(step.operands[i], tokens, first);
    args.operand[0] = const_cast<int32_t *>(panels_.rows());
    args.operand[1] = const_cast<char *>(panels_.weights());
    args.tokens = some;
    args.position = static_cast<int64_t>(position_ + first);
    args.capacity = static_cast<int64_t>(plan_.capacity);
    CallKernel(step.kernel, args);
    runner_.Pump();
    first += some;
  }
  return OkStatus();
}

Status Session::RunStep(const Step &step, const int32_t *tokens, uint32_t first, uint32_t count) {
  if (step.kind == StepKind::kLookAhead) {
    LookAhead(step, count);
    return OkStatus();
  }
  emoe_kernel_args args = {};
  for (size_t i = 0; i < step.operands.size; ++i) args.operand[i] = Resolve(step.operands[i], tokens, first);
  if (step.kind == StepKind::kExperts) {
    ExpertOperands operands;
    operands.input_f32 = args.operand[0];
    operands.input_q8 = args.operand[1];
    operands.ids = static_cast<const int32_t *>(args.operand[2]);
    operands.hidden = args.operand[3];
    operands.pairs = args.operand[4];
    operands.tokens = count;
    if (route_ != nullptr) Reroute(step, static_cast<int32_t *>(args.operand[2]), count);
    // What the layer before could know counts, whatever was read ahead.
    const bool once = step.rows == Rows::kSource;
    operands.once = once;
    if (predicting_ && count == 1 && !once) predictor_.Predict(step.layer, 1);
    if (!once) predictor_.Observe(step.layer, operands.ids, count);
    Status status = runner_.Run(step.layer, operands);
    if (status.ok()) LimitExperts(step, args, count);
    if (status.ok() && !once && trace_ != nullptr) Trace(step, operands.ids, count);
    if (status.ok() && tap_ != nullptr) tap_(tap_user_, *this, step, count);
    return status;
  }
  if (plan_.panels != 0 && LooksUpPaged(*bundle_, step)) return LookUp(step, tokens, count);
  args.tokens = count;
  args.position = static_cast<int64_t>(position_ + first);
  args.capacity = static_cast<int64_t>(plan_.capacity);
  args.source = static_cast<int64_t>(source_);
  CallKernel(step.kernel, args);
  runner_.Pump();
  return OkStatus();
}

namespace {

// Of two choices the first is the one with the larger weight, of equal ones the lower expert. `counts`: tokens that chose
// each expert first, then tokens that chose it second. The encoder's rows come all at once: there second choices come after
// the first ones of all rows; in chunks those of later tokens are not known.
void LimitRanked(const MoeLayer &layer, const int32_t *ids, float *weights, uint32_t count, uint32_t *counts) {
  uint32_t *firsts = counts, *seconds = counts + layer.experts;
  auto first_of = [&](uint64_t row) { return 2 * row + (weights[2 * row] >= weights[2 * row + 1] ? 0 : 1); };
  for (uint64_t row = 0; layer.source && row < count; ++row) ++firsts[ids[first_of(row)]];
  for (uint64_t row = 0; row < count; ++row) {
    const uint64_t first = first_of(row), second = 4 * row + 1 - first;
    if (!layer.source && ++firsts[ids[first]] > layer.capacity) weights[first] = 0;
    if (uint64_t{++seconds[ids[second]]} + firsts[ids[second]] > layer.capacity) weights[second] = 0;
  }
  // Backwards, the count of all rows becomes that of the rows up to each.
  for (uint64_t row = layer.source ? count : 0; row-- != 0;) {
    const uint64_t first = first_of(row);
    if (firsts[ids[first]]-- > layer.capacity) weights[first] = 0;
  }
}

}  // namespace

// Beyond an expert's capacity a token's weight is zero. Counts go on from chunk to chunk; the ids were checked.
void Session::LimitExperts(const Step &step, const emoe_kernel_args &args, uint32_t count) {
  const MoeLayer &layer = bundle_->moe_layers[step.layer];
  if (layer.capacity == 0) return;
  const auto *ids = static_cast<const int32_t *>(args.operand[2]);
  auto *weights = static_cast<float *>(args.operand[5]);
  uint32_t *taken = taken_;
  for (uint32_t i = 0; i < step.layer; ++i) taken += 2 * bundle_->moe_layers[i].experts;
  if (layer.ranked) {
    LimitRanked(layer, ids, weights, count, taken);
  } else {
    for (uint64_t pair = 0; pair < uint64_t{count} * layer.top_k; ++pair) {
      if (taken[ids[pair]] == layer.capacity) {
        weights[pair] = 0;
      } else {
        ++taken[ids[pair]];
      }
    }
  }
  if (layer.weight_scale > 0) {
    for (float *row = weights, *end = weights + uint64_t{count} * layer.top_k; row != end; row += layer.top_k) {
      float sum = 0;
      for (uint32_t slot = 0; slot < layer.top_k; ++slot) sum += row[slot];
      const float divisor = sum > layer.weight_floor ? sum : layer.weight_floor;
      for (uint32_t slot = 0; slot < layer.top_k; ++slot) row[slot] = row[slot] / divisor * layer.weight_scale;
    }
  }
}

Status Session::CheckTokens(const int32_t *tokens, uint64_t count) const {
  for (uint64_t i = 0; i < count; ++i) {
    if (static_cast<uint32_t>(tokens[i]) >= bundle_->model.vocab) {
      return Error(StatusCode::kUsage, "a token is not in the vocabulary: number", static_cast<uint32_t>(tokens[i]),
                   bundle_->model.vocab);
    }
  }
  return OkStatus();
}

Status Session::Encode(const int32_t *tokens, uint64_t count) {
  if (!has_source_) return Error(StatusCode::kUsage, "this model has no encoder: it takes one sequence of tokens");
  if (count == 0 || count > plan_.source) {
    return Error(StatusCode::kUsage, "the encoder's input must have 1 token to the session's most; tokens", count,
                 plan_.source);
  }
  RT_RETURN_IF_ERROR(CheckTokens(tokens, count));
  Reset();
  source_ = count;
  runner_.Advance(static_cast<uint32_t>(count));
  for (const Step &step : bundle_->steps) {
    if (step.rows != Rows::kSource) continue;
    Status status = OkStatus();
    if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) status = Error(StatusCode::kUsage, "interrupted");
    const uint64_t begin = watch_step_ != nullptr ? clock_->Now() : 0;
    if (status.ok()) status = RunStep(step, tokens, 0, static_cast<uint32_t>(count));
    if (!status.ok()) {
      source_ = 0;
      return status;
    }
    if (watch_step_ != nullptr) watch_step_(watch_user_, step, static_cast<uint32_t>(count), clock_->Now() - begin);
  }
  return OkStatus();
}

Status Session::RunChunk(const int32_t *tokens, uint32_t count, Want want) {
  runner_.Advance(count);
  for (const Step &step : bundle_->steps) {
    if (step.rows == Rows::kSource) continue;
    if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) {
      return Error(StatusCode::kUsage, "interrupted");
    }
    if (step.rows == Rows::kWanted && want == Want::kNone) continue;
    const bool last = step.rows == Rows::kWanted && want == Want::kLast;
    const uint64_t begin = watch_step_ != nullptr ? clock_->Now() : 0;
    RT_RETURN_IF_ERROR(last ? RunStep(step, tokens, count - 1, 1) : RunStep(step, tokens, 0, count));
    half_done_ = bundle_->states.size != 0 || counts_;
    if (watch_step_ != nullptr) watch_step_(watch_user_, step, last ? 1 : count, clock_->Now() - begin);
  }
  half_done_ = false;
  position_ += count;
  tokens_ += count;
  return OkStatus();
}

Status Session::Forward(const int32_t *tokens, uint64_t count, Want want, const LogitsSink &sink) {
  if (half_done_) return Error(StatusCode::kUsage, "the sequence is half-way through a chunk that failed: reset the session");
  if (count > plan_.context - position_) {
    return Error(StatusCode::kUsage, "the text does not fit the context: raise --ctx to", position_ + count,
                 plan_.context);
  }
  if (want == Want::kAll && plan_.logits_rows != plan_.chunk) {
    return Error(StatusCode::kUsage, "this session has room for the last token's logits only");
  }
  if (has_source_ && source_ == 0) {
    return Error(StatusCode::kUsage, "this model has an encoder, which was given no tokens: emoe-rt run and logits take them "
                                     "by --tokens, the decoder's by --decoder-tokens");
  }
  RT_RETURN_IF_ERROR(CheckTokens(tokens, count));
  const Buffer &logits = bundle_->buffers[bundle_->logits];
  uint64_t stride = logits.per_token / sizeof(float);
  for (uint64_t done = 0; done < count;) {
    uint32_t rows = count - done < plan_.chunk ? static_cast<uint32_t>(count - done) : plan_.chunk;
    bool last = done + rows == count;
    Want here = want == Want::kLast && !last ? Want::kNone : want;
    RT_RETURN_IF_ERROR(RunChunk(tokens + done, rows, here));
    if (here != Want::kNone) {
      const auto *first = reinterpret_cast<const float *>(buffers_[bundle_->logits]);
      uint32_t made = here == Want::kAll ? rows : 1;
      last_logits_ = first + (made - 1) * stride;
      if (sink.rows != nullptr) {
        RT_RETURN_IF_ERROR(sink.rows(sink.user, done + rows - made, made, first, stride));
      }
    }
    done += rows;
  }
  return OkStatus();
}

}  // namespace emoe::rt
