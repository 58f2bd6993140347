// RUN: emoe-opt %s --evaluate | FileCheck %s
// Matrices of more elements than the evaluator holds at once: products read them in parts. Element i of a weight is i.

// Row k of the first matrix begins at 2056 k, so the mean of column n is 2056 * 16383.5 + n.
onnx.tensor @columns : tensor<32768x2056xf32> <"w", 0, f32, [2056, 1]>
// CHECK: @matmul: 1x1x3xf32 [0, 1, 2055]
func.func @matmul() -> tensor<1x1x3xf32> {
  %x = onnx.constant dense<0.000030517578125> : tensor<1x1x32768xf32>
  %w = onnx.initializer @columns : tensor<32768x2056xf32>
  %y = onnx.MatMul %x, %w : (tensor<1x1x32768xf32>, tensor<32768x2056xf32>) -> tensor<1x1x2056xf32>
  %mean = onnx.constant dense<33684476.0> : tensor<f32>
  %z = onnx.Sub %y, %mean : (tensor<1x1x2056xf32>, tensor<f32>) -> tensor<1x1x2056xf32>
  %at = onnx.constant dense<[0, 1, 2055]> : tensor<3xi64>
  %0 = onnx.Gather %z, %at {axis = 2 : i64} : (tensor<1x1x2056xf32>, tensor<3xi64>) -> tensor<1x1x3xf32>
  return %0 : tensor<1x1x3xf32>
}

// The transpose lies in the file: the mean of row n is 32768 n + 16383.5.
onnx.tensor @rows : tensor<2056x32768xf32> <"w", 0, f32, [32768, 1]>
// CHECK: @gemm: 1x3xf32 [16383.5, 49151.5, 6.73546e+07]
func.func @gemm() -> tensor<1x3xf32> {
  %x = onnx.constant dense<0.000030517578125> : tensor<1x32768xf32>
  %w = onnx.initializer @rows : tensor<2056x32768xf32>
  %y = onnx.Gemm %x, %w {transB = 1 : i64} : (tensor<1x32768xf32>, tensor<2056x32768xf32>) -> tensor<1x2056xf32>
  %at = onnx.constant dense<[0, 1, 2055]> : tensor<3xi64>
  %0 = onnx.Gather %y, %at {axis = 1 : i64} : (tensor<1x2056xf32>, tensor<3xi64>) -> tensor<1x3xf32>
  return %0 : tensor<1x3xf32>
}
