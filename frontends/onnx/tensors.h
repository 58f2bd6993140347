// Tensors of an ONNX file as IR: where large ones are, and the values of small ones.
#ifndef EMOE_FRONTENDS_ONNX_TENSORS_H_
#define EMOE_FRONTENDS_ONNX_TENSORS_H_

#include <set>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "frontends/onnx/model.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

namespace emoe::onnx {

// Integer tensors up to this many elements are constants in the IR; larger ones are symbols.
inline constexpr int64_t kMaxInlineElements = 4096;

// The name under which the WeightStore holds the model file itself.
inline constexpr char kModelFile[] = "<model>";

// The MLIR type of ONNX's element type; null for Undefined, complex and unknown types.
mlir::Type elementType(mlir::MLIRContext *context, DataType type);

// "float16", or the number of a type that has no name here.
std::string typeName(DataType type);

// Turns tensors of one model into attributes, and opens the external files that they name.
class Tensors {
public:
  // `path` is the model's, which `store` holds under kModelFile already.
  Tensors(std::string path, mlir::MLIRContext *context, WeightStore &store);

  // The type of a tensor. Unimplemented if its elements cannot be represented.
  absl::StatusOr<mlir::RankedTensorType> type(const TensorInfo &tensor) const;

  // The value of a small tensor (integers and booleans up to kMaxInlineElements, floats of at most one element), or
  // the place of a large one. `name` is unique in the module: it names values that no file holds as plain bytes.
  // Errors name the tensor: NotFound, PermissionDenied (its file), OutOfRange (its bytes), InvalidArgument.
  using Value = std::variant<mlir::DenseElementsAttr, SourceAttr>;
  absl::StatusOr<Value> value(const TensorInfo &tensor, const std::string &name);

private:
  struct Place {
    std::string file;
    uint64_t offset;
  };
  absl::StatusOr<Place> place(const TensorInfo &tensor, uint64_t bytes);
  absl::StatusOr<std::vector<uint8_t>> decode(const TensorInfo &tensor, mlir::Type element, uint64_t elements,
                                              uint64_t bytes) const;
  mlir::DenseElementsAttr inlined(mlir::RankedTensorType type, absl::Span<const uint8_t> bytes) const;

  std::string path_, directory_;
  mlir::MLIRContext *context_;
  WeightStore &store_;
  std::set<std::string> opened_;
};

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_TENSORS_H_
