// RUN: emoe-opt %s --simplify --split-input-file | FileCheck %s
// Control flow over experts (P5): loops of a known length are written out, and work that an If only skips is done.

// CHECK-LABEL: func.func @loop
// CHECK-NOT: onnx.Loop
// CHECK: %[[A:.*]] = onnx.Add %arg0, %{{.*}}
// CHECK: %[[B:.*]] = onnx.Add %[[A]], %{{.*}}
// CHECK: %[[STACK:.*]] = onnx.Concat
// CHECK: return %[[B]], %[[STACK]]
func.func @loop(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>) -> (tensor<?x4xf32>, tensor<2x4xf32>) {
  %times = onnx.constant dense<2> : tensor<i64>
  %yes = onnx.constant dense<true> : tensor<i1>
  %y, %rows = onnx.Loop %times, %yes, %x {
  ^bb0(%i: tensor<i64>, %going: tensor<i1>, %sum: tensor<*xf32>):
    %row = onnx.Gather %w, %i {axis = 0 : i64} : (tensor<2x4xf32>, tensor<i64>) -> tensor<*xf32>
    %next = onnx.Add %sum, %row : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    onnx.Yield %going, %next, %row : tensor<i1>, tensor<*xf32>, tensor<*xf32>
  } {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<i64>, tensor<i1>, tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<2x4xf32>)
  return %y, %rows : tensor<?x4xf32>, tensor<2x4xf32>
}

// -----

// Nobody knows how often.
// CHECK-LABEL: func.func @unknown
// CHECK: onnx.Loop
func.func @unknown(%x: tensor<?x4xf32>, %times: tensor<i64>) -> tensor<?x4xf32> {
  %yes = onnx.constant dense<true> : tensor<i1>
  %y = onnx.Loop %times, %yes, %x {
  ^bb0(%i: tensor<i64>, %going: tensor<i1>, %sum: tensor<*xf32>):
    %next = onnx.Add %sum, %sum : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    onnx.Yield %going, %next : tensor<i1>, tensor<*xf32>
  } {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<i64>, tensor<i1>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// It may end early.
// CHECK-LABEL: func.func @breaks
// CHECK: onnx.Loop
func.func @breaks(%x: tensor<?x4xf32>, %stop: tensor<i1>) -> tensor<?x4xf32> {
  %times = onnx.constant dense<2> : tensor<i64>
  %yes = onnx.constant dense<true> : tensor<i1>
  %y = onnx.Loop %times, %yes, %x {
  ^bb0(%i: tensor<i64>, %going: tensor<i1>, %sum: tensor<*xf32>):
    %next = onnx.Add %sum, %sum : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    onnx.Yield %stop, %next : tensor<i1>, tensor<*xf32>
  } {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<i64>, tensor<i1>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @scan
// CHECK-NOT: onnx.Scan
// CHECK: %[[FIRST:.*]] = onnx.Gather %arg1, %{{.*}} {axis = 1 : i64} : (tensor<4x2xf32>, tensor<i64>) -> tensor<4xf32>
// CHECK: %[[A:.*]] = onnx.Add %arg0, %[[FIRST]]
// CHECK: %[[SECOND:.*]] = onnx.Gather %arg1
// CHECK: %[[B:.*]] = onnx.Add %[[A]], %[[SECOND]]
// CHECK: return %[[B]]
func.func @scan(%x: tensor<?x4xf32>, %w: tensor<4x2xf32>) -> tensor<?x4xf32> {
  %y = onnx.Scan %x, %w {
  ^bb0(%sum: tensor<*xf32>, %row: tensor<*xf32>):
    %next = onnx.Add %sum, %row : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    onnx.Yield %next : tensor<*xf32>
  } {num_scan_inputs = 1 : i64, scan_input_axes = array<i64: 1>} : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Without rows there is nothing to scatter.
// CHECK-LABEL: func.func @skipped
// CHECK-NOT: onnx.If
// CHECK: %[[Y:.*]] = onnx.ScatterND
// CHECK: return %[[Y]]
func.func @skipped(%x: tensor<?x4xf32>, %mask: tensor<?xi1>) -> tensor<?x4xf32> {
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %found = onnx.NonZero %mask : (tensor<?xi1>) -> tensor<1x?xi64>
  %at = onnx.Transpose %found {perm = array<i64: 1, 0>} : (tensor<1x?xi64>) -> tensor<?x1xi64>
  %shape = onnx.Shape %found : (tensor<1x?xi64>) -> tensor<2xi64>
  %count = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %any = onnx.Greater %count, %zero : (tensor<i64>, tensor<i64>) -> tensor<i1>
  %y = onnx.If %any {
    %rows = onnx.GatherND %x, %at : (tensor<?x4xf32>, tensor<?x1xi64>) -> tensor<?x4xf32>
    %new = onnx.ScatterND %x, %at, %rows {reduction = "add"} : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.Yield %new : tensor<?x4xf32>
  } else {
    onnx.Yield %x : tensor<?x4xf32>
  } : (tensor<i1>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// The condition counts something else.
// CHECK-LABEL: func.func @other
// CHECK: onnx.If
func.func @other(%x: tensor<?x4xf32>, %mask: tensor<?xi1>, %second: tensor<?xi1>) -> tensor<?x4xf32> {
  %zero = onnx.constant dense<0.0> : tensor<f32>
  %found = onnx.NonZero %mask : (tensor<?xi1>) -> tensor<1x?xi64>
  %at = onnx.Transpose %found {perm = array<i64: 1, 0>} : (tensor<1x?xi64>) -> tensor<?x1xi64>
  %ones = onnx.Cast %second {to = i64} : (tensor<?xi1>) -> tensor<?xi64>
  %none = onnx.constant dense<0> : tensor<i64>
  %count = onnx.ReduceSum %ones {keepdims = 0 : i64} : (tensor<?xi64>) -> tensor<i64>
  %any = onnx.Greater %count, %none : (tensor<i64>, tensor<i64>) -> tensor<i1>
  %y = onnx.If %any {
    %rows = onnx.GatherND %x, %at : (tensor<?x4xf32>, tensor<?x1xi64>) -> tensor<?x4xf32>
    %new = onnx.ScatterND %x, %at, %rows {reduction = "add"} : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.Yield %new : tensor<?x4xf32>
  } else {
    onnx.Yield %x : tensor<?x4xf32>
  } : (tensor<i1>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// More than one row is asked for; and without rows another result.
// CHECK-LABEL: func.func @atLeastTwo
// CHECK: onnx.If
// CHECK: onnx.If
func.func @atLeastTwo(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>, %mask: tensor<?xi1>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %found = onnx.NonZero %mask : (tensor<?xi1>) -> tensor<1x?xi64>
  %at = onnx.Transpose %found {perm = array<i64: 1, 0>} : (tensor<1x?xi64>) -> tensor<?x1xi64>
  %count = onnx.Size %found : (tensor<1x?xi64>) -> tensor<i64>
  %two = onnx.Greater %count, %one : (tensor<i64>, tensor<i64>) -> tensor<i1>
  %any = onnx.Greater %count, %zero : (tensor<i64>, tensor<i64>) -> tensor<i1>
  %y = onnx.If %two {
    %new = onnx.ScatterND %x, %at, %x : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.Yield %new : tensor<?x4xf32>
  } else {
    onnx.Yield %x : tensor<?x4xf32>
  } : (tensor<i1>) -> tensor<?x4xf32>
  %v = onnx.If %any {
    %new = onnx.ScatterND %x, %at, %x : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.Yield %new : tensor<?x4xf32>
  } else {
    onnx.Yield %z : tensor<?x4xf32>
  } : (tensor<i1>) -> tensor<?x4xf32>
  return %y, %v : tensor<?x4xf32>, tensor<?x4xf32>
}
