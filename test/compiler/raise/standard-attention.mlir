// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// ONNX 23's Attention on rows, with past and present, whose values are narrower than its keys: zeros fill them up.

// CHECK: func.func @main
// CHECK: %[[X:.*]] = emoe.embedding
// CHECK: %[[V:.*]] = emoe.linear %[[X]] @{{.*}}
// CHECK: %[[W:.*]] = emoe.slice_heads %[[V]] {heads = 2 : i64, start = 0 : i64} : (tensor<?x8xf32>) -> tensor<?x16xf32>
// CHECK: %[[A:.*]] = emoe.attention %[[X]], %[[X]], %[[W]] {head_dim = 8 : i64, heads = 2 : i64, kv_heads = 2 : i64
// CHECK-SAME: scale = 2.500000e-01 : f32
// CHECK: emoe.slice_heads %[[A]] {heads = 2 : i64, start = 0 : i64} : (tensor<?x16xf32>) -> tensor<?x8xf32>
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @wv : tensor<16x8xf32> #emoe.source<"m", 2048, f32, [8, 1]>
onnx.tensor @wo : tensor<8x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.0.key"},
                %pastV: tensor<1x2x?x4xf32> {onnx.name = "past_key_values.0.value"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %wv = onnx.initializer @wv : tensor<16x8xf32>
  %wo = onnx.initializer @wo : tensor<8x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %v = onnx.MatMul %x, %wv : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %y, %k, %vs, %qk = onnx.Attention %x, %x, %v, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x4xf32>)
      -> (tensor<1x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x4xf32>, tensor<*xf32>)
  %o = onnx.MatMul %y, %wo : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  return %o, %k, %vs : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x4xf32>
}
