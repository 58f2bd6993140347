// ONNX frontend: bytes of a .onnx file (and its external data) -> a module of the onnx dialect.
#ifndef EMOE_FRONTENDS_ONNX_ONNX_H_
#define EMOE_FRONTENDS_ONNX_ONNX_H_

#include <string>

#include "absl/status/statusor.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace emoe::onnx {

// Imports the model at `path` into `context`, whose dialects it loads: a module with the onnx.tensor symbols and one
// func.func @main. Large tensors stay in files that are added to `store`, which must be empty; it must outlive every
// use of the module's sources. Errors name the file and byte offset, or the node, and what to do.
//   InvalidArgument: not an ONNX model, or a damaged one    NotFound: the model or an external file is missing
//   PermissionDenied: an external path leaves the model's folder    Unimplemented: an op or type that we lack
//   OutOfRange: an external file is too short
absl::StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> importModel(const std::string &path, mlir::MLIRContext &context,
                                                              WeightStore &store);

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_ONNX_H_
