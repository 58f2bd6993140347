// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// Experts without gates: two matrices, and a bias of the first.

// CHECK-DAG: emoe.weight @layer0.expert1.up [8, 16] <"m", 8704, f32, [16, 1]>
// CHECK-DAG: emoe.weight @layer0.expert1.up_bias [1, 8] <"m", 16416, f32, [1, 1]>
// CHECK: func.func @main
// CHECK: emoe.route softmax %{{.*}} {top_k = 1 : i64}
// CHECK: emoe.moe relu
// CHECK-NOT: gate
// CHECK-SAME: up_bias = [@layer0.expert0.up_bias, @layer0.expert1.up_bias]
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @fc1 : tensor<2x8x16xf32> #emoe.source<"m", 8192, f32, [128, 16, 1]>
onnx.tensor @fc2 : tensor<2x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @b1 : tensor<2x8xf32> #emoe.source<"m", 16384, f32, [8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %fc1 = onnx.initializer @fc1 : tensor<2x8x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<2x16x8xf32>
  %b1 = onnx.initializer @b1 : tensor<2x8xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %scores = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %moe = onnx.com.microsoft.MoE %h, %scores, %fc1, %b1, %fc2 {activation_type = "relu", k = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x2xf32>, tensor<2x8x16xf32>, tensor<2x8xf32>, tensor<2x16x8xf32>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
