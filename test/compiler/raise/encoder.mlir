// RUN: emoe-opt %s --simplify --raise --split-input-file | FileCheck %s
// An encoder's attention: a table of distances by head, computed in the graph (keys that come before the query, at it or
// after it), and nothing hidden. Its experts: one a token, by one-hot masks and a capacity.

// CHECK-LABEL: func.func @main
// CHECK: emoe.attention {{.*}}bias_before = 1 : i64, bidirectional, {{.*}}position_bias = array<f32: 1.000000e+00, 2.000000e+00, 3.000000e+00, 1.000000e+01, 2.000000e+01, 3.000000e+01>
// CHECK: %[[L:.*]] = emoe.linear %[[X:.*]] @layer0.router
// CHECK: %[[I:.*]], %[[W:.*]] = emoe.route softmax %[[L]] {capacity = 3 : i64, top_k = 1 : i64}
// CHECK: emoe.moe relu %[[X]], %[[I]], %[[W]] {{.*}}down = [@layer0.expert0.down, @layer0.expert1.down]
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @up0 : tensor<16x8xf32> #emoe.source<"m", 8192, f32, [8, 1]>
onnx.tensor @down0 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @up1 : tensor<16x8xf32> #emoe.source<"m", 16384, f32, [8, 1]>
onnx.tensor @down1 : tensor<8x16xf32> #emoe.source<"m", 20480, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  // Distances, limited to -1 .. 1.
  %one = onnx.constant dense<1> : tensor<i64>
  %zero = onnx.constant dense<0> : tensor<i64>
  %minus = onnx.constant dense<-1> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %second = onnx.constant dense<1> : tensor<1xi64>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %count = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %range = onnx.Range %zero, %count, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %keys = onnx.Unsqueeze %range, %first : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %queries = onnx.Unsqueeze %range, %second : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %far = onnx.Sub %keys, %queries : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi64>
  %low = onnx.Max %far, %minus : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi64>
  %near = onnx.Min %low, %one : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi64>
  %bucket = onnx.Add %near, %one : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi64>
  %table = onnx.constant dense<[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]> : tensor<3x2xf32>
  %entries = onnx.Gather %table, %bucket {axis = 0 : i64} : (tensor<3x2xf32>, tensor<?x?xi64>) -> tensor<?x?x2xf32>
  %byHead = onnx.Transpose %entries {perm = array<i64: 2, 0, 1>} : (tensor<?x?x2xf32>) -> tensor<2x?x?xf32>
  %bias = onnx.Unsqueeze %byHead, %first : (tensor<2x?x?xf32>, tensor<1xi64>) -> tensor<1x2x?x?xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %heads = onnx.Reshape %x, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %sb = onnx.Add %s, %bias : (tensor<1x2x?x?xf32>, tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %sb {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %at = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %h = onnx.Reshape %at, %join : (tensor<1x?x2x8xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  // Experts
  %router = onnx.initializer @router : tensor<16x2xf32>
  %up0 = onnx.initializer @up0 : tensor<16x8xf32>
  %down0 = onnx.initializer @down0 : tensor<8x16xf32>
  %up1 = onnx.initializer @up1 : tensor<16x8xf32>
  %down1 = onnx.initializer @down1 : tensor<8x16xf32>
  %experts = onnx.constant dense<2> : tensor<i64>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %tokenAxis = onnx.constant dense<-2> : tensor<i64>
  %capacity = onnx.constant dense<3> : tensor<i64>
  %lastAxis = onnx.constant dense<-1> : tensor<1xi64>
  %third = onnx.constant dense<2> : tensor<1xi64>
  %logits = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<1x?x2xf32>) -> tensor<1x?x2xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<1x?x2xf32>) -> tensor<1x?xi64>
  %choice = onnx.OneHot %best, %experts, %offOn {axis = -1 : i64} : (tensor<1x?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<1x?x2xi64>
  %running = onnx.CumSum %choice, %tokenAxis : (tensor<1x?x2xi64>, tensor<i64>) -> tensor<1x?x2xi64>
  %fits = onnx.LessOrEqual %running, %capacity : (tensor<1x?x2xi64>, tensor<i64>) -> tensor<1x?x2xi1>
  %fit = onnx.Cast %fits {to = i64} : (tensor<1x?x2xi1>) -> tensor<1x?x2xi64>
  %mask = onnx.Mul %choice, %fit : (tensor<1x?x2xi64>, tensor<1x?x2xi64>) -> tensor<1x?x2xi64>
  %m0 = onnx.Slice %mask, %first, %second, %third, %second {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>} : (tensor<1x?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x?x1xi64>
  %f0 = onnx.Cast %m0 {to = f32} : (tensor<1x?x1xi64>) -> tensor<1x?x1xf32>
  %a0 = onnx.MatMul %h, %up0 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %e0 = onnx.MatMul %r0, %down0 : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %w0 = onnx.Mul %f0, %e0 : (tensor<1x?x1xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %m1 = onnx.Slice %mask, %second, %third, %third, %second {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>} : (tensor<1x?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x?x1xi64>
  %f1 = onnx.Cast %m1 {to = f32} : (tensor<1x?x1xi64>) -> tensor<1x?x1xf32>
  %a1 = onnx.MatMul %h, %up1 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %e1 = onnx.MatMul %r1, %down1 : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %w1 = onnx.Mul %f1, %e1 : (tensor<1x?x1xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %sum = onnx.Add %w0, %w1 : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %largest = onnx.ReduceMax %scores, %lastAxis {keepdims = 0 : i64} : (tensor<1x?x2xf32>, tensor<1xi64>) -> tensor<1x?xf32>
  %weight = onnx.Unsqueeze %largest, %lastAxis : (tensor<1x?xf32>, tensor<1xi64>) -> tensor<1x?x1xf32>
  %y = onnx.Mul %weight, %sum : (tensor<1x?x1xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  return %y : tensor<1x?x16xf32>
}
