// An encoder and its decoder as one model.
#ifndef EMOE_COMPILER_RAISE_JOIN_H_
#define EMOE_COMPILER_RAISE_JOIN_H_

#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// Puts the raised encoder in front of the raised decoder: @main takes the decoder's ids, then the encoder's. The encoder's
// weights go from its store to the decoder's and are called "encoder.NAME"; an embedding that both have is kept once.
// Attention and mixture layers of the encoder come first. Emits an error if the two do not belong together.
mlir::LogicalResult joinEncoder(mlir::ModuleOp decoder, WeightStore &store, mlir::ModuleOp encoder,
                                WeightStore &encoderStore);

// Emits an error if the raised model alone is none that runs: it takes an encoder's result, or sees later positions.
mlir::LogicalResult checkDecoder(mlir::ModuleOp module);

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_JOIN_H_
