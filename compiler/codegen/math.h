// Elementary functions as IR, for scalars and vectors of f32. No library call; the same operations in the same
// order on every target with fused multiply-add, so the same bits.
#ifndef EMOE_COMPILER_CODEGEN_MATH_H_
#define EMOE_COMPILER_CODEGEN_MATH_H_

#include "compiler/codegen/emit.h"

namespace emoe {

// Relative error <= 2e-7 where the result is normal, the rounding of the subnormal grid below. exp(-inf) = 0, overflow
// gives +inf, NaN gives NaN.
Expr emitExp(Expr x);
// Absolute error <= 3e-7, relative error <= 4e-7.
Expr emitTanh(Expr x);
// Absolute error <= 5e-7.
Expr emitErf(Expr x);
// 1 / (1 + exp(-x)).
Expr emitSigmoid(Expr x);
// ln(1 + exp(x)), relative error <= 1e-6. Infinity gives infinity, NaN gives NaN.
Expr emitSoftplus(Expr x);
// Sine and cosine of |x| <= 2^20 radians, absolute error <= 1e-7: range reduction and polynomials in double.
struct SinCos {
  Expr sin, cos;
};
SinCos emitSinCos(Expr x);
// The activation function of Activate and GateUp.
Expr emitActivation(Activation activation, Expr x);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_MATH_H_
