// RUN: emoe-opt %s --simplify --split-input-file | FileCheck %s
// What optimisers put together: norms of sums, and products with weights side by side.

onnx.tensor @g : tensor<8xf32> #emoe.source<"m", 0, f32, [1]>
// CHECK-LABEL: func.func @norm
// CHECK: %[[SUM:.*]] = onnx.Add %arg0, %arg1
// CHECK: %[[Y:.*]], %{{.*}} = onnx.com.microsoft.SimplifiedLayerNormalization %[[SUM]], %{{.*}} {{.*}}epsilon = 9.99999997E-7 : f32
// CHECK: %[[SKIP:.*]] = onnx.Add %arg1, %{{.*}}
// CHECK: %[[BIASED:.*]] = onnx.Add %[[Y]], %[[SKIP]]
// CHECK: %[[Z:.*]], %{{.*}}, %{{.*}} = onnx.LayerNormalization %[[BIASED]], %{{.*}}, %{{.*}}
// CHECK: return %[[SUM]], %[[Z]]
func.func @norm(%x: tensor<1x?x8xf32>, %s: tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %g = onnx.initializer @g : tensor<8xf32>
  %y, %m, %v, %sum = onnx.com.microsoft.SkipSimplifiedLayerNormalization %x, %s, %g {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<8xf32>) -> (tensor<1x?x8xf32>, tensor<*xf32>, tensor<*xf32>, tensor<1x?x8xf32>)
  %z, %m2, %v2, %sum2 = onnx.com.microsoft.SkipLayerNormalization %y, %s, %g, %g, %g {epsilon = 1.0e-5 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) -> (tensor<1x?x8xf32>, tensor<*xf32>, tensor<*xf32>, tensor<1x?x8xf32>)
  return %sum, %z : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// -----

onnx.tensor @q : tensor<4x8xf32> #emoe.source<"m", 0, f32, [8, 1]>
onnx.tensor @k : tensor<2x8xf32> #emoe.source<"m", 128, f32, [8, 1]>
onnx.tensor @b4 : tensor<4xf32> #emoe.source<"m", 192, f32, [1]>
onnx.tensor @b2 : tensor<2xf32> #emoe.source<"m", 208, f32, [1]>
// CHECK-LABEL: func.func @split
// CHECK-NOT: onnx.Split
// CHECK-DAG: %[[Q:.*]] = onnx.MatMul %arg0, %{{.*}} : (tensor<1x?x8xf32>, tensor<8x4xf32>) -> tensor<1x?x4xf32>
// CHECK-DAG: %[[K:.*]] = onnx.MatMul %arg0, %{{.*}} : (tensor<1x?x8xf32>, tensor<8x2xf32>) -> tensor<1x?x2xf32>
// CHECK: %[[QB:.*]] = onnx.Add %[[Q]]
// CHECK: %[[KB:.*]] = onnx.Add %[[K]]
// CHECK: return %[[QB]], %[[KB]]
func.func @split(%x: tensor<1x?x8xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x2xf32>) {
  %q = onnx.initializer @q : tensor<4x8xf32>
  %k = onnx.initializer @k : tensor<2x8xf32>
  %b4 = onnx.initializer @b4 : tensor<4xf32>
  %b2 = onnx.initializer @b2 : tensor<2xf32>
  %both = onnx.Concat %q, %k {axis = 0 : i64} : (tensor<4x8xf32>, tensor<2x8xf32>) -> tensor<6x8xf32>
  %w = onnx.Transpose %both {perm = array<i64: 1, 0>} : (tensor<6x8xf32>) -> tensor<8x6xf32>
  %b = onnx.Concat %b4, %b2 {axis = 0 : i64} : (tensor<4xf32>, tensor<2xf32>) -> tensor<6xf32>
  %p = onnx.MatMul %x, %w : (tensor<1x?x8xf32>, tensor<8x6xf32>) -> tensor<1x?x6xf32>
  %a = onnx.Add %b, %p : (tensor<6xf32>, tensor<1x?x6xf32>) -> tensor<1x?x6xf32>
  %sizes = onnx.constant dense<[4, 2]> : tensor<2xi64>
  %y, %z = onnx.Split %a, %sizes {axis = -1 : i64} : (tensor<1x?x6xf32>, tensor<2xi64>) -> (tensor<1x?x4xf32>, tensor<1x?x2xf32>)
  return %y, %z : tensor<1x?x4xf32>, tensor<1x?x2xf32>
}

// -----

// Cut elsewhere: the products stay side by side.
onnx.tensor @q : tensor<8x4xf32> #emoe.source<"m", 0, f32, [4, 1]>
onnx.tensor @k : tensor<8x2xf32> #emoe.source<"m", 128, f32, [2, 1]>
// CHECK-LABEL: func.func @across
// CHECK: %[[ALL:.*]] = onnx.Concat %{{.*}}, %{{.*}} {axis = -1 : i64} : (tensor<1x?x4xf32>, tensor<1x?x2xf32>)
// CHECK: onnx.Split %[[ALL]]
func.func @across(%x: tensor<1x?x8xf32>) -> (tensor<1x?x3xf32>, tensor<1x?x3xf32>) {
  %q = onnx.initializer @q : tensor<8x4xf32>
  %k = onnx.initializer @k : tensor<8x2xf32>
  %w = onnx.Concat %q, %k {axis = 1 : i64} : (tensor<8x4xf32>, tensor<8x2xf32>) -> tensor<8x6xf32>
  %p = onnx.MatMul %x, %w : (tensor<1x?x8xf32>, tensor<8x6xf32>) -> tensor<1x?x6xf32>
  %sizes = onnx.constant dense<[3, 3]> : tensor<2xi64>
  %y, %z = onnx.Split %p, %sizes {axis = -1 : i64} : (tensor<1x?x6xf32>, tensor<2xi64>) -> (tensor<1x?x3xf32>, tensor<1x?x3xf32>)
  return %y, %z : tensor<1x?x3xf32>, tensor<1x?x3xf32>
}

// -----

// Packed query, key and value are taken as three; if they are not three of the heads' widths, they stay.
onnx.tensor @q : tensor<8x8xf32> #emoe.source<"m", 0, f32, [8, 1]>
onnx.tensor @k : tensor<8x4xf32> #emoe.source<"m", 256, f32, [4, 1]>
// CHECK-LABEL: func.func @attention
// CHECK: %[[Q:.*]] = onnx.MatMul %arg0, %{{.*}} -> tensor<1x?x8xf32>
// CHECK: %[[K:.*]] = onnx.MatMul %arg0, %{{.*}} -> tensor<1x?x4xf32>
// CHECK: GroupQueryAttention %[[Q]], %[[K]], %[[K]]
// CHECK: %[[ALL:.*]] = onnx.Concat %[[K]], %[[Q]], %[[K]]
// CHECK: GroupQueryAttention %[[ALL]],
func.func @attention(%x: tensor<1x?x8xf32>, %pk: tensor<1x1x?x4xf32>, %pv: tensor<1x1x?x4xf32>, %n: tensor<1xi32>, %t: tensor<i32>)
    -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %q = onnx.initializer @q : tensor<8x8xf32>
  %k = onnx.initializer @k : tensor<8x4xf32>
  %w = onnx.Concat %q, %k, %k {axis = 1 : i64} : (tensor<8x8xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x16xf32>
  %p = onnx.MatMul %x, %w : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %y:4 = onnx.com.microsoft.GroupQueryAttention %p, %pk, %pv, %n, %t {num_heads = 2 : i64, kv_num_heads = 1 : i64, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x1x?x4xf32>, tensor<1x1x?x4xf32>, tensor<1xi32>, tensor<i32>) -> (tensor<1x?x8xf32>, tensor<1x1x?x4xf32>, tensor<1x1x?x4xf32>, tensor<*xf32>)
  %v = onnx.Concat %k, %q, %k {axis = 1 : i64} : (tensor<8x4xf32>, tensor<8x8xf32>, tensor<8x4xf32>) -> tensor<8x16xf32>
  %r = onnx.MatMul %x, %v : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %z:4 = onnx.com.microsoft.GroupQueryAttention %r, %pk, %pv, %n, %t {num_heads = 2 : i64, kv_num_heads = 1 : i64, operandSegmentSizes = array<i32: 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x1x?x4xf32>, tensor<1x1x?x4xf32>, tensor<1xi32>, tensor<i32>) -> (tensor<1x?x8xf32>, tensor<1x1x?x4xf32>, tensor<1x1x?x4xf32>, tensor<*xf32>)
  return %y#0, %z#0 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}
