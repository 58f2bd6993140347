// RUN: emoe-opt %s --raise | FileCheck %s
// The smallest decoder of fused ops (pattern P0): norms, attention over a packed projection, a mixture.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @qkv : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @gamma : tensor<16xf32> #emoe.source<"m", 4096, f32, [1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 8192, f32, [2, 1]>
onnx.tensor @fc1 : tensor<2x16x16xf32> #emoe.source<"m", 12288, f32, [256, 16, 1]>
onnx.tensor @fc2 : tensor<2x16x8xf32> #emoe.source<"m", 16384, f32, [128, 8, 1]>
onnx.tensor @b2 : tensor<2x16xf32> #emoe.source<"m", 20480, f32, [16, 1]>

// Parts of the packed projection are projections; rows of the fused matrix alternate between gate and up.
// CHECK-DAG: emoe.weight @layer0.q_proj [16, 16] <"m", 2048, f32, [1, 32]>
// CHECK-DAG: emoe.weight @layer0.k_proj [8, 16] <"m", 2112, f32, [1, 32]>
// CHECK-DAG: emoe.weight @layer0.v_proj [8, 16] <"m", 2144, f32, [1, 32]>
// CHECK-DAG: emoe.weight @layer0.expert1.up [8, 16] <"m", 13376, f32, [32, 1]>
// CHECK-DAG: emoe.weight @layer0.expert1.down_bias [1, 16] <"m", 20544, f32, [1, 1]>
// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x32xf32>
// CHECK: %[[X:.*]] = emoe.embedding %[[IDS]] @embed
// CHECK: %[[N:.*]] = emoe.norm rms %[[X]]
// CHECK: %[[Q:.*]] = emoe.linear %[[N]] @layer0.q_proj
// CHECK: %[[K:.*]] = emoe.linear %[[N]] @layer0.k_proj
// CHECK: %[[V:.*]] = emoe.linear %[[N]] @layer0.v_proj
// CHECK: %[[A:.*]] = emoe.attention %[[Q]], %[[K]], %[[V]] {head_dim = 8 : i64, heads = 2 : i64, kv_heads = 1 : i64, layer = 0 : i64, scale = 0.353553385 : f32}
// CHECK: %[[S:.*]] = emoe.add %[[X]], %[[A]]
// CHECK: emoe.norm rms %[[S]]
// CHECK: emoe.route softmax %{{.*}} {renormalise, top_k = 1 : i64}
// CHECK: emoe.moe silu %{{.*}} {alpha = 1.702000e+00 : f32
// CHECK-SAME: limit = 7.000000e+00 : f32, offset = 1.000000e+00 : f32
// CHECK-NOT: onnx.
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}, %mask: tensor<1x?xi64> {onnx.name = "attention_mask"})
    -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %qkv = onnx.initializer @qkv : tensor<16x32xf32>
  %gamma = onnx.initializer @gamma : tensor<16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %fc1 = onnx.initializer @fc1 : tensor<2x16x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<2x16x8xf32>
  %b2 = onnx.initializer @b2 : tensor<2x16xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 2]> : tensor<2xi64>
  %shape = onnx.Shape %mask : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %last = onnx.Sub %total, %one : (tensor<i64>, tensor<i64>) -> tensor<i64>

  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %n = onnx.RMSNormalization %x, %gamma {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<16xf32>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %n, %qkv : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %p, %last, %total
      {num_heads = 2 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x32xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %n2, %m, %i, %s = onnx.com.microsoft.SkipSimplifiedLayerNormalization %x, %a, %gamma {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<16xf32>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<1x?x16xf32>)
  %l = onnx.MatMul %n2, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %scores = onnx.Reshape %l, %flat : (tensor<1x?x2xf32>, tensor<2xi64>) -> tensor<?x2xf32>
  %y = onnx.com.microsoft.MoE %n2, %scores, %fc1, %fc2, %b2
      {activation_type = "swiglu", swiglu_fusion = 1 : i64, swiglu_limit = 7.0 : f32, activation_alpha = 1.702 : f32,
       activation_beta = 1.0 : f32, normalize_routing_weights = 1 : i64, k = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<?x2xf32>, tensor<2x16x16xf32>, tensor<2x16x8xf32>, tensor<2x16xf32>)
      -> tensor<1x?x16xf32>
  %out = onnx.Add %s, %y : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %logits = onnx.MatMul %out, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %logits : tensor<1x?x32xf32>
}
