// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// The sparse mixer: two rounds, each with the largest logit left and a softmax over those close to it.

// CHECK: func.func @main
// CHECK: %[[H:.*]] = emoe.add
// CHECK: %[[L:.*]] = emoe.linear %[[H]] @layer0.router
// CHECK: %[[I:.*]], %[[W:.*]] = emoe.route sparse_mixer %[[L]] {threshold = 2.000000e-02 : f32, top_k = 2 : i64}
// CHECK: emoe.moe silu %[[H]], %[[I]], %[[W]]
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @gate_up : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @down : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %gate_up = onnx.initializer @gate_up : tensor<4x16x16xf32>
  %down = onnx.initializer @down : tensor<4x16x8xf32>
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
  %size = onnx.Abs %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %top0 = onnx.ReduceMax %logits, %last : (tensor<?x4xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %id0 = onnx.ArgMax %logits {axis = -1 : i64} : (tensor<?x4xf32>) -> tensor<?x1xi64>
  %by0 = onnx.Max %size, %top0 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %off0 = onnx.Sub %top0, %logits : (tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %ratio0 = onnx.Div %off0, %by0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %far0 = onnx.Greater %ratio0, %t0 : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi1>
  %near0 = onnx.Where %far0, %away, %logits : (tensor<?x4xi1>, tensor<f32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %p0 = onnx.Softmax %near0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %w0 = onnx.GatherElements %p0, %id0 {axis = -1 : i64} : (tensor<?x4xf32>, tensor<?x1xi64>) -> tensor<?x1xf32>
  %idShape = onnx.Shape %id0 : (tensor<?x1xi64>) -> tensor<2xi64>
  %fill = onnx.Expand %gone, %idShape : (tensor<1x1xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %left = onnx.ScatterElements %logits, %id0, %fill {axis = -1 : i64}
      : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %top1 = onnx.ReduceMax %left, %last : (tensor<?x4xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %id1 = onnx.ArgMax %left {axis = -1 : i64} : (tensor<?x4xf32>) -> tensor<?x1xi64>
  %by1 = onnx.Max %size, %top1 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %off1 = onnx.Sub %top1, %logits : (tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %ratio1 = onnx.Div %off1, %by1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %far1 = onnx.Greater %ratio1, %t1 : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi1>
  %near1 = onnx.Where %far1, %away, %left : (tensor<?x4xi1>, tensor<f32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %p1 = onnx.Softmax %near1 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %w1 = onnx.GatherElements %p1, %id1 {axis = -1 : i64} : (tensor<?x4xf32>, tensor<?x1xi64>) -> tensor<?x1xf32>
  %weights = onnx.Concat %w0, %w1 {axis = -1 : i64} : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %chosen = onnx.Concat %id0, %id1 {axis = -1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %single = onnx.Unsqueeze %hs, %axis : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %tiled = onnx.Tile %single, %twice : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %repeated = onnx.Reshape %tiled, %flat : (tensor<?x2x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %pairWeights = onnx.Reshape %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %pairIds = onnx.Reshape %chosen, %last : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %idColumn = onnx.Unsqueeze %pairIds, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %column = onnx.Unsqueeze %repeated, %last : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x16x1xf32>
  %wgu = onnx.GatherND %gate_up, %idColumn : (tensor<4x16x16xf32>, tensor<?x1xi64>) -> tensor<?x16x16xf32>
  %guc = onnx.MatMul %wgu, %column : (tensor<?x16x16xf32>, tensor<?x16x1xf32>) -> tensor<?x16x1xf32>
  %gu = onnx.Squeeze %guc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %gu {axis = 1 : i64, num_outputs = 2 : i64}
      : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %idColumn : (tensor<4x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %pairWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %d, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %weighted, %slots : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %sum = onnx.ReduceSum %perSlot, %axis {keepdims = 0 : i64} : (tensor<?x2x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
