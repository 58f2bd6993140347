#include "compiler/bitwidth/adapt_bitwidth.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compiler/codegen/pack.h"
#include "compiler/partition/partition.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace emoe {
namespace {

// A mixture layer's op and its experts' weights.
struct LayerWeights {
  MoeOp moe;
  ExpertShape shape;
  struct Expert {
    WeightOp gate, up, down; // gate is null where there is none
  };
  std::vector<Expert> experts;
};

absl::StatusOr<std::vector<LayerWeights>> findLayers(ModuleOp module) {
  SymbolTable symbols(module);
  std::map<int64_t, LayerWeights> layers;
  bool sound = true;
  module.walk([&](MoeOp moe) {
    FailureOr<ExpertShape> shape = expertShape(moe, symbols); // also: every name is a weight
    if (failed(shape)) {
      sound = false;
      return;
    }
    LayerWeights layer{moe, *shape, {}};
    auto weight = [&](ArrayAttr list, size_t expert) {
      return symbols.lookup<WeightOp>(cast<FlatSymbolRefAttr>(list[expert]).getValue());
    };
    for (size_t expert = 0; expert < moe.getUp().size(); ++expert) {
      layer.experts.push_back({moe.getGate() ? weight(*moe.getGate(), expert) : WeightOp(), weight(moe.getUp(), expert),
                               weight(moe.getDown(), expert)});
    }
    layers.try_emplace(moe.getLayer(), std::move(layer));
  });
  if (!sound) {
    return absl::InternalError("a mixture layer's experts are not alike");
  }
  std::vector<LayerWeights> result;
  for (auto &[number, layer] : layers) {
    if (number != static_cast<int64_t>(result.size())) {
      return absl::InternalError(absl::StrCat("there is no mixture layer ", result.size()));
    }
    result.push_back(std::move(layer));
  }
  return result;
}

absl::Status readMatrix(WeightOp weight, const WeightStore &store, std::vector<float> &out) {
  const int64_t rows = weight.getShape()[0], columns = weight.getShape()[1];
  out.resize(rows * columns);
  if (absl::Status status = store.read(weight.getSource(), columns, 0, rows, out.data()); !status.ok()) {
    return status;
  }
  store.release(weight.getSource(), rows, columns);
  auto bad = std::find_if_not(out.begin(), out.end(), [](float x) { return std::isfinite(x); });
  if (bad != out.end()) {
    const int64_t at = bad - out.begin();
    return absl::OutOfRangeError(absl::StrCat("weight ", weight.getSymName().str(), ": value ", *bad, " at row ",
                                              at / columns, ", column ", at % columns, " is not finite"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExpertValues> readExpert(const LayerWeights &layer, size_t expert, const WeightStore &store) {
  ExpertValues values;
  values.input = layer.shape.model;
  values.hidden = layer.shape.hidden;
  const LayerWeights::Expert &own = layer.experts[expert];
  for (auto [weight, out] : {std::pair(own.gate, &values.gate), {own.up, &values.up}, {own.down, &values.down}}) {
    if (weight) {
      if (absl::Status status = readMatrix(weight, store, *out); !status.ok()) {
        return status;
      }
    }
  }
  return values;
}

} // namespace

absl::StatusOr<std::vector<std::vector<uint64_t>>> expertBytes(ModuleOp module,
                                                               const std::vector<ExpertFormat> &formats) {
  absl::StatusOr<std::vector<LayerWeights>> layers = findLayers(module);
  if (!layers.ok()) {
    return layers.status();
  }
  std::vector<std::vector<uint64_t>> bytes;
  for (const LayerWeights &layer : *layers) {
    bytes.emplace_back();
    for (const ExpertFormat &format : formats) {
      bytes.back().push_back(packedBytes(format.gateUp, layer.shape.hidden, layer.shape.model) *
                                 (layer.shape.gated ? 2 : 1) +
                             packedBytes(format.down, layer.shape.model, layer.shape.hidden));
    }
  }
  return bytes;
}

absl::StatusOr<uint64_t> countExpertWeights(ModuleOp module) {
  absl::StatusOr<std::vector<LayerWeights>> layers = findLayers(module);
  if (!layers.ok()) {
    return layers.status();
  }
  uint64_t count = 0;
  for (const LayerWeights &layer : *layers) {
    count += layer.experts.size() * layer.shape.model * layer.shape.hidden * (layer.shape.gated ? 3 : 2);
  }
  return count;
}

absl::StatusOr<WidthProblem> measureSensitivity(ModuleOp module, const WeightStore &store,
                                                const Calibration &calibration, const std::vector<ExpertFormat> &formats,
                                                CalibratedRounder &rounder, unsigned threads,
                                                const std::function<void(double)> &progress) {
  absl::StatusOr<std::vector<LayerWeights>> layers = findLayers(module);
  if (!layers.ok()) {
    return layers.status();
  }
  if (layers->size() != calibration.moments.size() || layers->size() != calibration.fit.layers.size()) {
    return absl::InternalError(
        absl::StrCat("moments of ", calibration.moments.size(), " of ", layers->size(), " layers"));
  }
  WidthProblem problem;
  absl::StatusOr<std::vector<std::vector<uint64_t>>> bytes = expertBytes(module, formats);
  if (!bytes.ok()) {
    return bytes.status();
  }
  problem.bytes = std::move(*bytes);
  for (const ExpertFormat &format : formats) {
    problem.formats.push_back(formatName(format));
  }
  std::vector<std::pair<size_t, size_t>> work;
  for (size_t layer = 0; layer < layers->size(); ++layer) {
    const LayerMoments &moments = calibration.moments[layer];
    uint64_t pairs = 0;
    for (const ExpertMoments &expert : moments.experts) {
      pairs += expert.tokens;
    }
    const double tokens = static_cast<double>(pairs) / std::max(1u, calibration.fit.layers[layer].topK);
    problem.error.emplace_back();
    problem.probability.emplace_back();
    for (size_t expert = 0; expert < moments.experts.size(); ++expert) {
      problem.error.back().emplace_back(formats.size());
      problem.probability.back().push_back(
          tokens > 0 ? static_cast<double>(moments.experts[expert].tokens) / tokens : 0);
      work.emplace_back(layer, expert);
    }
  }
  std::atomic<size_t> next{0}, done{0};
  std::mutex mutex;
  absl::Status failure;
  auto run = [&](bool first) {
    for (size_t i; (i = next++) < work.size();) {
      auto [layer, expert] = work[i];
      absl::StatusOr<ExpertValues> values = readExpert((*layers)[layer], expert, store);
      if (!values.ok()) {
        std::lock_guard<std::mutex> lock(mutex);
        failure = values.status();
        next = work.size();
        return;
      }
      const double tokens = static_cast<double>(std::max<uint64_t>(calibration.facts.fitTokens, 1));
      ExpertSensitivity sensitivity(*values, calibration.moments[layer], expert);
      std::vector<double> errors = rounder.errorsOf(layer, expert, *values, sensitivity, formats);
      for (size_t format = 0; format < formats.size(); ++format) {
        problem.error[layer][expert][format] = errors[format] / tokens;
      }
      ++done;
      if (first && progress) {
        progress(static_cast<double>(done) / static_cast<double>(work.size()));
      }
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) {
    others.emplace_back(run, false);
  }
  run(true);
  for (std::thread &thread : others) {
    thread.join();
  }
  if (!failure.ok()) {
    return failure;
  }
  return problem;
}

LogicalResult applyWidths(ModuleOp module, const std::vector<ExpertFormat> &formats, const Assignment &assignment) {
  absl::StatusOr<std::vector<LayerWeights>> layers = findLayers(module);
  if (!layers.ok()) {
    return module.emitError() << std::string(layers.status().message());
  }
  if (assignment.size() != layers->size()) {
    return module.emitError() << "widths of " << assignment.size() << " mixture layers for a model of "
                              << layers->size();
  }
  for (size_t layer = 0; layer < layers->size(); ++layer) {
    LayerWeights &own = (*layers)[layer];
    if (assignment[layer].size() != own.experts.size()) {
      return own.moe.emitOpError("has ") << own.experts.size() << " experts, and there are widths of "
                                         << assignment[layer].size();
    }
    SmallVector<Attribute> names;
    for (size_t expert = 0; expert < own.experts.size(); ++expert) {
      const ExpertFormat &format = formats[assignment[layer][expert]];
      names.push_back(StringAttr::get(module.getContext(), formatName(format)));
      for (WeightOp weight : {own.experts[expert].gate, own.experts[expert].up}) {
        if (weight) {
          weight.setLayoutAttr(format.gateUp);
        }
      }
      own.experts[expert].down.setLayoutAttr(format.down);
    }
    own.moe->setAttr("emoe.widths", ArrayAttr::get(module.getContext(), names));
  }
  return success();
}

} // namespace emoe
