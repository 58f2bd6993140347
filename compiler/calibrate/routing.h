// Routing for tables, predictors and the plan: of the calibration texts, or given as a file.
#ifndef EMOE_COMPILER_CALIBRATE_ROUTING_H_
#define EMOE_COMPILER_CALIBRATE_ROUTING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compiler/plan/trace.h"

namespace emoe {

// What decisions are fitted to, and what they are judged on.
struct Routing {
  Trace fit, heldOut;
};

// Reads a trace (compiler/plan/trace_file.h) and holds a quarter of each text out, its end. InvalidArgument: it is not of
// a model with these layers, and why.
absl::StatusOr<Routing> readRouting(const std::string &path, const std::vector<TraceLayer> &model);

// A line a token, the fitted part first.
absl::Status saveRouting(const Routing &routing, const std::string &path);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_ROUTING_H_
