// What the files that evaluate the emoe dialect share.
#ifndef EMOE_COMPILER_RAISE_EVALUATE_EMOE_H_
#define EMOE_COMPILER_RAISE_EVALUATE_EMOE_H_

#include "compiler/raise/evaluate.h"

namespace emoe {

// A vector that `op` names.
mlir::FailureOr<std::vector<double>> readVector(mlir::Operation *op, Evaluator &e, mlir::FlatSymbolRefAttr name);

// y[t, n] = sum over c of x[t, c] * w[n, c].
mlir::FailureOr<std::vector<double>> multiplyByWeight(mlir::Operation *op, Evaluator &e, const double *x,
                                                      int64_t tokens, mlir::FlatSymbolRefAttr name);

double activate(Activation activation, double x);

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_EVALUATE_EMOE_H_
