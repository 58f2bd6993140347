// Candidates against the reference: two sessions side by side, so that no row of logits is kept.
#include "absl/strings/str_cat.h"
#include "compiler/calibrate/compare.h"
#include "compiler/calibrate/run.h"
#include "runtime/memory/arena.h"

namespace emoe {
namespace {

class SideBySide : public CandidateEvaluator {
public:
  SideBySide(LiveBundle &reference, LiveBundle &candidates, const Texts &texts, const RunOptions &run)
      : reference(reference), candidates(candidates), run(run) {
    for (const Window &window : texts.windows) {
      if (window.heldOut) {
        windows.push_back(&window);
      }
    }
  }

  absl::StatusOr<Comparison> evaluate(const Assignment &assignment, uint64_t tokens) override;
  uint64_t recordBytes(size_t layer, size_t layout) const override {
    return candidates.bundle().moe_layers[layer].variants[layout].record_bytes;
  }

private:
  absl::Status check(const Assignment &assignment) const;

  LiveBundle &reference, &candidates;
  RunOptions run;
  std::vector<const Window *> windows;
  SessionPtr referenceSession; // kept: its records do not change
};

// What one chunk's logits are compared with.
struct Rows {
  const float *logits = nullptr; // of the reference
  uint64_t stride = 0;
  uint32_t vocab = 0;
  const int32_t *targets = nullptr;
  RowComparison *out = nullptr;

  static rt::Status keep(void *user, uint64_t, uint32_t, const float *logits, uint64_t stride) {
    auto &rows = *static_cast<Rows *>(user);
    rows.logits = logits;
    rows.stride = stride;
    return rt::OkStatus();
  }
  static rt::Status compare(void *user, uint64_t, uint32_t count, const float *logits, uint64_t stride) {
    auto &rows = *static_cast<Rows *>(user);
    for (uint32_t row = 0; row < count; ++row) {
      rows.out[row] =
          compareRows(rows.logits + row * rows.stride, logits + row * stride, rows.vocab, rows.targets[row]);
    }
    return rt::OkStatus();
  }
};

absl::Status SideBySide::check(const Assignment &assignment) const {
  const auto &layers = candidates.bundle().moe_layers;
  if (assignment.size() != layers.size) {
    return absl::InternalError(absl::StrCat("an assignment for ", assignment.size(), " of ", layers.size, " layers"));
  }
  for (size_t layer = 0; layer < layers.size; ++layer) {
    if (assignment[layer].size() != layers[layer].experts) {
      return absl::InternalError(absl::StrCat("an assignment for ", assignment[layer].size(), " of ",
                                              layers[layer].experts, " experts of layer ", layer));
    }
    for (uint8_t layout : assignment[layer]) {
      if (layout >= layers[layer].variants.size) {
        return absl::InternalError(absl::StrCat("there is no layout ", static_cast<int>(layout)));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Comparison> SideBySide::evaluate(const Assignment &assignment, uint64_t tokens) {
  if (absl::Status status = check(assignment); !status.ok()) {
    return status;
  }
  candidates.setVariants(assignment);
  if (!referenceSession) {
    absl::StatusOr<SessionPtr> session = startSession(reference, run, {});
    if (!session.ok()) {
      return session.status();
    }
    referenceSession = std::move(*session);
  }
  absl::StatusOr<SessionPtr> candidate = startSession(candidates, run, {});
  if (!candidate.ok()) {
    return candidate.status();
  }
  size_t count = tokens == 0 ? windows.size() : std::min<size_t>(windows.size(), (tokens + kWindow - 1) / kWindow);
  std::vector<RowComparison> rows;
  for (size_t i = 0; i < count; ++i) {
    const Window &window = *windows[i * windows.size() / count];
    ModelInput input = modelInput(reference.bundle(), window);
    size_t first = rows.size();
    rows.resize(first + input.tokens.size());
    referenceSession->Reset();
    (*candidate)->Reset();
    uint64_t chunk = referenceSession->plan().chunk;
    for (uint64_t at = 0; at < input.tokens.size(); at += chunk) {
      uint64_t length = std::min<uint64_t>(chunk, input.tokens.size() - at);
      Rows own{nullptr, 0, reference.bundle().model.vocab, window.text.data() + at + input.shift, &rows[first + at]};
      rt::Status status = referenceSession->Forward(&input.tokens[at], length, rt::Want::kAll, {Rows::keep, &own});
      if (!status.ok()) {
        return runtimeError(status, reference);
      }
      status = (*candidate)->Forward(&input.tokens[at], length, rt::Want::kAll, {Rows::compare, &own});
      if (!status.ok()) {
        return runtimeError(status, candidates);
      }
    }
  }
  return summarise(rows);
}

} // namespace

std::unique_ptr<CandidateEvaluator> makeEvaluator(LiveBundle &reference, LiveBundle &candidates, const Texts &texts,
                                         const RunOptions &run) {
  return std::make_unique<SideBySide>(reference, candidates, texts, run);
}

} // namespace emoe
