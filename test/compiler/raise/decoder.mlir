// RUN: emoe-opt %s --raise | FileCheck %s
// The smallest decoder of pattern P3: attention without a cache, one expert of two for each token, logits.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @proj : tensor<16x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @gate_up : tensor<2x16x16xf32> #emoe.source<"m", 3072, f32, [256, 16, 1]>
onnx.tensor @down : tensor<2x16x8xf32> #emoe.source<"m", 5120, f32, [128, 8, 1]>
onnx.tensor @router : tensor<2x16xf32> #emoe.source<"m", 6144, f32, [16, 1]>

// The second half of the stacked matrix's rows is "up"; the projections are stored transposed.
// CHECK-DAG: emoe.weight @embed [32, 16]
// CHECK-DAG: emoe.weight @layer0.q_proj [16, 16] <"m", 2048, f32, [1, 16]>
// CHECK-DAG: emoe.weight @layer0.expert1.gate [8, 16] <"m", 4096, f32, [16, 1]>
// CHECK-DAG: emoe.weight @layer0.expert1.up [8, 16] <"m", 4608, f32, [16, 1]>
// CHECK-DAG: emoe.weight @layer0.expert0.down [16, 8] <"m", 5120, f32, [8, 1]>
// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x32xf32>
// CHECK: %[[X:.*]] = emoe.embedding %[[IDS]] @embed
// CHECK: %[[Q:.*]] = emoe.linear %[[X]] @layer0.q_proj
// CHECK: emoe.attention %[[Q]], %[[Q]], %[[Q]] {head_dim = 8 : i64, heads = 2 : i64, kv_heads = 2 : i64, layer = 0 : i64, scale = 0.353553385 : f32}
// CHECK: %[[H:.*]] = emoe.add
// CHECK: %[[L:.*]] = emoe.linear %[[H]] @layer0.router
// CHECK: %[[I:.*]], %[[W:.*]] = emoe.route softmax %[[L]] {top_k = 1 : i64}
// CHECK: emoe.moe silu %[[H]], %[[I]], %[[W]]
// CHECK-SAME: gate = [@layer0.expert0.gate, @layer0.expert1.gate]
// CHECK: emoe.add
// CHECK: emoe.linear {{.*}} @embed
// CHECK-NOT: onnx.
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %proj = onnx.initializer @proj : tensor<16x16xf32>
  %gate_up = onnx.initializer @gate_up : tensor<2x16x16xf32>
  %down = onnx.initializer @down : tensor<2x16x8xf32>
  %router = onnx.initializer @router : tensor<2x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %k = onnx.constant dense<1> : tensor<1xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %keys = onnx.constant dense<[0, 1, 2]> : tensor<3xi64>
  %queries = onnx.constant dense<[0, 1, 3]> : tensor<3xi64>
  %seen = onnx.constant dense<0.0> : tensor<f32>
  %hidden = onnx.constant dense<0xFF800000> : tensor<f32>
  %factor = onnx.constant dense<0.353553385> : tensor<f32>
  %heads = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %triple = onnx.constant dense<[-1, 1, 16]> : tensor<3xi64>

  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %count = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %positions = onnx.Range %zero, %count, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %kpos = onnx.Unsqueeze %positions, %keys : (tensor<?xi64>, tensor<3xi64>) -> tensor<1x1x1x?xi64>
  %qpos = onnx.Unsqueeze %positions, %queries : (tensor<?xi64>, tensor<3xi64>) -> tensor<1x1x?x1xi64>
  %visible = onnx.LessOrEqual %kpos, %qpos : (tensor<1x1x1x?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %bias = onnx.Where %visible, %seen, %hidden : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>

  %p = onnx.MatMul %x, %proj : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %split = onnx.Reshape %p, %heads : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %split {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %kt = onnx.Transpose %q {perm = array<i64: 0, 1, 3, 2>} : (tensor<1x2x?x8xf32>) -> tensor<1x2x8x?xf32>
  %qk = onnx.MatMul %q, %kt : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %scaled = onnx.Mul %qk, %factor : (tensor<1x2x?x?xf32>, tensor<f32>) -> tensor<1x2x?x?xf32>
  %masked = onnx.Add %scaled, %bias : (tensor<1x2x?x?xf32>, tensor<1x1x?x?xf32>) -> tensor<1x2x?x?xf32>
  %probabilities = onnx.Softmax %masked {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %attended = onnx.MatMul %probabilities, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %attended {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %joined = onnx.Reshape %back, %rows : (tensor<1x?x2x8xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %joined : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>

  %tokens = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.Gemm %tokens, %router {transB = 1 : i64} : (tensor<?x16xf32>, tensor<2x16xf32>) -> tensor<?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %weights, %chosen = onnx.TopK %scores, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %single = onnx.Unsqueeze %tokens, %k : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %ones = onnx.constant dense<[1, 1, 1]> : tensor<3xi64>
  %tiled = onnx.Tile %single, %ones : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %repeated = onnx.Reshape %tiled, %flat : (tensor<?x1x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %column = onnx.Unsqueeze %repeated, %last : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x16x1xf32>
  %wgu = onnx.GatherND %gate_up, %chosen : (tensor<2x16x16xf32>, tensor<?x1xi64>) -> tensor<?x16x16xf32>
  %gu = onnx.MatMul %wgu, %column : (tensor<?x16x16xf32>, tensor<?x16x1xf32>) -> tensor<?x16x1xf32>
  %gus = onnx.Squeeze %gu, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %gus {axis = 1 : i64, num_outputs = 2 : i64} : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %chosen : (tensor<2x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weighted = onnx.Mul %d, %weights : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %slots = onnx.Reshape %weighted, %triple : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %sum = onnx.ReduceSum %slots, %k {keepdims = 0 : i64} : (tensor<?x1x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
