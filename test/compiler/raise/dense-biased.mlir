// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// Pattern P1 with biases in every product of an expert.

// CHECK: emoe.moe silu
// CHECK-SAME: down_bias = [@{{[^ ]*}}, @{{[^ ]*}}]
// CHECK-SAME: gate_bias = [@{{[^ ]*}}, @{{[^ ]*}}]
// CHECK-SAME: up_bias = [@{{[^ ]*}}, @{{[^ ]*}}]
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @gate0 : tensor<16x8xf32> #emoe.source<"m", 8192, f32, [8, 1]>
onnx.tensor @up0 : tensor<16x8xf32> #emoe.source<"m", 12288, f32, [8, 1]>
onnx.tensor @down0 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @gate1 : tensor<16x8xf32> #emoe.source<"m", 20480, f32, [8, 1]>
onnx.tensor @up1 : tensor<16x8xf32> #emoe.source<"m", 24576, f32, [8, 1]>
onnx.tensor @down1 : tensor<8x16xf32> #emoe.source<"m", 28672, f32, [16, 1]>
onnx.tensor @bg : tensor<8xf32> #emoe.source<"m", 32768, f32, [1]>
onnx.tensor @bd : tensor<16xf32> #emoe.source<"m", 36864, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %gate0 = onnx.initializer @gate0 : tensor<16x8xf32>
  %up0 = onnx.initializer @up0 : tensor<16x8xf32>
  %down0 = onnx.initializer @down0 : tensor<8x16xf32>
  %gate1 = onnx.initializer @gate1 : tensor<16x8xf32>
  %up1 = onnx.initializer @up1 : tensor<16x8xf32>
  %down1 = onnx.initializer @down1 : tensor<8x16xf32>
  %bg = onnx.initializer @bg : tensor<8xf32>
  %bd = onnx.initializer @bd : tensor<16xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %k = onnx.constant dense<1> : tensor<1xi64>
  %logits = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<1x?x2xf32>) -> tensor<1x?x2xf32>
  %values, %chosen = onnx.TopK %scores, %k
      : (tensor<1x?x2xf32>, tensor<1xi64>) -> (tensor<1x?x1xf32>, tensor<1x?x1xi64>)
  %all = onnx.ReduceSum %values, %last : (tensor<1x?x1xf32>, tensor<1xi64>) -> tensor<1x?x1xf32>
  %weights = onnx.Div %values, %all : (tensor<1x?x1xf32>, tensor<1x?x1xf32>) -> tensor<1x?x1xf32>
  %g0p = onnx.MatMul %h, %gate0 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %g0 = onnx.Add %g0p, %bg : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  %s0 = onnx.Sigmoid %g0 : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %silu0 = onnx.Mul %g0, %s0 : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %u0p = onnx.MatMul %h, %up0 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %u0 = onnx.Add %u0p, %bg : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  %act0 = onnx.Mul %silu0, %u0 : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %d0p = onnx.MatMul %act0, %down0 : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %d0 = onnx.Add %d0p, %bd : (tensor<1x?x16xf32>, tensor<16xf32>) -> tensor<1x?x16xf32>
  %n0 = onnx.constant dense<0> : tensor<i64>
  %is0 = onnx.Equal %chosen, %n0 : (tensor<1x?x1xi64>, tensor<i64>) -> tensor<1x?x1xi1>
  %m0 = onnx.Cast %is0 {to = f32} : (tensor<1x?x1xi1>) -> tensor<1x?x1xf32>
  %mw0 = onnx.Mul %weights, %m0 : (tensor<1x?x1xf32>, tensor<1x?x1xf32>) -> tensor<1x?x1xf32>
  %w0 = onnx.ReduceSum %mw0, %last : (tensor<1x?x1xf32>, tensor<1xi64>) -> tensor<1x?x1xf32>
  %e0 = onnx.Mul %d0, %w0 : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %g1p = onnx.MatMul %h, %gate1 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %g1 = onnx.Add %g1p, %bg : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  %s1 = onnx.Sigmoid %g1 : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %silu1 = onnx.Mul %g1, %s1 : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %u1p = onnx.MatMul %h, %up1 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %u1 = onnx.Add %u1p, %bg : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  %act1 = onnx.Mul %silu1, %u1 : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %d1p = onnx.MatMul %act1, %down1 : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %d1 = onnx.Add %d1p, %bd : (tensor<1x?x16xf32>, tensor<16xf32>) -> tensor<1x?x16xf32>
  %n1 = onnx.constant dense<1> : tensor<i64>
  %is1 = onnx.Equal %chosen, %n1 : (tensor<1x?x1xi64>, tensor<i64>) -> tensor<1x?x1xi1>
  %m1 = onnx.Cast %is1 {to = f32} : (tensor<1x?x1xi1>) -> tensor<1x?x1xf32>
  %mw1 = onnx.Mul %weights, %m1 : (tensor<1x?x1xf32>, tensor<1x?x1xf32>) -> tensor<1x?x1xf32>
  %w1 = onnx.ReduceSum %mw1, %last : (tensor<1x?x1xf32>, tensor<1xi64>) -> tensor<1x?x1xf32>
  %e1 = onnx.Mul %d1, %w1 : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %moe = onnx.Add %e0, %e1 : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
