// RUN: emoe-opt %s --raise --split-input-file --verify-diagnostics
// Fused ops whose options are not supported are named, with what to do.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %two = onnx.constant dense<2> : tensor<i64>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  // expected-error @+1 {{total_sequence_length is not the number of past and new tokens}}
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %two, %two
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %a : tensor<1x?x16xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 8192, f32, [4, 1]>
onnx.tensor @fc1 : tensor<2x8x16xf32> #emoe.source<"m", 12288, f32, [128, 16, 1]>
onnx.tensor @fc2 : tensor<2x16x8xf32> #emoe.source<"m", 16384, f32, [128, 8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %fc1 = onnx.initializer @fc1 : tensor<2x8x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<2x16x8xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %l = onnx.MatMul %x, %router : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  // expected-error @+1 {{the router scores 4 experts, but fc1 holds 2: the export lost experts}}
  %y = onnx.com.microsoft.MoE %x, %l, %fc1, %fc2 {operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x4xf32>, tensor<2x8x16xf32>, tensor<2x16x8xf32>) -> tensor<1x?x16xf32>
  return %y : tensor<1x?x16xf32>
}
