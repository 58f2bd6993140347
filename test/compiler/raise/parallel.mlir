// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// A dense layer beside the experts (Gemma 4): a norm without weights, GELU, a factor for each expert, capped logits.

// A norm without weights has ones.
// CHECK-DAG: emoe.weight @layer0.experts_norm [1, 16] <"<decoded:one>", 0, f32, [0, 0]>
// CHECK-DAG: emoe.weight @{{.*}} [1, 4] <"m", 24576, f32, [1, 1]>
// CHECK: func.func @main
// CHECK: %[[H:.*]] = emoe.add
// CHECK: %[[N:.*]] = emoe.norm rms %[[H]] @layer0.experts_norm {epsilon = 9.99999997E-7 : f32}
// CHECK: %[[G:.*]] = emoe.linear %[[N]]
// CHECK: emoe.activate gelu_tanh %[[G]]
// CHECK: emoe.mul
// CHECK: %[[D:.*]] = emoe.linear
// CHECK: %[[I:.*]], %[[W:.*]] = emoe.route softmax %{{.*}} {expert_scale = @{{.*}}, renormalise, top_k = 2 : i64}
// CHECK: %[[M:.*]] = emoe.moe gelu_tanh %[[H]], %[[I]], %[[W]]
// CHECK: emoe.add %[[D]], %[[M]]
// CHECK: emoe.scale %{{.*}} 0.0333333351
// CHECK: emoe.activate tanh
// CHECK: emoe.scale %{{.*}} 3.000000e+01
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @query : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @wide : tensor<16x8xf32> #emoe.source<"m", 8192, f32, [8, 1]>
onnx.tensor @other : tensor<16x8xf32> #emoe.source<"m", 12288, f32, [8, 1]>
onnx.tensor @narrow : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 20480, f32, [4, 1]>
onnx.tensor @factors : tensor<4xf32> #emoe.source<"m", 24576, f32, [1]>
onnx.tensor @gate_up : tensor<4x16x16xf32> #emoe.source<"m", 28672, f32, [256, 16, 1]>
onnx.tensor @down : tensor<4x16x8xf32> #emoe.source<"m", 32768, f32, [128, 8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %query = onnx.initializer @query : tensor<16x16xf32>
  %wide = onnx.initializer @wide : tensor<16x8xf32>
  %other = onnx.initializer @other : tensor<16x8xf32>
  %narrow = onnx.initializer @narrow : tensor<8x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %factors = onnx.initializer @factors : tensor<4xf32>
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
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-6> : tensor<f32>
  %power = onnx.constant dense<-0.5> : tensor<f32>
  %repeat = onnx.constant dense<[1, 2, 1]> : tensor<3xi64>
  %slots = onnx.constant dense<[-1, 2, 16]> : tensor<3xi64>
  %square = onnx.Pow %h, %two : (tensor<1x?x16xf32>, tensor<f32>) -> tensor<1x?x16xf32>
  %mean = onnx.ReduceMean %square, %last : (tensor<1x?x16xf32>, tensor<1xi64>) -> tensor<1x?x1xf32>
  %sum2 = onnx.Add %mean, %eps : (tensor<1x?x1xf32>, tensor<f32>) -> tensor<1x?x1xf32>
  %inverse = onnx.Pow %sum2, %power : (tensor<1x?x1xf32>, tensor<f32>) -> tensor<1x?x1xf32>
  %n = onnx.Mul %h, %inverse : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %w0 = onnx.MatMul %n, %wide : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %gelu = onnx.Gelu %w0 {approximate = "tanh"} : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %w1 = onnx.MatMul %n, %other : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %product = onnx.Mul %gelu, %w1 : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %dense = onnx.MatMul %product, %narrow : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %hs, %router : (tensor<?x16xf32>, tensor<16x4xf32>) -> tensor<?x4xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %values, %chosen = onnx.TopK %scores, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %all = onnx.ReduceSum %values, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %parts = onnx.Div %values, %all : (tensor<?x2xf32>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %ids1 = onnx.Unsqueeze %chosen, %last : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?x2x1xi64>
  %own = onnx.GatherND %factors, %ids1 : (tensor<4xf32>, tensor<?x2x1xi64>) -> tensor<?x2xf32>
  %weights = onnx.Mul %parts, %own : (tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x2xf32>
  %single = onnx.Unsqueeze %hs, %axis : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %tiled = onnx.Tile %single, %repeat : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
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
  %active = onnx.Gelu %gate {approximate = "tanh"} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %active, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %idColumn : (tensor<4x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %pairWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %d, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %weighted, %slots : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %routed = onnx.ReduceSum %perSlot, %axis {keepdims = 0 : i64}
      : (tensor<?x2x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %routed, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %both = onnx.Add %dense, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %both : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %cap = onnx.constant dense<3.000000e+01> : tensor<f32>
  %small = onnx.Div %out, %cap : (tensor<1x?x32xf32>, tensor<f32>) -> tensor<1x?x32xf32>
  %bent = onnx.Tanh %small : (tensor<1x?x32xf32>) -> tensor<1x?x32xf32>
  %capped = onnx.Mul %bent, %cap : (tensor<1x?x32xf32>, tensor<f32>) -> tensor<1x?x32xf32>
  return %capped : tensor<1x?x32xf32>
}
