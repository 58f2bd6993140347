// Signatures of the onnx dialect's ops (SignatureInterface), parsed: what import must know to build any op.
#ifndef EMOE_FRONTENDS_ONNX_SIGNATURE_H_
#define EMOE_FRONTENDS_ONNX_SIGNATURE_H_

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/IR/Value.h"

namespace emoe::onnx {

struct Signature {
  enum Kind { Required = 'i', Optional = 'o', Variadic = 'v' };
  struct Input {
    llvm::StringRef name;
    Kind kind;
  };
  struct Output {
    llvm::StringRef name;
    bool variadic;
    llvm::StringRef rule; // of its element type
  };
  llvm::SmallVector<Input> inputs;
  llvm::SmallVector<Output> outputs;
};

// The signature of an op of the dialect that comes from ONNX; nothing for the dialect's own ops.
std::optional<Signature> signatureOf(mlir::RegisteredOperationName name);

// The element type by `rule`; null if no alternative applies. `firsts` has the first value of each input, or null.
mlir::Type elementByRule(mlir::MLIRContext *context, llvm::StringRef rule,
                         llvm::ArrayRef<mlir::Value> firsts, const mlir::NamedAttrList &attributes);

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_SIGNATURE_H_
