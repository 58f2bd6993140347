#include "compiler/codegen/image.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/emit.h"
#include "compiler/codegen/object.h"
#include "compiler/codegen/tile.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

namespace emoe {

namespace {

absl::Status writeText(const std::string &path, llvm::StringRef text) {
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  if (!error) {
    file << text;
    file.close();
    error = file.error();
    file.clear_error();
  }
  return error ? absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", error.message())) : absl::OkStatus();
}

} // namespace

absl::StatusOr<KernelImage> compileImage(absl::Span<const KernelSpec> specs, const Target &target,
                                         mlir::MLIRContext &context, const ImageOptions &options) {
  if (specs.empty()) {
    return absl::InvalidArgumentError("an image needs at least one kernel");
  }
  loadKernelDialects(context);
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
  std::string diagnostics;
  std::vector<std::string> names;
  std::string text;
  {
    mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) {
      absl::StrAppend(&diagnostics, ": ", diagnostic.str());
      return mlir::success();
    });
    std::set<std::string> done;
    for (const KernelSpec &spec : specs) {
      names.push_back(kernelName(spec));
      if (!done.insert(names.back()).second) {
        continue;  // equal specifications share one function
      }
      if (mlir::failed(emitKernel(spec, target, *module))) {
        return absl::UnimplementedError(
            absl::StrCat("kernel ", names.back(), " cannot be generated for ", target.name, diagnostics));
      }
    }
    const TileLowering lowering = options.genericTiles ? TileLowering::Generic : TileLowering::Fast;
    if (mlir::failed(lowerTileProducts(*module, target, lowering)) || mlir::failed(mlir::verify(*module))) {
      return absl::InternalError(absl::StrCat("the IR of the kernels for ", target.name, " is invalid", diagnostics));
    }
  }
  bool keep = !options.saveTemps.empty();
  if (keep) {
    llvm::raw_string_ostream stream(text);
    module->print(stream);
  }
  absl::StatusOr<ObjectCode> object = generateObject(*module, target, keep);
  if (!object.ok()) {
    return object.status();
  }
  if (keep) {
    if (std::error_code error = llvm::sys::fs::create_directories(options.saveTemps)) {
      return absl::UnavailableError(absl::StrCat("cannot make ", options.saveTemps, ": ", error.message()));
    }
    std::string base = absl::StrCat(options.saveTemps, "/kernels.", target.name);
    for (auto [suffix, content] : {std::pair<const char *, llvm::StringRef>{".mlir", text},
                                   {".ll", object->llvmIr},
                                   {".s", object->assembly}}) {
      if (absl::Status status = writeText(base + suffix, content); !status.ok()) {
        return status;
      }
    }
  }
  return linkImage(object->bytes, target, names);
}

} // namespace emoe
