// Ops of ONNX Runtime's domain com.microsoft. Formulas: docs/ContribOperators.md of ONNX Runtime.
#ifndef EMOE_ONNX_CONTRIB_OPS_TD
#define EMOE_ONNX_CONTRIB_OPS_TD

include "dialects/onnx/dialect.td"

class Onnx_Ms<string name, string summary_, list<Trait> traits = []>
    : Onnx_Op<"com.microsoft." # name, summary_, traits>;

//===----------------------------------------------------------------------===//
// Mixtures
//===----------------------------------------------------------------------===//

defvar Onnx_MoeText = [{
    T tokens, H width, E experts, I expert width; f = 2 for a fused swiglu, else 1. router_probs [T, E] are logits;
    weights [E, rows, columns] are used as y = x * W^T. swiglu_fusion: 0 gate in fc1 and linear in fc3, 1 rows
    interleaved (gate even), 2 gates before linears. swiglu(g, l) = min(g, limit) * sigmoid(alpha * min(g, limit)) *
    (clamp(l, -limit, limit) + beta). A bias of fc2 is inside the weighted sum.
  }];

def Onnx_MsMoEOp : Onnx_Ms<"MoE", "Route tokens to the k best experts and mix their results", [AttrSizedOperandSegments]> {
  let description = Onnx_MoeText;
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$router_probs, Onnx_Tensor:$fc1_experts_weights,
                       Onnx_Opt:$fc1_experts_bias, Onnx_Tensor:$fc2_experts_weights, Onnx_Opt:$fc2_experts_bias,
                       Onnx_Opt:$fc3_experts_weights, Onnx_Opt:$fc3_experts_bias,
                       Onnx_Float_<"1.0f">:$activation_alpha, Onnx_Float_<"0.0f">:$activation_beta,
                       Onnx_Str_<"relu">:$activation_type, Onnx_Int_<"1">:$k,
                       Onnx_Flag_<"0">:$normalize_routing_weights, Onnx_Int_<"0">:$swiglu_fusion,
                       Onnx_OptFloat:$swiglu_limit, Onnx_Flag_<"0">:$use_sparse_mixer);
}
def Onnx_MsQMoEOp : Onnx_Ms<"QMoE", "MoE with weights of 2, 4 or 8 bits", [AttrSizedOperandSegments]> {
  let description = Onnx_MoeText # [{
    Weights are unsigned, packed low bits first along the columns: value = (q - zero_point) * scale, zero_point
    2^(bits-1) if absent; a scale per row, or per block_size columns. router_weights, if present, are gathered at the
    chosen experts as mixing weights.
  }];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$router_probs, Onnx_Tensor:$fc1_experts_weights,
                       Onnx_Opt:$fc1_scales, Onnx_Opt:$fc1_experts_bias, Onnx_Tensor:$fc2_experts_weights,
                       Onnx_Opt:$fc2_scales, Onnx_Opt:$fc2_experts_bias, Onnx_Opt:$fc3_experts_weights,
                       Onnx_Opt:$fc3_scales, Onnx_Opt:$fc3_experts_bias, Onnx_Opt:$fc1_zero_points,
                       Onnx_Opt:$fc2_zero_points, Onnx_Opt:$fc3_zero_points, Onnx_Opt:$router_weights,
                       Onnx_Opt:$fc1_global_scale, Onnx_Opt:$fc2_global_scale, Onnx_Opt:$fc1_act_scale,
                       Onnx_Opt:$fc2_act_scale, Onnx_Opt:$fc1_act_block_scale, Onnx_Opt:$fc2_act_block_scale,
                       Onnx_Float_<"1.0f">:$activation_alpha, Onnx_Float_<"0.0f">:$activation_beta,
                       Onnx_Str_<"relu">:$activation_type, Onnx_OptInt:$block_size, Onnx_Int_<"4">:$expert_weight_bits,
                       Onnx_Int_<"1">:$k, Onnx_Flag_<"0">:$normalize_routing_weights, Onnx_Str_<"int">:$quant_type,
                       Onnx_Int_<"0">:$swiglu_fusion, Onnx_OptFloat:$swiglu_limit, Onnx_Flag_<"0">:$use_sparse_mixer,
                       Onnx_Int_<"-1">:$weights_prepacked);
}
def Onnx_MsGatedAddOp : Onnx_Ms<"GatedAdd", "Add a shared expert's result times its gate to the routed result"> {
  let arguments = (ins Onnx_Tensor:$routed, Onnx_Tensor:$shared, Onnx_Tensor:$gate);
}

//===----------------------------------------------------------------------===//
// Quantised products
//===----------------------------------------------------------------------===//

def Onnx_MsMatMulNBitsOp : Onnx_Ms<"MatMulNBits", "A times the transpose of a packed [N, K] matrix", [AttrSizedOperandSegments]> {
  let description = [{
    B ui8 [N, ceil(K / block_size), block_size * bits / 8], low bits first; scales [N, blocks]; zero points packed
    along blocks, or floats; 2^(bits-1) if absent.
  }];
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B, Onnx_Tensor:$scales, Onnx_Opt:$zero_points, Onnx_Opt:$g_idx,
                       Onnx_Opt:$bias, Onnx_Int:$K, Onnx_Int:$N, Onnx_Int_<"0">:$accuracy_level, Onnx_Int_<"4">:$bits,
                       Onnx_Int:$block_size, Onnx_Int_<"0">:$weight_prepacked);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_MsGatherBlockQuantizedOp : Onnx_Ms<"GatherBlockQuantized", "Gather slices of a block-quantised tensor and dequantise them"> {
  let elements = ["2"];
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Tensor:$scales, Onnx_Opt:$zero_points,
                       Onnx_Int_<"4">:$bits, Onnx_Int_<"128">:$block_size, Onnx_Int_<"0">:$gather_axis,
                       Onnx_Int_<"1">:$quantize_axis);
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

def Onnx_MsGroupQueryAttentionOp : Onnx_Ms<"GroupQueryAttention", "Causal attention with grouped heads and a key-value cache", [AttrSizedOperandSegments]> {
  let description = [{
    query [B, T, heads * d], or packed query, key and value with key and value absent; caches [B, kv_heads, P, d];
    seqlens_k i32 [B] is the total length - 1. scale 0 means 1/sqrt(d). head_sink adds exp(sink) to the denominator.
  }];
  let elements = ["0", "3|0", "4|0", "0"];
  let arguments = (ins Onnx_Tensor:$query, Onnx_Opt:$key, Onnx_Opt:$value, Onnx_Opt:$past_key, Onnx_Opt:$past_value,
                       Onnx_Tensor:$seqlens_k, Onnx_Tensor:$total_sequence_length, Onnx_Opt:$cos_cache,
                       Onnx_Opt:$sin_cache, Onnx_Opt:$position_ids, Onnx_Opt:$attention_bias, Onnx_Opt:$head_sink,
                       Onnx_Opt:$k_scale, Onnx_Opt:$v_scale, Onnx_Opt:$q_norm_weight, Onnx_Opt:$k_norm_weight,
                       Onnx_Flag_<"1">:$causal, Onnx_Flag_<"0">:$do_rotary, Onnx_OptStr:$k_quant_type,
                       Onnx_OptInt:$kv_cache_bit_width, Onnx_Int:$kv_num_heads, Onnx_Int_<"-1">:$local_window_size,
                       Onnx_Int:$num_heads, Onnx_Int_<"0">:$qk_output, Onnx_OptFloat:$qk_norm_epsilon,
                       Onnx_Flag_<"0">:$rotary_interleaved, Onnx_Float_<"0.0f">:$scale,
                       Onnx_Flag_<"0">:$sliding_window_cache, Onnx_Int_<"0">:$smooth_softmax,
                       Onnx_Float_<"0.0f">:$softcap, Onnx_OptStr:$v_quant_type);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$present_key, Onnx_Tensor:$present_value,
                      Onnx_Tensor:$output_qk);
}
def Onnx_MsMultiHeadAttentionOp : Onnx_Ms<"MultiHeadAttention", "Attention over separate or packed query, key and value", [AttrSizedOperandSegments]> {
  let arguments = (ins Onnx_Tensor:$query, Onnx_Opt:$key, Onnx_Opt:$value, Onnx_Opt:$bias, Onnx_Opt:$key_padding_mask,
                       Onnx_Opt:$attention_bias, Onnx_Opt:$past_key, Onnx_Opt:$past_value,
                       Onnx_Opt:$past_sequence_length, Onnx_Opt:$cache_indirection,
                       Onnx_Float_<"-10000.0f">:$mask_filter_value, Onnx_Int:$num_heads, Onnx_OptFloat:$scale,
                       Onnx_Flag_<"0">:$unidirectional);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$present_key, Onnx_Tensor:$present_value, Onnx_Tensor:$qk);
}
def Onnx_MsAttentionOp : Onnx_Ms<"Attention", "Attention with its input projections", [AttrSizedOperandSegments]> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$weights, Onnx_Opt:$bias, Onnx_Opt:$mask_index, Onnx_Opt:$past,
                       Onnx_Opt:$attention_bias, Onnx_Opt:$past_sequence_length, Onnx_Flag_<"0">:$do_rotary,
                       Onnx_Float_<"-10000.0f">:$mask_filter_value, Onnx_Int:$num_heads,
                       Onnx_OptInt:$past_present_share_buffer, Onnx_OptInts:$qkv_hidden_sizes,
                       Onnx_OptInt:$rotary_embedding_dim, Onnx_OptFloat:$scale, Onnx_Flag_<"0">:$unidirectional);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$present);
}
def Onnx_MsRotaryEmbeddingOp : Onnx_Ms<"RotaryEmbedding", "Rotary embedding; the positions come before the caches"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$position_ids, Onnx_Tensor:$cos_cache, Onnx_Tensor:$sin_cache,
                       Onnx_Flag_<"0">:$interleaved, Onnx_Flag_<"0">:$is_packed_batching, Onnx_Int_<"0">:$num_heads,
                       Onnx_Int_<"0">:$rotary_embedding_dim, Onnx_Float_<"1.0f">:$scale);
}
def Onnx_MsMRotaryEmbeddingOp : Onnx_Ms<"MRotaryEmbedding", "Rotary embedding with sections for time, height and width"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$position_ids, Onnx_Tensor:$cos_cache, Onnx_Tensor:$sin_cache,
                       Onnx_Flag_<"0">:$interleaved, Onnx_Flag_<"0">:$is_packed_batching, Onnx_Int_<"0">:$mrope_layout,
                       Onnx_OptInts:$mrope_section, Onnx_Int_<"0">:$num_heads, Onnx_Int_<"0">:$rotary_embedding_dim);
}
def Onnx_MsLinearAttentionOp : Onnx_Ms<"LinearAttention", "Attention by a recurrent state", [AttrSizedOperandSegments]> {
  let elements = ["0", "3|0"];
  let arguments = (ins Onnx_Tensor:$query, Onnx_Opt:$key, Onnx_Opt:$value, Onnx_Opt:$past_state, Onnx_Opt:$decay,
                       Onnx_Opt:$beta, Onnx_Int_<"64">:$chunk_size, Onnx_Int:$kv_num_heads, Onnx_Int:$q_num_heads,
                       Onnx_Float_<"0.0f">:$scale, Onnx_Int_<"0">:$state_window, Onnx_Str_<"gated_delta">:$update_rule);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$present_state);
}
def Onnx_MsLinearAttentionGateOp : Onnx_Ms<"LinearAttentionGate", "Decay and rate of linear attention from projections"> {
  let arguments = (ins Onnx_Many:$inputs);
  let results = (outs Onnx_Tensor:$decay, Onnx_Tensor:$beta);
}
def Onnx_MsCausalConvWithStateOp : Onnx_Ms<"CausalConvWithState", "Causal depthwise convolution that carries its last inputs", [AttrSizedOperandSegments]> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$weight, Onnx_Opt:$bias, Onnx_Opt:$past_state,
                       Onnx_Str_<"none">:$activation, Onnx_Int_<"1">:$ndim, Onnx_Int_<"0">:$state_window);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$present_state);
}

//===----------------------------------------------------------------------===//
// Normalisation and activations
//===----------------------------------------------------------------------===//

def Onnx_MsSimplifiedLayerNormalizationOp : Onnx_Ms<"SimplifiedLayerNormalization", "RMSNormalization"> {
  let elements = ["0", "f32"];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$scale, Onnx_Int_<"-1">:$axis, Onnx_Float_<"1e-5f">:$epsilon,
                       Onnx_Int_<"1">:$stash_type);
  let results = (outs Onnx_Tensor:$Y, Onnx_Tensor:$inv_std_var);
}
def Onnx_MsSkipSimplifiedLayerNormalizationOp : Onnx_Ms<"SkipSimplifiedLayerNormalization", "RMS normalisation of input + skip (+ bias), and that sum"> {
  let elements = ["0", "f32", "f32", "0"];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$skip, Onnx_Tensor:$gamma, Onnx_Opt:$bias, Onnx_Float_<"1e-5f">:$epsilon);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$mean, Onnx_Tensor:$inv_std_var,
                      Onnx_Tensor:$input_skip_bias_sum);
}
def Onnx_MsSkipLayerNormalizationOp : Onnx_Ms<"SkipLayerNormalization", "Layer normalisation of input + skip (+ bias), and that sum", [AttrSizedOperandSegments]> {
  let elements = ["0", "f32", "f32", "0"];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$skip, Onnx_Tensor:$gamma, Onnx_Opt:$beta, Onnx_Opt:$bias, Onnx_Float_<"1e-5f">:$epsilon);
  let results = (outs Onnx_Tensor:$output, Onnx_Tensor:$mean, Onnx_Tensor:$inv_std_var,
                      Onnx_Tensor:$input_skip_bias_sum);
}
def Onnx_MsGatedRMSNormOp : Onnx_Ms<"GatedRMSNorm", "RMS normalisation times an activated gate"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$weight, Onnx_Tensor:$gate, Onnx_Float_<"1e-6f">:$epsilon);
}
def Onnx_MsGeluOp : Onnx_Ms<"Gelu", "Exact gelu (by erf)"> {
  let arguments = (ins Onnx_Tensor:$X);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_MsFastGeluOp : Onnx_Ms<"FastGelu", "Gelu by tanh of X (+ bias)"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Opt:$bias);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_MsBiasGeluOp : Onnx_Ms<"BiasGelu", "Exact gelu of A + B"> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B);
  let results = (outs Onnx_Tensor:$C);
}
def Onnx_MsQuickGeluOp : Onnx_Ms<"QuickGelu", "x * sigmoid(alpha * x)"> {
  let arguments = (ins Onnx_Tensor:$X, Onnx_Float_<"1.702f">:$alpha);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_MsFusedMatMulOp : Onnx_Ms<"FusedMatMul", "alpha * A' * B'; ' transposes the last two axes (or batch axes)"> {
  let arguments = (ins Onnx_Tensor:$A, Onnx_Tensor:$B, Onnx_Float_<"1.0f">:$alpha, Onnx_Flag_<"0">:$transA,
                       Onnx_Flag_<"0">:$transB, Onnx_Int_<"0">:$transBatchA, Onnx_Int_<"0">:$transBatchB);
  let results = (outs Onnx_Tensor:$Y);
}

#endif  // EMOE_ONNX_CONTRIB_OPS_TD
