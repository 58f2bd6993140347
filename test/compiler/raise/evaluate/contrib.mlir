// RUN: emoe-opt %s --evaluate | FileCheck %s
// ONNX Runtime's ops by their specifications, on numbers worked out by hand.

// The sum is [3, 4], its root mean square 12.5^1/2.
// CHECK: @skip: 1x1x2xf32 [0.848528, 2.26274]
// CHECK: @skip: 1x1x2xf32 [3, 4]
func.func @skip() -> (tensor<1x1x2xf32>, tensor<1x1x2xf32>) {
  %x = onnx.constant dense<[[[3.0, 0.0]]]> : tensor<1x1x2xf32>
  %s = onnx.constant dense<[[[0.0, 4.0]]]> : tensor<1x1x2xf32>
  %g = onnx.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %0, %1, %2, %3 = onnx.com.microsoft.SkipSimplifiedLayerNormalization %x, %s, %g {epsilon = 0.0 : f32}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<2xf32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<1x1x2xf32>)
  return %0, %3 : tensor<1x1x2xf32>, tensor<1x1x2xf32>
}

// CHECK: @gated_add: 1x2xf32 [3, 6]
func.func @gated_add() -> tensor<1x2xf32> {
  %r = onnx.constant dense<[[1.0, 2.0]]> : tensor<1x2xf32>
  %s = onnx.constant dense<[[4.0, 8.0]]> : tensor<1x2xf32>
  %g = onnx.constant dense<[[0.5]]> : tensor<1x1xf32>
  %0 = onnx.com.microsoft.GatedAdd %r, %s, %g : (tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x1xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// x * sigmoid(2 x)
// CHECK: @quick_gelu: 2xf32 [0.880797, -0.119203]
func.func @quick_gelu() -> tensor<2xf32> {
  %x = onnx.constant dense<[1.0, -1.0]> : tensor<2xf32>
  %0 = onnx.com.microsoft.QuickGelu %x {alpha = 2.0 : f32} : (tensor<2xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// One token after one: scores ln 2 and 0, so the past value weighs 2/3 and the new one 1/3; with a sink of ln 3 the
// denominator is 6. A window of 1 sees the token itself alone.
// CHECK: @attention: 1x1x2xf32 [20, 0]
// CHECK: @attention: 1x1x2x2xf32 [0.693147, 0, 0, 0]
// CHECK: @attention: 1x1x2xf32 [10, 0]
// CHECK: @attention: 1x1x2xf32 [40, 0]
func.func @attention() -> (tensor<1x1x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>) {
  %q = onnx.constant dense<[[[1.0, 0.0]]]> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %v = onnx.constant dense<[[[40.0, 0.0]]]> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<[[[[0.69314718, 0.0]]]]> : tensor<1x1x1x2xf32>
  %pv = onnx.constant dense<[[[[10.0, 0.0]]]]> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[1]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  %sink = onnx.constant dense<[1.0986122887]> : tensor<1xf32>
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64, scale = 1.0 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>,
         tensor<1xi32>, tensor<i32>) -> (tensor<1x1x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>, tensor<*xf32>)
  %4, %5, %6, %7 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total, %sink
      {num_heads = 1 : i64, kv_num_heads = 1 : i64, scale = 1.0 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>,
         tensor<1xi32>, tensor<i32>, tensor<1xf32>)
      -> (tensor<1x1x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>, tensor<*xf32>)
  %8, %9, %10, %11 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64, scale = 1.0 : f32, local_window_size = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>,
         tensor<1xi32>, tensor<i32>) -> (tensor<1x1x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>, tensor<*xf32>)
  return %0, %1, %4, %8 : tensor<1x1x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>
}

// Scores 0.75 and 0.25; expert 0 is chosen. Its gate 2 is limited to 1.5, its linear part is 1:
// 0.75 * (4 * (1.5 sigmoid(1.5) * (1 + 1)) + 1); normalised without the 0.75.
// CHECK: @mixture: 1x1xf32 [8.10817]
// CHECK: @mixture: 1x1xf32 [10.8109]
func.func @mixture() -> (tensor<1x1xf32>, tensor<1x1xf32>) {
  %x = onnx.constant dense<[[1.0]]> : tensor<1x1xf32>
  %scores = onnx.constant dense<[[1.0986122887, 0.0]]> : tensor<1x2xf32>
  %w1 = onnx.constant dense<[[[2.0], [1.0]], [[7.0], [7.0]]]> : tensor<2x2x1xf32>
  %w2 = onnx.constant dense<[[[4.0]], [[7.0]]]> : tensor<2x1x1xf32>
  %b2 = onnx.constant dense<[[1.0], [7.0]]> : tensor<2x1xf32>
  %0 = onnx.com.microsoft.MoE %x, %scores, %w1, %w2, %b2
      {activation_type = "swiglu", swiglu_fusion = 1 : i64, swiglu_limit = 1.5 : f32, activation_beta = 1.0 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0, 0>}
      : (tensor<1x1xf32>, tensor<1x2xf32>, tensor<2x2x1xf32>, tensor<2x1x1xf32>, tensor<2x1xf32>) -> tensor<1x1xf32>
  %1 = onnx.com.microsoft.MoE %x, %scores, %w1, %w2, %b2
      {activation_type = "swiglu", swiglu_fusion = 1 : i64, swiglu_limit = 1.5 : f32, activation_beta = 1.0 : f32,
       normalize_routing_weights = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0, 0>}
      : (tensor<1x1xf32>, tensor<1x2xf32>, tensor<2x2x1xf32>, tensor<2x1x1xf32>, tensor<2x1xf32>) -> tensor<1x1xf32>
  return %0, %1 : tensor<1x1xf32>, tensor<1x1xf32>
}
