#include "compiler/calibrate/routing.h"

#include "absl/strings/str_cat.h"
#include "compiler/plan/choose.h"
#include "compiler/plan/trace_file.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

namespace emoe {
namespace {

// "8 layers of 32 experts, top 4", or layer by layer where they differ.
std::string describe(const std::vector<TraceLayer> &layers) {
  auto one = [](const TraceLayer &layer) { return absl::StrCat(layer.experts, " experts, top ", layer.topK); };
  bool equal = true;
  for (const TraceLayer &layer : layers) {
    equal &= layer == layers.front();
  }
  if (layers.empty() || equal) {
    return absl::StrCat(layers.size(), " layers", layers.empty() ? "" : absl::StrCat(" of ", one(layers.front())));
  }
  std::string text = absl::StrCat(layers.size(), " layers (");
  for (const TraceLayer &layer : layers) {
    absl::StrAppend(&text, &layer == &layers.front() ? "" : "; ", one(layer));
  }
  return text + ")";
}

} // namespace

absl::StatusOr<Routing> readRouting(const std::string &path, const std::vector<TraceLayer> &model) {
  constexpr double kHeldOut = 0.25;
  absl::StatusOr<Trace> trace = readTrace(path);
  if (!trace.ok()) {
    return trace.status();
  }
  // A trace may know only of the experts that were chosen, so it may have fewer.
  bool fits = trace->layers.size() == model.size();
  for (size_t i = 0; fits && i < model.size(); ++i) {
    fits = trace->layers[i].topK == model[i].topK && trace->layers[i].experts <= model[i].experts;
  }
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("traces ", path, ": ", describe(trace->layers), "; the model has ",
                                                   describe(model), ": they are another model's"));
  }
  const size_t ahead = trace->aheadRow();
  trace->layers = model;
  if (trace->aheadRow() != ahead) {
    trace->ahead.clear();
  }
  if (trace->count() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("traces ", path, ": ", trace->count(), " tokens are too few"));
  }
  auto [fit, heldOut] = splitTrace(*trace, kHeldOut);
  return Routing{std::move(fit), std::move(heldOut)};
}

absl::Status saveRouting(const Routing &routing, const std::string &path) {
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  if (!error) {
    file << formatTrace(routing.fit) << formatTrace(routing.heldOut);
    file.close();
    error = file.error();
    file.clear_error();
  }
  return error ? absl::UnavailableError(absl::StrCat("cannot write traces to ", path, ": ", error.message()))
               : absl::OkStatus();
}

} // namespace emoe
