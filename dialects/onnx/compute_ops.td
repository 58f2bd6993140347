// Ops of the onnx dialect that combine elements: products, reductions, normalisation, attention, quantisation.
#ifndef EMOE_ONNX_COMPUTE_OPS_TD
#define EMOE_ONNX_COMPUTE_OPS_TD

include "dialects/onnx/dialect.td"

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

def Onnx_MatMulOp : Onnx_Op<"MatMul", "Matrix product of the last two axes, the others broadcast (numpy.matmul)"> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_GemmOp : Onnx_Op<"Gemm", "alpha * A' * B' + beta * C, 2-D; ' transposes if transA, transB"> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B, Onnx_Opt:$C, Onnx_Float_<"1.0f">:$alpha,
                       Onnx_Float_<"1.0f">:$beta, Onnx_Flag_<"0">:$transA, Onnx_Flag_<"0">:$transB);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_EinsumOp : Onnx_Op<"Einsum", "Sum of products in Einstein's notation, e.g. `bm,be->ebm`"> {
  let arguments = (ins Onnx_Many:$Inputs, StrAttr:$equation);
  let results = (outs Onnx_Tensor:$Output);
  let hasVerifier = 1;
}
def Onnx_ConvOp : Onnx_Op<"Conv", "Convolution of [N, C, ...] with W [M, C/group, ...]"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$W, Onnx_Opt:$B, Onnx_Str_<"NOTSET">:$auto_pad,
                       Onnx_OptInts:$dilations, Onnx_Int_<"1">:$group, Onnx_OptInts:$kernel_shape, Onnx_OptInts:$pads,
                       Onnx_OptInts:$strides);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_MatMulIntegerOp : Onnx_Op<"MatMulInteger", "Integer product of (A - a_zero_point) and (B - b_zero_point), i32", [AttrSizedOperandSegments]> {
  let elements = ["i32"];
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B, Onnx_Opt:$a_zero_point, Onnx_Opt:$b_zero_point);
  let results = (outs Onnx_Tensor:$Y);
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

class Onnx_Reduce<string name, string summary_> : Onnx_Op<name, summary_ # ", over `axes`"> {
  let description = [{
    Without `axes` (i64 list), or if it is empty: all axes, or none if noop_with_empty_axes = 1. Reduced axes stay
    with extent 1 unless keepdims = 0.
  }];
  let arguments = (ins Onnx_Tensor:$data, Onnx_Opt:$axes, Onnx_Flag_<"1">:$keepdims,
                       Onnx_Flag_<"0">:$noop_with_empty_axes);
  let results = (outs Onnx_Tensor:$reduced);
}
def Onnx_ReduceSumOp : Onnx_Reduce<"ReduceSum", "Sum">;
def Onnx_ReduceMeanOp : Onnx_Reduce<"ReduceMean", "Mean">;
def Onnx_ReduceMaxOp : Onnx_Reduce<"ReduceMax", "Largest">;
def Onnx_ReduceMinOp : Onnx_Reduce<"ReduceMin", "Smallest">;
def Onnx_ReduceProdOp : Onnx_Reduce<"ReduceProd", "Product">;
def Onnx_ReduceSumSquareOp : Onnx_Reduce<"ReduceSumSquare", "Sum of squares">;
def Onnx_ReduceL1Op : Onnx_Reduce<"ReduceL1", "Sum of absolute values">;
def Onnx_ReduceL2Op : Onnx_Reduce<"ReduceL2", "Square root of the sum of squares">;
def Onnx_ReduceLogSumOp : Onnx_Reduce<"ReduceLogSum", "Logarithm of the sum">;
def Onnx_ReduceLogSumExpOp : Onnx_Reduce<"ReduceLogSumExp", "Logarithm of the sum of exponentials">;

class Onnx_Arg<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Int_<"0">:$axis, Onnx_Flag_<"1">:$keepdims,
                       Onnx_Flag_<"0">:$select_last_index);
  let results = (outs Onnx_Tensor:$reduced);
}
def Onnx_ArgMaxOp : Onnx_Arg<"ArgMax", "Index (i64) of the largest along `axis`; of equals the first, or the last"> { let elements = ["i64"]; }
def Onnx_ArgMinOp : Onnx_Arg<"ArgMin", "Index (i64) of the smallest along `axis`; of equals the first, or the last"> { let elements = ["i64"]; }
def Onnx_CumSumOp : Onnx_Op<"CumSum", "Running sum along `axis` (an integer scalar)"> {
  let arguments = (ins Onnx_Tensor:$x, Onnx_Tensor:$axis, Onnx_Flag_<"0">:$exclusive, Onnx_Flag_<"0">:$reverse);
  let results = (outs Onnx_Tensor:$y);
}

//===----------------------------------------------------------------------===//
// Normalisation
//===----------------------------------------------------------------------===//

class Onnx_SoftmaxLike<string name, string summary_> : Onnx_Op<name, summary_> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Int_<"-1">:$axis);
}
def Onnx_SoftmaxOp : Onnx_SoftmaxLike<"Softmax", "e^x / sum of e^x along `axis`">;
def Onnx_LogSoftmaxOp : Onnx_SoftmaxLike<"LogSoftmax", "Logarithm of the softmax along `axis`">;
def Onnx_HardmaxOp : Onnx_SoftmaxLike<"Hardmax", "1 at the first largest element along `axis`, 0 elsewhere">;
def Onnx_LayerNormalizationOp : Onnx_Op<"LayerNormalization", "(x - mean) / sqrt(var + epsilon) * Scale + B, over the axes from `axis` on"> {
  let elements = ["0", "f32", "f32"];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$Scale, Onnx_Opt:$B, Onnx_Int_<"-1">:$axis,
                       Onnx_Float_<"1e-5f">:$epsilon, Onnx_Int_<"1">:$stash_type);
  let results = (outs Onnx_Tensor:$Y, Onnx_Tensor:$Mean, Onnx_Tensor:$InvStdDev);
}
def Onnx_RMSNormalizationOp : Onnx_Op<"RMSNormalization", "x / sqrt(mean(x^2) + epsilon) * scale, over the axes from `axis` on"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$scale, Onnx_Int_<"-1">:$axis, Onnx_Float_<"1e-5f">:$epsilon,
                       Onnx_Int_<"1">:$stash_type);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_SimplifiedLayerNormalizationOp : Onnx_Op<"SimplifiedLayerNormalization", "RMSNormalization as ONNX Runtime writes it (domain ai.onnx, not in the standard)"> {
  let elements = ["0", "f32"];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$scale, Onnx_Int_<"-1">:$axis, Onnx_Float_<"1e-5f">:$epsilon,
                       Onnx_Int_<"1">:$stash_type);
  let results = (outs Onnx_Tensor:$Y, Onnx_Tensor:$inv_std_var);
}
def Onnx_LpNormalizationOp : Onnx_Op<"LpNormalization", "x / p-norm of x along `axis`"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Int_<"-1">:$axis, Onnx_Int_<"2">:$p);
}

//===----------------------------------------------------------------------===//
// Attention (opset 23)
//===----------------------------------------------------------------------===//

def Onnx_AttentionOp : Onnx_Op<"Attention", "Scaled dot-product attention with an optional cache", [AttrSizedOperandSegments]> {
  let elements = ["0", "1", "2", "0"];
  let description = [{
    Q, K, V are [B, heads, T, d] or, with q_num_heads and kv_num_heads, [B, T, heads * d]. Scores are q.k * scale
    (1/sqrt d), then softcap * tanh(s / softcap) if softcap > 0, plus attn_mask (or masked where it is false), causal
    if is_causal = 1. past_key and past_value [B, kv_heads, P, d] precede K and V and give the present results.
  }];
  let arguments = (ins Onnx_Tensor:$Q, Onnx_Tensor:$K, Onnx_Tensor:$V, Onnx_Opt:$attn_mask, Onnx_Opt:$past_key,
                       Onnx_Opt:$past_value, Onnx_Opt:$nonpad_kv_seqlen, Onnx_Flag_<"0">:$is_causal,
                       Onnx_OptInt:$kv_num_heads, Onnx_OptInt:$q_num_heads, Onnx_Int_<"0">:$qk_matmul_output_mode,
                       Onnx_OptFloat:$scale, Onnx_Float_<"0.0f">:$softcap, Onnx_OptInt:$softmax_precision);
  let results = (outs Onnx_Tensor:$Y, Onnx_Tensor:$present_key, Onnx_Tensor:$present_value,
                      Onnx_Tensor:$qk_matmul_output);
}
def Onnx_RotaryEmbeddingOp : Onnx_Op<"RotaryEmbedding", "Rotate pairs of each head's elements by cached cosines and sines"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$cos_cache, Onnx_Tensor:$sin_cache, Onnx_Opt:$position_ids,
                       Onnx_Flag_<"0">:$interleaved, Onnx_Int_<"0">:$num_heads, Onnx_Int_<"0">:$rotary_embedding_dim);
  let results = (outs Onnx_Tensor:$Y);
}

//===----------------------------------------------------------------------===//
// Quantisation
//===----------------------------------------------------------------------===//

def Onnx_QuantizeLinearOp : Onnx_Op<"QuantizeLinear", "saturate(round(x / y_scale) + y_zero_point), halves to even"> {
  let elements = ["@output_dtype|2|ui8"];
  let arguments = (ins Onnx_Tensor:$x, Onnx_Tensor:$y_scale, Onnx_Opt:$y_zero_point, Onnx_Int_<"1">:$axis,
                       Onnx_Int_<"0">:$block_size, OptionalAttr<TypeAttr>:$output_dtype, OptionalAttr<TypeAttr>:$precision,
                       Onnx_Flag_<"1">:$saturate);
  let results = (outs Onnx_Tensor:$y);
}
def Onnx_DequantizeLinearOp : Onnx_Op<"DequantizeLinear", "(x - x_zero_point) * x_scale, per tensor, axis or block"> {
  let elements = ["@output_dtype|1"];
  let arguments = (ins Onnx_Tensor:$x, Onnx_Tensor:$x_scale, Onnx_Opt:$x_zero_point, Onnx_Int_<"1">:$axis,
                       Onnx_Int_<"0">:$block_size, OptionalAttr<TypeAttr>:$output_dtype);
  let results = (outs Onnx_Tensor:$y);
}
def Onnx_DynamicQuantizeLinearOp : Onnx_Op<"DynamicQuantizeLinear", "Quantise to ui8 by the input's own range"> {
  let elements = ["ui8", "f32", "ui8"];
  let arguments = (ins Onnx_Tensor:$x);
  let results = (outs Onnx_Tensor:$y, Onnx_Tensor:$y_scale, Onnx_Tensor:$y_zero_point);
}

#endif  // EMOE_ONNX_COMPUTE_OPS_TD
