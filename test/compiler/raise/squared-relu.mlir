// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// Squared ReLU, in experts without gates and in a shared one; a sum of weights that is kept from being zero.

// CHECK: func.func @main
// CHECK: emoe.route softmax %{{.*}} {renormalise, top_k = 2 : i64}
// CHECK: emoe.moe relu2
// CHECK-NOT: gate
// CHECK: emoe.activate relu2
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @gate_up : tensor<4x8x16xf32> #emoe.source<"m", 8192, f32, [128, 16, 1]>
onnx.tensor @down : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @s1 : tensor<16x8xf32> #emoe.source<"m", 20480, f32, [8, 1]>
onnx.tensor @s2 : tensor<8x16xf32> #emoe.source<"m", 24576, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %gate_up = onnx.initializer @gate_up : tensor<4x8x16xf32>
  %down = onnx.initializer @down : tensor<4x16x8xf32>
  %s1 = onnx.initializer @s1 : tensor<16x8xf32>
  %s2 = onnx.initializer @s2 : tensor<8x16xf32>
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
  %k = onnx.constant dense<2> : tensor<1xi64>
  %axis = onnx.constant dense<1> : tensor<1xi64>
  %t0 = onnx.constant dense<0.02> : tensor<f32>
  %t1 = onnx.constant dense<0.02> : tensor<f32>
  %away = onnx.constant dense<0xFF800000> : tensor<f32>
  %gone = onnx.constant dense<0xFF800000> : tensor<1x1xf32>
  %twice = onnx.constant dense<[1, 2, 1]> : tensor<3xi64>
  %slots = onnx.constant dense<[-1, 2, 16]> : tensor<3xi64>
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %hs, %router : (tensor<?x16xf32>, tensor<16x4xf32>) -> tensor<?x4xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %values, %chosen = onnx.TopK %scores, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %raw = onnx.GatherElements %scores, %chosen {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %rawSum = onnx.ReduceSum %raw, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %tiny = onnx.constant dense<1.0e-12> : tensor<f32>
  %divisor = onnx.Clip %rawSum, %tiny {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %weights = onnx.Div %raw, %divisor : (tensor<?x2xf32>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %single = onnx.Unsqueeze %hs, %axis : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %tiled = onnx.Tile %single, %twice : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %repeated = onnx.Reshape %tiled, %flat : (tensor<?x2x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %pairWeights = onnx.Reshape %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %pairIds = onnx.Reshape %chosen, %last : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %idColumn = onnx.Unsqueeze %pairIds, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %column = onnx.Unsqueeze %repeated, %last : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x16x1xf32>
  %wu = onnx.GatherND %gate_up, %idColumn : (tensor<4x8x16xf32>, tensor<?x1xi64>) -> tensor<?x8x16xf32>
  %uc = onnx.MatMul %wu, %column : (tensor<?x8x16xf32>, tensor<?x16x1xf32>) -> tensor<?x8x1xf32>
  %up = onnx.Squeeze %uc, %last : (tensor<?x8x1xf32>, tensor<1xi64>) -> tensor<?x8xf32>
  %relu = onnx.Relu %up : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %relu, %relu : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %idColumn : (tensor<4x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %pairWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %d, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %weighted, %slots : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %sum = onnx.ReduceSum %perSlot, %axis {keepdims = 0 : i64} : (tensor<?x2x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %squared = onnx.constant dense<2.0> : tensor<f32>
  %su = onnx.MatMul %h, %s1 : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %sr = onnx.Relu %su : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %sa = onnx.Pow %sr, %squared : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %sd = onnx.MatMul %sa, %s2 : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %all = onnx.Add %moe, %sd : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %all : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
