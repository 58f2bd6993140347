#include "compiler/calibrate/run.h"

#include <sched.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/memory/budget.h"

namespace emoe {

static unsigned machineThreads() {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::clamp(count, 1, 64);
}

absl::Status runtimeError(const rt::Status &status, const LiveBundle &bundle) {
  if (absl::Status failure = bundle.failure(); !failure.ok()) {
    return failure;
  }
  return absl::InternalError(absl::StrCat("the runtime failed while it calibrated: ", status.what, " ", status.detail,
                                          ", ", status.detail2));
}

absl::StatusOr<SessionPtr> startSession(LiveBundle &bundle, const RunOptions &run, rt::SessionOptions options) {
  constexpr uint64_t kLogitBytes = 64u << 20;
  rt::MemoryOptions &memory = options.memory;
  memory.context = kWindow;
  memory.chunk = std::clamp<uint64_t>(kLogitBytes / (4 * uint64_t{bundle.bundle().model.vocab}), 16, kWindow);
  memory.threads = run.threads != 0 ? run.threads : machineThreads();
  memory.all_logits = true;
  memory.process_bytes = 1; // the compiler's own memory has no budget
  memory.page = false;      // weights that are packed when they are read are packed whole
  rt::MemoryPlan plan;
  if (rt::Status status = rt::PlanMemory(bundle.bundle(), memory, &plan); !status.ok()) {
    return runtimeError(status, bundle);
  }
  memory.budget = std::min(plan.recommended, plan.floor + run.slotBytes);
  rt::Session *session = nullptr;
  if (rt::Status status = rt::Session::Create(bundle.bundle(), bundle, options, &session); !status.ok()) {
    return runtimeError(status, bundle);
  }
  return SessionPtr(session);
}

ModelInput modelInput(const rt::Bundle &bundle, const Window &window) {
  ModelInput input;
  if (bundle.model.first_token >= 0) {
    input.tokens.push_back(bundle.model.first_token);
  } else {
    input.shift = 1;
  }
  input.tokens.insert(input.tokens.end(), window.text.begin(), window.text.end() - 1);
  return input;
}

} // namespace emoe
