// RUN: emoe-opt %s --raise --split-input-file --verify-diagnostics
// What cannot be raised is named, with what to do.

// expected-error @+1 {{raise needs a function @main with one block}}
module {}

// -----

// expected-error @+1 {{the input "state" of type 'tensor<1x64xf32>' is not one that a decoder has}}
func.func @main(%state: tensor<1x64xf32> {onnx.name = "state"}) -> tensor<1x64xf32> {
  return %state : tensor<1x64xf32>
}

// -----

// An op in the middle is to blame, not what needs its result.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %x = onnx.Gather %embed, %ids : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  // expected-error @+1 {{the op onnx.Tan is not part of a pattern that is recognised here}}
  %y = onnx.Tan %x : (tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}

// -----

// Stacked weights of fewer experts than the router scores.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 2048, f32, [4, 1]>
onnx.tensor @up : tensor<3x8x16xf32> #emoe.source<"m", 4096, f32, [128, 16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<?x8x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %up = onnx.initializer @up : tensor<3x8x16xf32>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %k = onnx.constant dense<1> : tensor<1xi64>
  %x = onnx.Gather %embed, %ids : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %rows = onnx.Reshape %x, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %rows, %router : (tensor<?x16xf32>, tensor<16x4xf32>) -> tensor<?x4xf32>
  %weights, %chosen = onnx.TopK %logits, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  // expected-error @+1 {{the router scores 4 experts, but the stacked weights hold 3: the export lost experts}}
  %w = onnx.GatherND %up, %chosen : (tensor<3x8x16xf32>, tensor<?x1xi64>) -> tensor<?x8x16xf32>
  return %w : tensor<?x8x16xf32>
}
