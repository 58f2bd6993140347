// A model at work: everything that a bundle and a budget make, in one piece of memory.
//
// Logits are a function of the bundle, the kernel image and the tokens alone: the same bits for every budget, number of
// threads, chunk, way of reading and cache policy.
#ifndef EMOE_RUNTIME_ENGINE_SESSION_H_
#define EMOE_RUNTIME_ENGINE_SESSION_H_

#include <atomic>

#include "runtime/bundle/bundle.h"
#include "runtime/engine/expert_runner.h"
#include "runtime/engine/panels.h"
#include "runtime/engine/stats.h"
#include "runtime/engine/threads.h"
#include "runtime/experts/predict.h"
#include "runtime/image/image.h"
#include "runtime/io/device.h"
#include "runtime/io/reader.h"
#include "runtime/memory/arena.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {

// Which rows of a call get logits.
enum class Want : uint8_t { kNone, kLast, kAll };

class Session;

struct SessionOptions {
  MemoryOptions memory;           // Create fills in image_bytes, and process_bytes if it is 0
  IoMode io = IoMode::kAuto;
  DirectMode direct = DirectMode::kAuto;
  uint32_t io_timeout_ms = 30000;
  const char *isa = nullptr;      // name of a kernel image; null: the best that runs here
  const char *policy = nullptr;   // a name of cache_parameters.h; null: the bundle's
  Loading loading = Loading::kCached;
  bool prefetch = true;           // predicted experts may be read ahead
  uint64_t prefetch_bytes = 0;    // of them, per token; 0: as many as a token uses
  DeviceModel device;             // the storage to pretend to have
  const char *predictor = nullptr;  // a PredictorName() for all layers; null: the bundle's
  const Syscalls *calls = &kSyscalls;
  const Clock *clock = &kClock;
  // Instead of one made from the provider (tests); closed with the session.
  Reader *reader = nullptr;
  // Instead of an image (tests): one function per entry of the bundle's kernel table.
  const emoe_kernel_fn *kernels = nullptr;
  // Checked between steps; when it is set, Forward ends with kUsage "interrupted". May be null.
  const std::atomic<bool> *stop = nullptr;
  // Told what each token chose: `ids` are top_k experts. May be null.
  void (*trace)(void *user, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t top_k) = nullptr;
  void *trace_user = nullptr;
  // May put other experts of the layer in place of those that the router chose; they get the weights of these. The logits
  // mean nothing then: for measuring with routing of another model. May be null.
  void (*route)(void *user, uint64_t position, uint32_t layer, int32_t *ids, uint32_t top_k) = nullptr;
  void *route_user = nullptr;
  // Told of each experts step that ended well. May be null.
  void (*watch)(void *user, const LayerTimes &times) = nullptr;
  void *watch_user = nullptr;
  // Told of each step that ended well: `rows` rows took it so long, by `clock`. May be null.
  void (*watch_step)(void *user, const Step &step, uint32_t rows, uint64_t nanoseconds) = nullptr;
  // Told what each token's look-ahead steps say of `layer`, which runs later: `count` experts, the best first. When it
  // is set, all rows of all chunks are looked ahead from. May be null.
  void (*look_ahead)(void *user, uint64_t position, uint32_t layer, const int32_t *ranked, uint32_t count) = nullptr;
  void *look_ahead_user = nullptr;
  // Called after each experts step, between threads' work: what the step read and wrote, and all else
  // that is alive then, is at the session's address(); row r is at position() + r. For calibration. May be null.
  void (*tap)(void *user, const Session &session, const Step &step, uint32_t rows) = nullptr;
  void *tap_user = nullptr;
};

// Takes the logits of a chunk: rows first .. first + count - 1 of the call, `stride` floats apart. An error ends the
// call.
struct LogitsSink {
  Status (*rows)(void *user, uint64_t first, uint32_t count, const float *logits, uint64_t stride) = nullptr;
  void *user = nullptr;
};

class Session {
 public:
  // Plans the memory, loads image and resident weights, checks them, starts threads. `bundle` and `provider` must
  // outlive the session. kBudget: detail = the floor.
  static Status Create(const Bundle &bundle, Provider &provider, const SessionOptions &options, Session **out);
  static void Destroy(Session *session);

  // Of a model with an encoder: forgets the sequence and gives the encoder its input, once and whole, before Forward. kUsage
  // if the model has no encoder, or the tokens do not fit MemoryOptions::source or the vocabulary. After any other
  // failure: Encode again. Nothing is allocated.
  Status Encode(const int32_t *tokens, uint64_t count);

  // Appends `count` tokens to the sequence. kUsage if they do not fit the context or are not in the vocabulary. After
  // any other failure the sequence is lost: Reset. Nothing is allocated.
  Status Forward(const int32_t *tokens, uint64_t count, Want want, const LogitsSink &sink = {});

  // Logits of the last row of the last call with kLast or kAll: model.vocab floats, until the next call.
  const float *logits() const { return last_logits_; }

  // Forgets the sequence, and the encoder's input; the experts in memory stay.
  void Reset();
  uint64_t position() const { return position_; }

  // Where an operand of the chunk at hand lies; null if it has none or is the token ids. Meant for taps.
  const void *address(const Operand &operand) const {
    return operand.kind == OperandKind::kTokenIds ? nullptr : Resolve(operand, nullptr, 0);
  }

  const MemoryPlan &plan() const { return plan_; }
  const Bundle &bundle() const { return *bundle_; }
  SessionStats stats() const;
  const ExpertRunner &experts() const { return runner_; }
  const RecordFailure &failure() const { return runner_.failure(); }
  // Storage hangs: a read is still under way, so the session cannot be destroyed; leave by _exit.
  bool hung() const { return runner_.hung(); }
  const char *reader_name() const { return reader_->name(); }
  bool direct() const { return reader_->direct(); }
  Text isa() const { return isa_; }

  // What layers were predicted to use, and how well.
  const Predictor &predictor() const { return predictor_; }

  // The tokenizer section, checked against its checksum; null if it was not asked for or is missing.
  const void *tokenizer() const { return tokenizer_; }
  // model.vocab * 8 bytes for a sampler's candidates.
  void *sampler_memory() const { return sampler_memory_; }

 private:
  Session() = default;
  Status Start(Provider &provider, const SessionOptions &options);
  Status LoadKernels(Provider &provider, const SessionOptions &options, uint32_t image);
  Status PlaceBuffers();
  void ClearStates();
  Status StartPredictor(Provider &provider, const SessionOptions &options);
  Status CheckTokens(const int32_t *tokens, uint64_t count) const;
  void LimitExperts(const Step &step, const emoe_kernel_args &args, uint32_t count);
  Status RunChunk(const int32_t *tokens, uint32_t count, Want want);
  Status RunStep(const Step &step, const int32_t *tokens, uint32_t first, uint32_t count);
  Status LookUp(const Step &step, const int32_t *tokens, uint32_t count);
  void CallKernel(uint32_t kernel, const emoe_kernel_args &args);
  void LookAhead(const Step &step, uint32_t count);
  void *Resolve(const Operand &operand, const int32_t *tokens, uint32_t first) const;
  void Trace(const Step &step, const int32_t *ids, uint32_t count) const;
  void Reroute(const Step &step, int32_t *ids, uint32_t count) const;

  Arena arena_;  // holds this session too
  const Bundle *bundle_ = nullptr;
  MemoryPlan plan_;
  LoadedImage image_;
  Text isa_;
  const emoe_kernel_fn *kernels_ = nullptr;
  Reader *reader_ = nullptr;
  ThreadPool pool_;
  ExpertRunner runner_;
  Panels panels_;               // where plan_.panels is not 0
  Predictor predictor_;
  bool predicting_ = false;     // whether prediction is of use: not all records fit, or it was asked for
  int32_t *ranked_ = nullptr;   // scratch of LookAhead

  char *resident_ = nullptr;
  char **buffers_ = nullptr;               // address of each activation buffer
  char **keys_ = nullptr, **values_ = nullptr;  // of each attention layer
  char **states_ = nullptr;                // of each recurrent state
  bool half_done_ = false;                 // a chunk ended between its steps: states or counts have gone on, caches have not
  void *tokenizer_ = nullptr, *sampler_memory_ = nullptr;
  const float *last_logits_ = nullptr;
  uint64_t position_ = 0, tokens_ = 0;
  uint64_t source_ = 0;         // tokens of the encoder's input
  bool has_source_ = false;
  // By layer, where there is a capacity: tokens of the sequence that each expert took; or, if choices are ranked, those that
  // chose it first, then those that chose it second.
  uint32_t *taken_ = nullptr;
  uint64_t taken_count_ = 0;
  bool counts_ = false;         // whether there is a capacity

  const std::atomic<bool> *stop_ = nullptr;
  void (*trace_)(void *, uint64_t, uint32_t, const int32_t *, uint32_t) = nullptr;
  void *trace_user_ = nullptr;
  void (*route_)(void *, uint64_t, uint32_t, int32_t *, uint32_t) = nullptr;
  void *route_user_ = nullptr;
  void (*look_ahead_)(void *, uint64_t, uint32_t, const int32_t *, uint32_t) = nullptr;
  void *look_ahead_user_ = nullptr;
  void (*watch_step_)(void *, const Step &, uint32_t, uint64_t) = nullptr;
  void *watch_user_ = nullptr;
  const Clock *clock_ = nullptr;
  void (*tap_)(void *, const Session &, const Step &, uint32_t) = nullptr;
  void *tap_user_ = nullptr;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_SESSION_H_
