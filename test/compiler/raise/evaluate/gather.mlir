// RUN: emoe-opt %s --evaluate | FileCheck %s

// CHECK: @gather_rows: 2x2xf32 [5, 6, 1, 2]
func.func @gather_rows() -> tensor<2x2xf32> {
  %data = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
  %at = onnx.constant dense<[-1, 0]> : tensor<2xi64>
  %0 = onnx.Gather %data, %at : (tensor<3x2xf32>, tensor<2xi64>) -> tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// CHECK: @gather_columns: 3x1x2xf32 [2, 1, 4, 3, 6, 5]
func.func @gather_columns() -> tensor<3x1x2xf32> {
  %data = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
  %at = onnx.constant dense<[[1, 0]]> : tensor<1x2xi64>
  %0 = onnx.Gather %data, %at {axis = 1 : i64} : (tensor<3x2xf32>, tensor<1x2xi64>) -> tensor<3x1x2xf32>
  return %0 : tensor<3x1x2xf32>
}

// Slices of a weight that stays in its file: only slices 2 and 0 are read.
onnx.tensor @stack : tensor<3x2x2xf32> <"w", 40, f32, [4, 2, 1]>
// CHECK: @gather_weight: 2x2x2xf32 [18, 19, 20, 21, 10, 11, 12, 13]
func.func @gather_weight() -> tensor<2x2x2xf32> {
  %data = onnx.initializer @stack : tensor<3x2x2xf32>
  %at = onnx.constant dense<[2, 0]> : tensor<2xi64>
  %0 = onnx.Gather %data, %at : (tensor<3x2x2xf32>, tensor<2xi64>) -> tensor<2x2x2xf32>
  return %0 : tensor<2x2x2xf32>
}

// CHECK: @gather_elements: 2x2xf32 [1, 1, 4, 3]
func.func @gather_elements() -> tensor<2x2xf32> {
  %data = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %at = onnx.constant dense<[[0, 0], [1, 0]]> : tensor<2x2xi64>
  %0 = onnx.GatherElements %data, %at {axis = 1 : i64} : (tensor<2x2xf32>, tensor<2x2xi64>) -> tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// The last axis of the indices names elements, slices, or elements within a batch.
// CHECK: @gather_nd: 2xf32 [1, 4]
// CHECK: @gather_nd: 2x1x2xf32 [3, 4, 1, 2]
// CHECK: @gather_nd: 2xf32 [2, 3]
func.func @gather_nd() -> (tensor<2xf32>, tensor<2x1x2xf32>, tensor<2xf32>) {
  %data = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %elements = onnx.constant dense<[[0, 0], [1, -1]]> : tensor<2x2xi64>
  %0 = onnx.GatherND %data, %elements : (tensor<2x2xf32>, tensor<2x2xi64>) -> tensor<2xf32>
  %slices = onnx.constant dense<[[[1]], [[0]]]> : tensor<2x1x1xi64>
  %1 = onnx.GatherND %data, %slices : (tensor<2x2xf32>, tensor<2x1x1xi64>) -> tensor<2x1x2xf32>
  %within = onnx.constant dense<[[1], [0]]> : tensor<2x1xi64>
  %2 = onnx.GatherND %data, %within {batch_dims = 1 : i64} : (tensor<2x2xf32>, tensor<2x1xi64>) -> tensor<2xf32>
  return %0, %1, %2 : tensor<2xf32>, tensor<2x1x2xf32>, tensor<2xf32>
}

// CHECK: @gather_nd_weight: 2x2x2xf32 [14, 15, 16, 17, 10, 11, 12, 13]
func.func @gather_nd_weight() -> tensor<2x2x2xf32> {
  %data = onnx.initializer @stack : tensor<3x2x2xf32>
  %at = onnx.constant dense<[[1], [0]]> : tensor<2x1xi64>
  %0 = onnx.GatherND %data, %at : (tensor<3x2x2xf32>, tensor<2x1xi64>) -> tensor<2x2x2xf32>
  return %0 : tensor<2x2x2xf32>
}

// Gathered matrices are read one at a time by products, on either side, transposed or not.
// CHECK: @gather_products: 2x2x1xf32 [56, 62, 32, 38]
// CHECK: @gather_products: 2x1x2xf32 [56, 62, 32, 38]
// CHECK: @gather_products: 2x1x2xf32 [58, 61, 34, 37]
func.func @gather_products() -> (tensor<2x2x1xf32>, tensor<2x1x2xf32>, tensor<2x1x2xf32>) {
  %data = onnx.initializer @stack : tensor<3x2x2xf32>
  %at = onnx.constant dense<[2, 0]> : tensor<2xi64>
  %0 = onnx.Gather %data, %at : (tensor<3x2x2xf32>, tensor<2xi64>) -> tensor<2x2x2xf32>
  %column = onnx.constant dense<[[1.0], [2.0]]> : tensor<2x1xf32>
  %1 = onnx.MatMul %0, %column : (tensor<2x2x2xf32>, tensor<2x1xf32>) -> tensor<2x2x1xf32>
  %2 = onnx.Transpose %0 {perm = array<i64: 0, 2, 1>} : (tensor<2x2x2xf32>) -> tensor<2x2x2xf32>
  %row = onnx.constant dense<[[1.0, 2.0]]> : tensor<1x2xf32>
  %3 = onnx.MatMul %row, %2 : (tensor<1x2xf32>, tensor<2x2x2xf32>) -> tensor<2x1x2xf32>
  %4 = onnx.MatMul %row, %0 : (tensor<1x2xf32>, tensor<2x2x2xf32>) -> tensor<2x1x2xf32>
  return %1, %3, %4 : tensor<2x2x1xf32>, tensor<2x1x2xf32>, tensor<2x1x2xf32>
}

// What moves the slices themselves reads them all.
// CHECK: @gather_moved: 2x2x2xf32 [18, 19, 10, 11, 20, 21, 12, 13]
// CHECK: @gather_moved: 1x2x2xf32 [10, 11, 12, 13]
func.func @gather_moved() -> (tensor<2x2x2xf32>, tensor<1x2x2xf32>) {
  %data = onnx.initializer @stack : tensor<3x2x2xf32>
  %at = onnx.constant dense<[2, 0]> : tensor<2xi64>
  %0 = onnx.Gather %data, %at : (tensor<3x2x2xf32>, tensor<2xi64>) -> tensor<2x2x2xf32>
  %1 = onnx.Transpose %0 {perm = array<i64: 1, 0, 2>} : (tensor<2x2x2xf32>) -> tensor<2x2x2xf32>
  %second = onnx.constant dense<[1]> : tensor<1xi64>
  %2 = onnx.Gather %0, %second : (tensor<2x2x2xf32>, tensor<1xi64>) -> tensor<1x2x2xf32>
  return %1, %2 : tensor<2x2x2xf32>, tensor<1x2x2xf32>
}

// A repeated index overwrites, or adds.
// CHECK: @scatter_elements: 2x3xf32 [0, 11, 0, 12, 0, 0]
// CHECK: @scatter_elements: 1x3xf32 [0, 7, 0]
func.func @scatter_elements() -> (tensor<2x3xf32>, tensor<1x3xf32>) {
  %zeros = onnx.constant dense<0.0> : tensor<2x3xf32>
  %at = onnx.constant dense<[[1], [0]]> : tensor<2x1xi64>
  %updates = onnx.constant dense<[[11.0], [12.0]]> : tensor<2x1xf32>
  %0 = onnx.ScatterElements %zeros, %at, %updates {axis = 1 : i64}
      : (tensor<2x3xf32>, tensor<2x1xi64>, tensor<2x1xf32>) -> tensor<2x3xf32>
  %row = onnx.constant dense<0.0> : tensor<1x3xf32>
  %twice = onnx.constant dense<[[1, -2]]> : tensor<1x2xi64>
  %pair = onnx.constant dense<[[3.0, 4.0]]> : tensor<1x2xf32>
  %1 = onnx.ScatterElements %row, %twice, %pair {axis = 1 : i64, reduction = "add"}
      : (tensor<1x3xf32>, tensor<1x2xi64>, tensor<1x2xf32>) -> tensor<1x3xf32>
  return %0, %1 : tensor<2x3xf32>, tensor<1x3xf32>
}

// CHECK: @scatter_nd: 3x2xf32 [0, 0, 0, 0, 6, 8]
func.func @scatter_nd() -> tensor<3x2xf32> {
  %zeros = onnx.constant dense<0.0> : tensor<3x2xf32>
  %at = onnx.constant dense<[[2], [2]]> : tensor<2x1xi64>
  %updates = onnx.constant dense<[[1.0, 2.0], [5.0, 6.0]]> : tensor<2x2xf32>
  %0 = onnx.ScatterND %zeros, %at, %updates {reduction = "add"}
      : (tensor<3x2xf32>, tensor<2x1xi64>, tensor<2x2xf32>) -> tensor<3x2xf32>
  return %0 : tensor<3x2xf32>
}

// Equal elements: the lower index first, in both directions.
// CHECK: @topk: 2xf32 [5, 3]
// CHECK: @topk: 2xi64 [1, 0]
// CHECK: @topk: 2xf32 [2, 3]
// CHECK: @topk: 2xi64 [3, 0]
func.func @topk() -> (tensor<2xf32>, tensor<2xi64>, tensor<2xf32>, tensor<2xi64>) {
  %x = onnx.constant dense<[3.0, 5.0, 3.0, 2.0]> : tensor<4xf32>
  %k = onnx.constant dense<2> : tensor<1xi64>
  %0, %1 = onnx.TopK %x, %k : (tensor<4xf32>, tensor<1xi64>) -> (tensor<2xf32>, tensor<2xi64>)
  %2, %3 = onnx.TopK %x, %k {largest = 0 : i64} : (tensor<4xf32>, tensor<1xi64>) -> (tensor<2xf32>, tensor<2xi64>)
  return %0, %1, %2, %3 : tensor<2xf32>, tensor<2xi64>, tensor<2xf32>, tensor<2xi64>
}

// An index outside the depth is off everywhere.
// CHECK: @one_hot: 3x2xi64 [0, 1, 1, 0, 0, 0]
// CHECK: @one_hot: 2x3xi64 [0, 1, 0, 1, 0, 0]
func.func @one_hot() -> (tensor<3x2xi64>, tensor<2x3xi64>) {
  %at = onnx.constant dense<[1, -2, 7]> : tensor<3xi64>
  %depth = onnx.constant dense<2> : tensor<i64>
  %values = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %0 = onnx.OneHot %at, %depth, %values : (tensor<3xi64>, tensor<i64>, tensor<2xi64>) -> tensor<3x2xi64>
  %1 = onnx.OneHot %at, %depth, %values {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>, tensor<2xi64>) -> tensor<2x3xi64>
  return %0, %1 : tensor<3x2xi64>, tensor<2x3xi64>
}

// CHECK: @non_zero: 2x2xi64 [0, 1, 2, 0]
func.func @non_zero() -> tensor<2x?xi64> {
  %x = onnx.constant dense<[[0, 0, 5], [6, 0, 0]]> : tensor<2x3xi64>
  %0 = onnx.NonZero %x : (tensor<2x3xi64>) -> tensor<2x?xi64>
  return %0 : tensor<2x?xi64>
}

// CHECK: @compress: 2x1xf32 [2, 4]
func.func @compress() -> tensor<2x?xf32> {
  %x = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %keep = onnx.constant dense<[false, true]> : tensor<2xi1>
  %0 = onnx.Compress %x, %keep {axis = 1 : i64} : (tensor<2x2xf32>, tensor<2xi1>) -> tensor<2x?xf32>
  return %0 : tensor<2x?xf32>
}
