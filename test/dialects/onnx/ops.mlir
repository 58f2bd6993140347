// RUN: emoe-opt %s --verify-roundtrip | FileCheck %s

// Ops print as they are written; defaults are left out.

// CHECK: onnx.tensor @w : tensor<16x8x4xf16> <"model.onnx.data", 4096, f16, [32, 4, 1]>
onnx.tensor @w : tensor<16x8x4xf16> <"model.onnx.data", 4096, f16, [32, 4, 1]>
// CHECK: onnx.tensor @scales : tensor<4x!onnx.f8E8M0> <"<model>", 0, !onnx.f8E8M0, [1]>
onnx.tensor @scales : tensor<4x!onnx.f8E8M0> <"<model>", 0, !onnx.f8E8M0, [1]>

// CHECK-LABEL: func @tensors
func.func @tensors() -> tensor<16x8x4xf16> {
  // CHECK: onnx.initializer @w : tensor<16x8x4xf16>
  %w = onnx.initializer @w : tensor<16x8x4xf16>
  // CHECK: onnx.constant dense<[1, 2]> : tensor<2xi64>
  %c = onnx.constant dense<[1, 2]> : tensor<2xi64>
  return %w : tensor<16x8x4xf16>
}

// CHECK-LABEL: func @defaults
func.func @defaults(%x: tensor<2x?xf32>, %axes: tensor<1xi64>) -> tensor<*xf32> {
  // CHECK: onnx.Softmax %{{.*}} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  %0 = onnx.Softmax %x {axis = -1} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  // CHECK: onnx.ReduceSum %{{.*}}, %{{.*}} {keepdims = 0 : i64} : (tensor<2x?xf32>, tensor<1xi64>) -> tensor<*xf32>
  %1 = onnx.ReduceSum %0, %axes {keepdims = 0} : (tensor<2x?xf32>, tensor<1xi64>) -> tensor<*xf32>
  return %1 : tensor<*xf32>
}

// An absent input in the middle shows in operandSegmentSizes.
// CHECK-LABEL: func @optional
func.func @optional(%x: tensor<4xf32>, %max: tensor<f32>) -> tensor<4xf32> {
  // CHECK: onnx.Clip %{{.*}}, %{{.*}} {operandSegmentSizes = array<i32: 1, 0, 1>}
  %0 = onnx.Clip %x, %max {operandSegmentSizes = array<i32: 1, 0, 1>} : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// CHECK-LABEL: func @several_results
func.func @several_results(%x: tensor<?x16xf32>, %k: tensor<1xi64>) -> tensor<?x8xf32> {
  // CHECK: %{{.*}}, %{{.*}} = onnx.TopK
  %v, %i = onnx.TopK %x, %k : (tensor<?x16xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  // CHECK: %{{.*}}:2 = onnx.Split %{{.*}} {axis = 1 : i64, num_outputs = 2 : i64}
  %a, %b = onnx.Split %x {axis = 1, num_outputs = 2} : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  // CHECK: onnx.Cast %{{.*}} {to = f16} : (tensor<?x8xf32>) -> tensor<?x8xf16>
  %c = onnx.Cast %a {to = f16} : (tensor<?x8xf32>) -> tensor<?x8xf16>
  return %b : tensor<?x8xf32>
}

// CHECK-LABEL: func @bridges
func.func @bridges(%x: tensor<1x4x?x32xf16>) -> tensor<1x?x128xf32> {
  // CHECK: onnx.to_rows %{{.*}} : tensor<1x4x?x32xf16> -> tensor<?x128xf32>
  %0 = onnx.to_rows %x : tensor<1x4x?x32xf16> -> tensor<?x128xf32>
  // CHECK: onnx.from_rows %{{.*}} : tensor<?x128xf32> -> tensor<1x?x128xf32>
  %1 = onnx.from_rows %0 : tensor<?x128xf32> -> tensor<1x?x128xf32>
  return %1 : tensor<1x?x128xf32>
}

// CHECK-LABEL: func @subgraphs
func.func @subgraphs(%c: tensor<i1>, %x: tensor<4xf32>, %m: tensor<i64>) -> tensor<*xf32> {
  // CHECK: onnx.If %{{.*}} {
  %0 = onnx.If %c {
    // CHECK: onnx.Yield %{{.*}} : tensor<4xf32>
    onnx.Yield %x : tensor<4xf32>
  } else {
    %n = onnx.Neg %x : (tensor<4xf32>) -> tensor<4xf32>
    onnx.Yield %n : tensor<4xf32>
  } : (tensor<i1>) -> tensor<4xf32>
  // CHECK: onnx.Loop %{{.*}}, %{{.*}}, %{{.*}} {
  %1 = onnx.Loop %m, %c, %0 {
  ^bb0(%i: tensor<i64>, %go: tensor<i1>, %carried: tensor<*xf32>):
    onnx.Yield %go, %carried : tensor<i1>, tensor<*xf32>
  } {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> tensor<*xf32>
  // CHECK: onnx.Scan %{{.*}}, %{{.*}} {
  %2:2 = onnx.Scan %1, %x {
  ^bb0(%state: tensor<*xf32>, %slice: tensor<f32>):
    %s = onnx.Add %state, %slice : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
    onnx.Yield %s, %s : tensor<*xf32>, tensor<*xf32>
  } {num_scan_inputs = 1 : i64} : (tensor<*xf32>, tensor<4xf32>) -> (tensor<*xf32>, tensor<*xf32>)
  return %2#0 : tensor<*xf32>
}

// CHECK-LABEL: func @contributed
func.func @contributed(%a: tensor<?x64xf32>, %b: tensor<32x2x16xui8>, %s: tensor<32x2xf32>) -> tensor<?x32xf32> {
  // CHECK: onnx.com.microsoft.MatMulNBits
  %0 = onnx.com.microsoft.MatMulNBits %a, %b, %s
      {K = 64, N = 32, block_size = 32, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0>}
      : (tensor<?x64xf32>, tensor<32x2x16xui8>, tensor<32x2xf32>) -> tensor<?x32xf32>
  return %0 : tensor<?x32xf32>
}
