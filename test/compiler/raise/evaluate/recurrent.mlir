// RUN: emoe-opt %s --evaluate | FileCheck %s
// Ops with a state, on numbers worked out by hand. A weight's elements are their own indices: W = [[0, 1], [2, 3]].

emoe.weight @taps [2, 2] #emoe.source<"w", 0, f32, [2, 1]>
emoe.weight @bias [1, 2] #emoe.source<"w", 0, f32, [2, 1]>

// y[t] = W[0] x[t - 1] + W[1] x[t], before the first row zeros.
// CHECK: @first: 2x2xf32 [2, 6, 6, 14]
func.func @first() -> tensor<2x2xf32> {
  %x = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %0 = emoe.short_conv %x @taps {state = 0} : tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// The state goes on with [3, 4]; another state starts with zeros, and the bias is [0, 1].
// CHECK: @second: 1x2xf32 [10, 19]
// CHECK: @second: 1x2xf32 [10, 16]
func.func @second() -> (tensor<1x2xf32>, tensor<1x2xf32>) attributes {position = 2 : i64} {
  %x = onnx.constant dense<[[5.0, 5.0]]> : tensor<1x2xf32>
  %0 = emoe.short_conv %x @taps {state = 0} : tensor<1x2xf32>
  %1 = emoe.short_conv %x @taps {bias = @bias, state = 1} : tensor<1x2xf32>
  return %0, %1 : tensor<1x2xf32>, tensor<1x2xf32>
}

// Channels first: past [1, 2], then 3, with weights 1, 10, 100; the state keeps the last two inputs.
// CHECK: @causal: 1x1x1xf32 [322]
// CHECK: @causal: 1x1x2xf32 [2, 3]
// CHECK: @causal: 1x1x2xf32 [300, 430]
func.func @causal() -> (tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>) {
  %x = onnx.constant dense<3.0> : tensor<1x1x1xf32>
  %w = onnx.constant dense<[[[1.0, 10.0, 100.0]]]> : tensor<1x1x3xf32>
  %b = onnx.constant dense<1.0> : tensor<1xf32>
  %past = onnx.constant dense<[[[1.0, 2.0]]]> : tensor<1x1x2xf32>
  %0, %1 = onnx.com.microsoft.CausalConvWithState %x, %w, %b, %past
      {operandSegmentSizes = array<i32: 1, 1, 1, 1>}
      : (tensor<1x1x1xf32>, tensor<1x1x3xf32>, tensor<1xf32>, tensor<1x1x2xf32>) -> (tensor<1x1x1xf32>, tensor<1x1x2xf32>)
  %two = onnx.constant dense<[[[3.0, 4.0]]]> : tensor<1x1x2xf32>
  %2, %3 = onnx.com.microsoft.CausalConvWithState %two, %w
      {operandSegmentSizes = array<i32: 1, 1, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x3xf32>) -> (tensor<1x1x2xf32>, tensor<1x1x2xf32>)
  return %0, %1, %2 : tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>
}

// Padding is 1; numbers start with 3, stay below 6, and go on where there is a state.
// CHECK: @numbers: 5xi32 [3, 2, 4, 5, 5]
// CHECK: @numbers: 2xi32 [2, 5]
// CHECK: @numbers: 2xi32 [2, 3]
func.func @numbers() -> (tensor<5xi32>, tensor<2xi32>, tensor<2xi32>) {
  %ids = onnx.constant dense<[7, 1, 0, 9, 9]> : tensor<5xi32>
  %0 = emoe.number_tokens %ids {padding = 1, first = 3, limit = 6, state = 2} : tensor<5xi32>
  %more = onnx.constant dense<[1, 8]> : tensor<2xi32>
  %1 = emoe.number_tokens %more {padding = 1, first = 3, limit = 6, state = 2} : tensor<2xi32>
  %2 = emoe.number_tokens %more {padding = 1, first = 3, limit = 6} : tensor<2xi32>
  return %0, %1, %2 : tensor<5xi32>, tensor<2xi32>, tensor<2xi32>
}
