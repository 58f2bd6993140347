// RUN: emoe-opt %s --simplify --raise --verify-diagnostics
// A group has two experts: its best three are none.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @gate_up : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @down : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @bias : tensor<4xf32> #emoe.source<"m", 16384, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %gate_up = onnx.initializer @gate_up : tensor<4x16x16xf32>
  %down = onnx.initializer @down : tensor<4x16x8xf32>
  %bias = onnx.initializer @bias : tensor<4xf32>
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
  %scores = onnx.Sigmoid %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %biased = onnx.Add %scores, %bias : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %inGroups = onnx.constant dense<[-1, 2, 2]> : tensor<3xi64>
  %ofAll = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %one1 = onnx.constant dense<1> : tensor<1xi64>
  %take = onnx.constant dense<3> : tensor<1xi64>
  %fillValue = onnx.constant dense<0xFF800000> : tensor<f32>
  %zerof = onnx.constant dense<0.0> : tensor<f32>
  %wide = onnx.constant dense<[1, 2, 2]> : tensor<3xi64>
  %grouped = onnx.Reshape %biased, %inGroups : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x2x2xf32>
  // expected-error @+1 {{takes 3 of the 2 experts of a group}}
  %best, %bestIds = onnx.TopK %grouped, %take : (tensor<?x2x2xf32>, tensor<1xi64>) -> (tensor<?x2x?xf32>, tensor<?x2x?xi64>)
  %sums = onnx.ReduceSum %best, %last {keepdims = 0 : i64} : (tensor<?x2x?xf32>, tensor<1xi64>) -> tensor<?x2xf32>
  %tops, %groups = onnx.TopK %sums, %one1 : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %sumShape = onnx.Shape %sums : (tensor<?x2xf32>) -> tensor<2xi64>
  %zeros = onnx.Expand %zerof, %sumShape : (tensor<f32>, tensor<2xi64>) -> tensor<?x2xf32>
  %groupShape = onnx.Shape %groups : (tensor<?x1xi64>) -> tensor<2xi64>
  %ones = onnx.ConstantOfShape %groupShape {value = dense<1.0> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<?x1xf32>
  %mask = onnx.ScatterElements %zeros, %groups, %ones {axis = 1 : i64}
      : (tensor<?x2xf32>, tensor<?x1xi64>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %mask3 = onnx.Unsqueeze %mask, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x2x1xf32>
  %maskAll = onnx.Expand %mask3, %wide : (tensor<?x2x1xf32>, tensor<3xi64>) -> tensor<?x2x2xf32>
  %maskFlat = onnx.Reshape %maskAll, %ofAll : (tensor<?x2x2xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %in = onnx.Cast %maskFlat {to = i1} : (tensor<?x4xf32>) -> tensor<?x4xi1>
  %out_ = onnx.Not %in : (tensor<?x4xi1>) -> tensor<?x4xi1>
  %left = onnx.Where %out_, %fillValue, %biased : (tensor<?x4xi1>, tensor<f32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %values, %chosen = onnx.TopK %left, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %raw = onnx.GatherElements %scores, %chosen {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %rawSum = onnx.ReduceSum %raw, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %tiny = onnx.constant dense<1.0e-20> : tensor<f32>
  %divisor = onnx.Add %rawSum, %tiny : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %shares = onnx.Div %raw, %divisor : (tensor<?x2xf32>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %times = onnx.constant dense<2.5> : tensor<f32>
  %weights = onnx.Mul %shares, %times : (tensor<?x2xf32>, tensor<f32>) -> tensor<?x2xf32>
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
