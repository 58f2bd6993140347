// Sensitivity files, and the pass that chooses widths by one: for tests and for looking at what a tolerance would do.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compiler/bitwidth/adapt_bitwidth.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace emoe {
namespace {

namespace json = llvm::json;

std::optional<double> numberFrom(const json::Object &object, StringRef name) {
  std::optional<double> value = object.getNumber(name);
  return value && std::isfinite(*value) && *value >= 0 ? value : std::nullopt;
}

} // namespace

absl::StatusOr<SensitivityFile> readSensitivity(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    return absl::NotFoundError(absl::StrCat(path, ": ", buffer.getError().message()));
  }
  llvm::Expected<json::Value> root = json::parse((*buffer)->getBuffer());
  if (!root) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", llvm::toString(root.takeError())));
  }
  auto bad = [&](const std::string &what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what)); };
  const json::Object *object = root->getAsObject();
  const json::Array *formats = object ? object->getArray("formats") : nullptr;
  const json::Array *layers = object ? object->getArray("layers") : nullptr;
  if (!formats || !layers || formats->empty()) {
    return bad("needs \"formats\", a list of names that is not empty, and \"layers\", a list");
  }
  SensitivityFile file;
  for (const json::Value &name : *formats) {
    if (!name.getAsString()) {
      return bad("a format is not a name");
    }
    file.formats.push_back(name.getAsString()->str());
  }
  for (const json::Value &layer : *layers) {
    const std::string where = absl::StrCat("layer ", file.losses.size());
    const json::Array *experts = layer.getAsArray();
    if (!experts) {
      return bad(where + " is not a list of experts");
    }
    file.losses.emplace_back();
    file.probability.emplace_back();
    for (const json::Value &value : *experts) {
      const std::string expertName = absl::StrCat(where, ", expert ", file.losses.back().size());
      const json::Object *expert = value.getAsObject();
      std::optional<double> probability = expert ? numberFrom(*expert, "probability") : std::nullopt;
      const json::Array *losses = expert ? expert->getArray("losses") : nullptr;
      if (!probability || *probability > 1 || !losses) {
        return bad(expertName + " needs \"probability\" from 0 to 1 and \"losses\", a list");
      }
      if (losses->size() != file.formats.size()) {
        return bad(absl::StrCat(expertName, " has ", losses->size(), " losses for ", file.formats.size(), " formats"));
      }
      std::vector<double> own;
      for (const json::Value &loss : *losses) {
        std::optional<double> number = loss.getAsNumber();
        if (!number || !std::isfinite(*number) || *number < 0) {
          return bad(expertName + ": a loss is not a number from 0 on");
        }
        own.push_back(*number);
      }
      file.losses.back().push_back(std::move(own));
      file.probability.back().push_back(*probability);
    }
  }
  return file;
}

absl::Status writeSensitivity(const SensitivityFile &file, const std::string &path) {
  std::error_code error;
  llvm::raw_fd_ostream out(path, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
  }
  json::OStream stream(out, 1);
  stream.object([&] {
    stream.attributeArray("formats", [&] {
      for (const std::string &name : file.formats) {
        stream.value(name);
      }
    });
    stream.attributeArray("layers", [&] {
      for (size_t layer = 0; layer < file.losses.size(); ++layer) {
        stream.array([&] {
          for (size_t expert = 0; expert < file.losses[layer].size(); ++expert) {
            stream.object([&] {
              stream.attribute("probability", file.probability[layer][expert]);
              stream.attributeArray("losses", [&] {
                for (double loss : file.losses[layer][expert]) {
                  stream.value(loss);
                }
              });
            });
          }
        });
      }
    });
  });
  out << "\n";
  out.close();
  return out.has_error() ? absl::UnavailableError(absl::StrCat(path, ": ", out.error().message())) : absl::OkStatus();
}

namespace {

LogicalResult adaptBySensitivity(ModuleOp module, const std::string &path, double nats, uint64_t budget) {
  auto fail = [&](const absl::Status &status) { return module.emitError() << std::string(status.message()); };
  absl::StatusOr<SensitivityFile> file = readSensitivity(path);
  if (!file.ok()) {
    return fail(file.status());
  }
  std::vector<ExpertFormat> formats;
  for (const std::string &name : file->formats) {
    absl::StatusOr<ExpertFormat> format = formatOf(*module.getContext(), name);
    if (!format.ok()) {
      return fail(format.status());
    }
    formats.push_back(*format);
  }
  absl::StatusOr<std::vector<std::vector<uint64_t>>> bytes = expertBytes(module, formats);
  if (!bytes.ok()) {
    return fail(bytes.status());
  }
  if (bytes->size() != file->losses.size()) {
    return module.emitError() << path << " has " << file->losses.size() << " mixture layers, the model "
                              << bytes->size();
  }
  WidthProblem problem{file->formats, std::move(*bytes), file->losses, file->probability};
  std::vector<double> alike(problem.layers(), 1);
  Assignment assignment = uniformAssignment(problem, problem.finest());
  for (int pass = 0; pass < (budget ? 3 : 1); ++pass) {
    std::vector<int> choice = chooseWidths(widthOptions(problem, alike, budget, assignment), nats);
    size_t i = 0;
    for (std::vector<uint8_t> &layer : assignment) {
      for (uint8_t &format : layer) {
        format = static_cast<uint8_t>(choice[i++]);
      }
    }
  }
  return applyWidths(module, formats, assignment);
}

class AdaptBitwidthPass : public PassWrapper<AdaptBitwidthPass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AdaptBitwidthPass)
  AdaptBitwidthPass() = default;
  AdaptBitwidthPass(const AdaptBitwidthPass &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "adapt-bitwidth"; }
  StringRef getDescription() const override {
    return "Give each expert the format that a sensitivity file and a bound of the summed losses allow";
  }
  void getDependentDialects(DialectRegistry &registry) const override { registry.insert<EmoeDialect>(); }
  void runOnOperation() override {
    if (sensitivity.empty()) {
      getOperation().emitError() << "adapt-bitwidth needs sensitivity=FILE";
      return signalPassFailure();
    }
    if (!(kl >= 0)) {
      getOperation().emitError() << "kl (" << kl << ") must be 0 or more";
      return signalPassFailure();
    }
    if (failed(adaptBySensitivity(getOperation(), sensitivity, kl, budget))) {
      signalPassFailure();
    }
  }

private:
  Option<std::string> sensitivity{*this, "sensitivity", llvm::cl::desc("JSON of losses per expert and format")};
  Option<double> kl{*this, "kl", llvm::cl::desc("the most that all losses may sum to, in nats"), llvm::cl::init(0)};
  Option<uint64_t> budget{*this, "budget", llvm::cl::desc("bytes of records that the target keeps (0: not known)"),
                          llvm::cl::init(0)};
};

} // namespace

void registerBitwidthPasses() { PassRegistration<AdaptBitwidthPass>(); }

} // namespace emoe
