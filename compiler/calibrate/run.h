// Running the model over calibration texts by the runtime itself.
#ifndef EMOE_COMPILER_CALIBRATE_RUN_H_
#define EMOE_COMPILER_CALIBRATE_RUN_H_

#include <functional>
#include <memory>

#include "compiler/calibrate/live_bundle.h"
#include "compiler/calibrate/moments.h"
#include "compiler/calibrate/texts.h"
#include "runtime/engine/session.h"

namespace emoe {

struct RunOptions {
  uint64_t slotBytes = 256u << 20; // memory for expert records of a session; the resident part comes on top
  unsigned threads = 0;            // 0: as many as the machine has
};

struct SessionDeleter {
  void operator()(rt::Session *session) const { rt::Session::Destroy(session); }
};
using SessionPtr = std::unique_ptr<rt::Session, SessionDeleter>;

// The session of a live bundle for windows of kWindow tokens, in chunks as large as makes sense. `options` has the taps.
absl::StatusOr<SessionPtr> startSession(LiveBundle &bundle, const RunOptions &run, rt::SessionOptions options);

// A failure of the runtime in words; `bundle` may know better what it was about.
absl::Status runtimeError(const rt::Status &status, const LiveBundle &bundle);

// A window as the model sees it. Row r of its logits predicts text[r + shift].
struct ModelInput {
  std::vector<int32_t> tokens;
  uint32_t shift = 0;
};
ModelInput modelInput(const rt::Bundle &bundle, const Window &window);

struct CalibrateOptions {
  RunOptions run;
  uint64_t momentBytes = 512u << 20;
  std::vector<MomentShape> shapes;             // of the mixture layers
  std::function<void(double done)> progress;   // may be null
};

// One pass over all windows: traces of both parts, moments of the fit part, the loss of the held-out part.
absl::StatusOr<Calibration> calibrate(LiveBundle &reference, const Texts &texts, const CalibrateOptions &options);

// Candidates against the reference on the held-out windows of `texts`. Everything must outlive the evaluator.
std::unique_ptr<CandidateEvaluator> makeEvaluator(LiveBundle &reference, LiveBundle &candidates, const Texts &texts,
                                         const RunOptions &run);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_RUN_H_
