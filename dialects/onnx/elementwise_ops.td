// Elementwise ops of the onnx dialect. Binary ones broadcast as NumPy does.
#ifndef EMOE_ONNX_ELEMENTWISE_OPS_TD
#define EMOE_ONNX_ELEMENTWISE_OPS_TD

include "dialects/onnx/dialect.td"

// One input X, one output Y of the same shape.
class Onnx_UnaryX<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Tensor:$X);
  let results = (outs Onnx_Tensor:$Y);
}
// The same where ONNX calls them input and output.
class Onnx_Unary<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Tensor:$input);
}
// C[i] = f(A[i], B[i]), broadcast.
class Onnx_Binary<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B);
  let results = (outs Onnx_Tensor:$C);
}
// Any number (>= 1) of broadcast inputs.
class Onnx_Nary<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Many:$data_0);
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

def Onnx_AddOp : Onnx_Binary<"Add", "a + b">;
def Onnx_SubOp : Onnx_Binary<"Sub", "a - b">;
def Onnx_MulOp : Onnx_Binary<"Mul", "a * b">;
def Onnx_DivOp : Onnx_Binary<"Div", "a / b; integers truncate towards zero">;
def Onnx_PowOp : Onnx_Op<"Pow", "x ^ y in the type of x"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$Y);
  let results = (outs Onnx_Tensor:$Z);
}
def Onnx_ModOp : Onnx_Binary<"Mod", "Remainder: sign of the divisor, or C's fmod (sign of the dividend) if fmod = 1"> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B, Onnx_Flag_<"0">:$fmod);
}
def Onnx_MaxOp : Onnx_Nary<"Max", "The largest of the inputs">;
def Onnx_MinOp : Onnx_Nary<"Min", "The smallest of the inputs">;
def Onnx_SumOp : Onnx_Nary<"Sum", "The sum of the inputs">;
def Onnx_MeanOp : Onnx_Nary<"Mean", "The mean of the inputs">;
def Onnx_PReluOp : Onnx_Op<"PRelu", "x if x >= 0, else slope * x"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$slope);
  let results = (outs Onnx_Tensor:$Y);
}

//===----------------------------------------------------------------------===//
// Functions of one element
//===----------------------------------------------------------------------===//

def Onnx_AbsOp : Onnx_UnaryX<"Abs", "|x|">;
def Onnx_NegOp : Onnx_UnaryX<"Neg", "-x">;
def Onnx_ReciprocalOp : Onnx_UnaryX<"Reciprocal", "1 / x">;
def Onnx_SqrtOp : Onnx_UnaryX<"Sqrt", "Square root; NaN for x < 0">;
def Onnx_FloorOp : Onnx_UnaryX<"Floor", "The largest integer <= x">;
def Onnx_CeilOp : Onnx_UnaryX<"Ceil", "The smallest integer >= x">;
def Onnx_RoundOp : Onnx_UnaryX<"Round", "The nearest integer, halves to even">;
def Onnx_SignOp : Onnx_Unary<"Sign", "-1, 0 or 1">;
def Onnx_ExpOp : Onnx_Unary<"Exp", "e ^ x">;
def Onnx_LogOp : Onnx_Unary<"Log", "Natural logarithm">;
def Onnx_ErfOp : Onnx_Unary<"Erf", "Error function">;
def Onnx_SinOp : Onnx_Unary<"Sin", "Sine">;
def Onnx_CosOp : Onnx_Unary<"Cos", "Cosine">;
def Onnx_TanOp : Onnx_Unary<"Tan", "Tangent">;
def Onnx_AsinOp : Onnx_Unary<"Asin", "Arc sine">;
def Onnx_AcosOp : Onnx_Unary<"Acos", "Arc cosine">;
def Onnx_AtanOp : Onnx_Unary<"Atan", "Arc tangent">;
def Onnx_SinhOp : Onnx_Unary<"Sinh", "Hyperbolic sine">;
def Onnx_CoshOp : Onnx_Unary<"Cosh", "Hyperbolic cosine">;
def Onnx_TanhOp : Onnx_Unary<"Tanh", "Hyperbolic tangent">;
def Onnx_IsNaNOp : Onnx_UnaryX<"IsNaN", "Is x not a number?"> { let elements = ["i1"]; }
def Onnx_IsInfOp : Onnx_UnaryX<"IsInf", "Is x an infinity of an accepted sign?"> {
  let elements = ["i1"];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Flag_<"1">:$detect_negative, Onnx_Flag_<"1">:$detect_positive);
}

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

def Onnx_ReluOp : Onnx_UnaryX<"Relu", "max(x, 0)">;
def Onnx_SigmoidOp : Onnx_UnaryX<"Sigmoid", "1 / (1 + e^-x)">;
def Onnx_GeluOp : Onnx_UnaryX<"Gelu", "x * P(N(0,1) <= x), exact or by tanh"> {
  let description = [{
    `none`: x/2 * (1 + erf(x / sqrt 2)). `tanh`: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
  }];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Str_<"none">:$approximate);
  let hasVerifier = 1;
}
def Onnx_SwishOp : Onnx_UnaryX<"Swish", "x * sigmoid(alpha * x)"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.0f">:$alpha);
}
def Onnx_SoftplusOp : Onnx_UnaryX<"Softplus", "ln(1 + e^x)">;
def Onnx_SoftsignOp : Onnx_Unary<"Softsign", "x / (1 + |x|)">;
def Onnx_MishOp : Onnx_UnaryX<"Mish", "x * tanh(softplus(x))">;
def Onnx_HardSwishOp : Onnx_UnaryX<"HardSwish", "x * max(0, min(1, x/6 + 1/2))">;
def Onnx_HardSigmoidOp : Onnx_UnaryX<"HardSigmoid", "max(0, min(1, alpha * x + beta))"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"0.2f">:$alpha, Onnx_Float_<"0.5f">:$beta);
}
def Onnx_EluOp : Onnx_UnaryX<"Elu", "x if x >= 0, else alpha * (e^x - 1)"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.0f">:$alpha);
}
def Onnx_SeluOp : Onnx_UnaryX<"Selu", "gamma * (x if x > 0, else alpha * (e^x - 1))"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.67326319217681884765625f">:$alpha,
                       Onnx_Float_<"1.05070102214813232421875f">:$gamma);
}
def Onnx_CeluOp : Onnx_UnaryX<"Celu", "max(0, x) + min(0, alpha * (e^(x / alpha) - 1))"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.0f">:$alpha);
}
def Onnx_LeakyReluOp : Onnx_UnaryX<"LeakyRelu", "x if x >= 0, else alpha * x"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"0.01f">:$alpha);
}
def Onnx_ThresholdedReluOp : Onnx_UnaryX<"ThresholdedRelu", "x if x > alpha, else 0"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.0f">:$alpha);
}
def Onnx_ClipOp : Onnx_Op<"Clip", "max(min, min(x, max)); an absent bound does not bound", [AttrSizedOperandSegments]> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Opt:$min, Onnx_Opt:$max);
}

//===----------------------------------------------------------------------===//
// Comparisons, logic, bits
//===----------------------------------------------------------------------===//

def Onnx_EqualOp : Onnx_Binary<"Equal", "a == b"> { let elements = ["i1"]; }
def Onnx_LessOp : Onnx_Binary<"Less", "a < b"> { let elements = ["i1"]; }
def Onnx_LessOrEqualOp : Onnx_Binary<"LessOrEqual", "a <= b"> { let elements = ["i1"]; }
def Onnx_GreaterOp : Onnx_Binary<"Greater", "a > b"> { let elements = ["i1"]; }
def Onnx_GreaterOrEqualOp : Onnx_Binary<"GreaterOrEqual", "a >= b"> { let elements = ["i1"]; }
def Onnx_AndOp : Onnx_Binary<"And", "Both">;
def Onnx_OrOp : Onnx_Binary<"Or", "Either or both">;
def Onnx_XorOp : Onnx_Binary<"Xor", "Either, not both">;
def Onnx_NotOp : Onnx_UnaryX<"Not", "Not x">;
def Onnx_BitwiseAndOp : Onnx_Binary<"BitwiseAnd", "Bits set in both">;
def Onnx_BitwiseOrOp : Onnx_Binary<"BitwiseOr", "Bits set in either">;
def Onnx_BitwiseXorOp : Onnx_Binary<"BitwiseXor", "Bits set in one of them">;
def Onnx_BitwiseNotOp : Onnx_UnaryX<"BitwiseNot", "All bits flipped">;
def Onnx_BitShiftOp : Onnx_Op<"BitShift", "Shift unsigned integers by y bits, LEFT or RIGHT"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$Y, StrAttr:$direction);
  let results = (outs Onnx_Tensor:$Z);
  let hasVerifier = 1;
}
def Onnx_WhereOp : Onnx_Op<"Where", "X where the condition holds, Y elsewhere; all three broadcast"> {
  let elements = ["1"];
  let arguments = (ins Onnx_Tensor:$condition, Onnx_Tensor:$X, Onnx_Tensor:$Y);
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

def Onnx_IdentityOp : Onnx_Unary<"Identity", "The input">;
def Onnx_CastOp : Onnx_Op<"Cast", "Convert elements to the type `to`; float to integer truncates"> {
  let elements = ["@to"];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Flag_<"1">:$saturate, TypeAttr:$to, Onnx_Str_<"up">:$round_mode);
  let hasVerifier = 1;
}
def Onnx_CastLikeOp : Onnx_Op<"CastLike", "Convert elements to the type of target_type's"> {
  let elements = ["1"];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$target_type, Onnx_Flag_<"1">:$saturate,
                       Onnx_Str_<"up">:$round_mode);
}

#endif  // EMOE_ONNX_ELEMENTWISE_OPS_TD
