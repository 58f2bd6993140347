// RUN: emoe-opt %s --evaluate | FileCheck %s
// A gated delta net on numbers worked out by hand. A weight's elements are their own indices.

emoe.weight @zero [1, 1] #emoe.source<"w", 0, f32, [1, 1]>
emoe.weight @zeros [1, 2] #emoe.source<"w", 0, f32, [0, 0]>

// No decay (factor 0), rate 1/2. S = k v / 2 = [4, 0]; then k^T S = 4, S += k (2 - 4) / 2 = [3, 0], y = q S.
// CHECK: @first: 2x1xf32 [4, 6]
func.func @first() -> tensor<2x1xf32> {
  %q = onnx.constant dense<[[1.0, 5.0], [2.0, 1.0]]> : tensor<2x2xf32>
  %k = onnx.constant dense<[[1.0, 0.0], [1.0, 0.0]]> : tensor<2x2xf32>
  %v = onnx.constant dense<[[8.0], [2.0]]> : tensor<2x1xf32>
  %g = onnx.constant dense<0.0> : tensor<2x1xf32>
  %0 = emoe.delta_net %q, %k, %v, %g, %g @zero {heads = 1, key_heads = 1, scale = 1.0 : f32, state = 0}
      : (tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  return %0 : tensor<2x1xf32>
}

// The state goes on with [3, 0]. Keys and queries [3, 4] become [3/5, 4/5]: k^T S = 9/5, the correction (v - 9/5) / 2 = 1,
// S = [18/5, 4/5], y = 10 * (54 + 16) / 25.
// CHECK: @second: 1x1xf32 [28]
func.func @second() -> tensor<1x1xf32> attributes {position = 2 : i64} {
  %q = onnx.constant dense<[[3.0, 4.0]]> : tensor<1x2xf32>
  %v = onnx.constant dense<3.8> : tensor<1x1xf32>
  %g = onnx.constant dense<0.0> : tensor<1x1xf32>
  %0 = emoe.delta_net %q, %q, %v, %g, %g @zero {heads = 1, key_heads = 1, scale = 10.0 : f32, normalise, state = 0}
      : (tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x1xf32>, tensor<1x1xf32>, tensor<1x1xf32>) -> tensor<1x1xf32>
  return %0 : tensor<1x1xf32>
}

// Two heads with one key; -exp(0) * softplus(0) = -ln 2 halves the state: S = 1/2 * 8 + (v - 4) / 2, 4 and 16.
// CHECK: @heads: 1x1x2xf32 [6, 14]
// CHECK: @heads: 1x2x1x1xf32 [6, 14]
// CHECK: @heads: 1x1x2xf32 [-1.38629, -2.07944]
// CHECK: @heads: 1x1x2xf32 [0.5, 0.5]
func.func @heads() -> (tensor<1x1x2xf32>, tensor<1x2x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>) {
  %q = onnx.constant dense<1.0> : tensor<1x1x1xf32>
  %v = onnx.constant dense<[[[8.0, 16.0]]]> : tensor<1x1x2xf32>
  %past = onnx.constant dense<[[[[8.0]], [[24.0]]]]> : tensor<1x2x1x1xf32>
  %a = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %bias = onnx.constant dense<0.0> : tensor<2xf32>
  %factor = onnx.constant dense<[-2.0, -3.0]> : tensor<2xf32>
  %decay, %rate = onnx.com.microsoft.LinearAttentionGate %a, %bias, %factor, %a
      : (tensor<1x1x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<1x1x2xf32>) -> (tensor<1x1x2xf32>, tensor<1x1x2xf32>)
  %half = onnx.constant dense<-0.69314718055994530> : tensor<1x1x2xf32>
  %y, %left = onnx.com.microsoft.LinearAttention %q, %q, %v, %past, %half, %rate
      {q_num_heads = 1 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x1x1xf32>, tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<1x2x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>)
      -> (tensor<1x1x2xf32>, tensor<1x2x1x1xf32>)
  return %y, %left, %decay, %rate : tensor<1x1x2xf32>, tensor<1x2x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>
}

// -exp(0) * softplus(0), as the emoe op says it, on the states of two heads that hold 4 and 8 after the first token.
// CHECK: @log: 2x2xf32 [4, 8, 1, 2]
func.func @log() -> tensor<2x2xf32> {
  %q = onnx.constant dense<[[1.0], [1.0]]> : tensor<2x1xf32>
  %v = onnx.constant dense<[[8.0, 16.0], [0.0, 0.0]]> : tensor<2x2xf32>
  %g = onnx.constant dense<0.0> : tensor<2x2xf32>
  %0 = emoe.delta_net %q, %q, %v, %g, %g @zeros {heads = 2, key_heads = 1, scale = 1.0 : f32, log_decay, state = 1}
      : (tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// Parts of one, so each element becomes its sign, times the weight, times silu of the gate: 0 and -0.277628.
// CHECK: @norm: 1x1x2xf32 [0, 0.555257]
func.func @norm() -> tensor<1x1x2xf32> {
  %x = onnx.constant dense<[[[7.0, -3.0]]]> : tensor<1x1x2xf32>
  %w = onnx.constant dense<[2.0]> : tensor<1xf32>
  %gate = onnx.constant dense<[[[0.0, -1.3678794]]]> : tensor<1x1x2xf32>
  %0 = onnx.com.microsoft.GatedRMSNorm %x, %w, %gate {epsilon = 0.0 : f32}
      : (tensor<1x1x2xf32>, tensor<1xf32>, tensor<1x1x2xf32>) -> tensor<1x1x2xf32>
  return %0 : tensor<1x1x2xf32>
}
