// RUN: emoe-opt %s --simplify | FileCheck %s
// Float types are storage; repeated and unused ops go.

// A cast between float types is its operand, whichever way it goes; the function's type follows.
// CHECK-LABEL: func.func @float_casts_go
// CHECK-SAME: (%[[X:.*]]: tensor<1x?x8xf16>) -> tensor<1x?x8xf32>
// CHECK-NEXT: %[[Y:.*]] = onnx.Sqrt %[[X]]
// CHECK-NEXT: return %[[Y]]
func.func @float_casts_go(%x: tensor<1x?x8xf16>) -> tensor<1x?x8xf16> {
  %wide = onnx.Cast %x {to = f32} : (tensor<1x?x8xf16>) -> tensor<1x?x8xf32>
  %root = onnx.Sqrt %wide : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %narrow = onnx.Cast %root {to = f16} : (tensor<1x?x8xf32>) -> tensor<1x?x8xf16>
  return %narrow : tensor<1x?x8xf16>
}

// A cast that changes values stays.
// CHECK-LABEL: func.func @integer_casts_stay
// CHECK: onnx.Cast
func.func @integer_casts_stay(%x: tensor<1x?xi64>) -> tensor<1x?xf32> {
  %y = onnx.Cast %x {to = f32} : (tensor<1x?xi64>) -> tensor<1x?xf32>
  return %y : tensor<1x?xf32>
}

// CHECK-LABEL: func.func @identities_go
// CHECK-NEXT: return %{{.*}}
func.func @identities_go(%x: tensor<2xf32>) -> tensor<2xf32> {
  %y = onnx.Identity %x : (tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

// Exporters repeat shape arithmetic in every layer.
// CHECK-LABEL: func.func @repeated_ops_are_one
// CHECK: %[[S:.*]] = onnx.Shape
// CHECK-NOT: onnx.Shape
// CHECK: onnx.Add %[[S]], %[[S]]
func.func @repeated_ops_are_one(%x: tensor<1x?x8xf32>) -> tensor<3xi64> {
  %a = onnx.Shape %x : (tensor<1x?x8xf32>) -> tensor<3xi64>
  %b = onnx.Shape %x : (tensor<1x?x8xf32>) -> tensor<3xi64>
  %c = onnx.Add %a, %b : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>
  return %c : tensor<3xi64>
}

// CHECK-LABEL: func.func @unused_ops_go
// CHECK-NEXT: return
func.func @unused_ops_go(%x: tensor<2xf32>) {
  %y = onnx.Sqrt %x : (tensor<2xf32>) -> tensor<2xf32>
  return
}
