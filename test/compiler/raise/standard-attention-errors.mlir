// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  // expected-error @+1 {{attention without a mask that is not causal is not supported}}
  %y, %k, %vs, %qk = onnx.Attention %x, %x, %x
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %y : tensor<1x?x16xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  // expected-error @+1 {{the heads of this attention do not divide its queries, keys or values}}
  %y, %k, %vs, %qk = onnx.Attention %x, %x, %x
      {q_num_heads = 3 : i64, kv_num_heads = 3 : i64, is_causal = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %y : tensor<1x?x16xf32>
}
