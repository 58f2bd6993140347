// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics
// Experts by groups whose runs or matrices are not those of the experts.

// The histogram counts both experts in one bin.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @gate_up : tensor<2x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @down : tensor<2x8x16xf32> #emoe.source<"m", 12288, f32, [128, 16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %gate_up = onnx.initializer @gate_up : tensor<2x16x16xf32>
  %down = onnx.initializer @down : tensor<2x8x16xf32>
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
  %zero = onnx.constant dense<0> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<i64>
  %no = onnx.constant dense<false> : tensor<i1>
  %most = onnx.constant dense<1> : tensor<i64>
  %oneFloat = onnx.constant dense<1.0> : tensor<f32>
  %none = onnx.constant dense<0.0> : tensor<2xf32>
  %triple = onnx.constant dense<[-1, 1, 16]> : tensor<3xi64>
  %logits = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<1x?x2xf32>) -> tensor<1x?x2xf32>
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %pair = onnx.constant dense<[-1, 2]> : tensor<2xi64>
  %flatScores = onnx.Reshape %scores, %pair : (tensor<1x?x2xf32>, tensor<2xi64>) -> tensor<?x2xf32>
  %weights, %chosen = onnx.TopK %flatScores, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %pairs = onnx.Reshape %chosen, %last : (tensor<?x1xi64>, tensor<1xi64>) -> tensor<?xi64>
  %pairShape = onnx.Shape %pairs : (tensor<?xi64>) -> tensor<1xi64>
  %sortedIds, %order = onnx.TopK %pairs, %pairShape {largest = 0 : i64}
      : (tensor<?xi64>, tensor<1xi64>) -> (tensor<?xi64>, tensor<?xi64>)
  %slots = onnx.constant dense<1> : tensor<i64>
  %tokens = onnx.Div %order, %slots : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %tokenColumn = onnx.Unsqueeze %tokens, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %sorted = onnx.GatherND %hs, %tokenColumn : (tensor<?x16xf32>, tensor<?x1xi64>) -> tensor<?x16xf32>
  %flatWeights = onnx.Reshape %weights, %last : (tensor<?x1xf32>, tensor<1xi64>) -> tensor<?xf32>
  %orderColumn = onnx.Unsqueeze %order, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %sortedWeights = onnx.GatherND %flatWeights, %orderColumn : (tensor<?xf32>, tensor<?x1xi64>) -> tensor<?xf32>
  %bins = onnx.Clip %sortedIds, %most, %most {operandSegmentSizes = array<i32: 1, 1, 1>}
      : (tensor<?xi64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %binShape = onnx.Shape %bins : (tensor<?xi64>) -> tensor<1xi64>
  %ones = onnx.Expand %oneFloat, %binShape : (tensor<f32>, tensor<1xi64>) -> tensor<?xf32>
  // expected-error @+1 {{counts the tokens of expert 0 as those of expert 1}}
  %counts = onnx.ScatterElements %none, %bins, %ones {reduction = "add"}
      : (tensor<2xf32>, tensor<?xi64>, tensor<?xf32>) -> tensor<2xf32>
  %sums = onnx.CumSum %counts, %zero : (tensor<2xf32>, tensor<i64>) -> tensor<2xf32>
  %ends = onnx.Cast %sums {to = i64} : (tensor<2xf32>) -> tensor<2xi64>
  %end0, %end1 = onnx.Split %ends {num_outputs = 2 : i64} : (tensor<2xi64>) -> (tensor<1xi64>, tensor<1xi64>)
  %gu0, %gu1 = onnx.Split %gate_up {num_outputs = 2 : i64}
      : (tensor<2x16x16xf32>) -> (tensor<1x16x16xf32>, tensor<1x16x16xf32>)
  %d0, %d1 = onnx.Split %down {num_outputs = 2 : i64} : (tensor<2x8x16xf32>) -> (tensor<1x8x16xf32>, tensor<1x8x16xf32>)
  %to0 = onnx.Squeeze %end0, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %run0 = onnx.Range %zero, %to0, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %in0 = onnx.Gather %sorted, %run0 : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %wgu0 = onnx.Squeeze %gu0, %first : (tensor<1x16x16xf32>, tensor<1xi64>) -> tensor<16x16xf32>
  %r0 = onnx.MatMul %in0, %wgu0 : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  %to1 = onnx.Squeeze %end1, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %run1 = onnx.Range %to0, %to1, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %in1 = onnx.Gather %sorted, %run1 : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %wgu1 = onnx.Squeeze %gu1, %first : (tensor<1x16x16xf32>, tensor<1xi64>) -> tensor<16x16xf32>
  %r1 = onnx.MatMul %in1, %wgu1 : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  %all = onnx.Concat %r0, %r1 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %all {axis = 1 : i64, num_outputs = 2 : i64}
      : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act0 = onnx.Gather %act, %run0 : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %wd0 = onnx.Squeeze %d0, %first : (tensor<1x8x16xf32>, tensor<1xi64>) -> tensor<8x16xf32>
  %o0 = onnx.MatMul %act0, %wd0 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %act1 = onnx.Gather %act, %run1 : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %wd1 = onnx.Squeeze %d1, %first : (tensor<1x8x16xf32>, tensor<1xi64>) -> tensor<8x16xf32>
  %o1 = onnx.MatMul %act1, %wd1 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %results = onnx.Concat %o0, %o1 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %sortedWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %results, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %orderShape = onnx.Shape %order : (tensor<?xi64>) -> tensor<1xi64>
  %blank = onnx.Expand %zero, %orderShape : (tensor<i64>, tensor<1xi64>) -> tensor<?xi64>
  %count = onnx.Squeeze %orderShape, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %numbers = onnx.Range %zero, %count, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %inverse = onnx.ScatterND %blank, %orderColumn, %numbers
      : (tensor<?xi64>, tensor<?x1xi64>, tensor<?xi64>) -> tensor<?xi64>
  %inverseColumn = onnx.Unsqueeze %inverse, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %back = onnx.GatherND %weighted, %inverseColumn : (tensor<?x16xf32>, tensor<?x1xi64>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %back, %triple : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %sum = onnx.ReduceSum %perSlot, %k {keepdims = 0 : i64} : (tensor<?x1x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}

// -----

// Both experts have the matrix of the first.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @gate_up : tensor<2x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @down : tensor<2x8x16xf32> #emoe.source<"m", 12288, f32, [128, 16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %gate_up = onnx.initializer @gate_up : tensor<2x16x16xf32>
  %down = onnx.initializer @down : tensor<2x8x16xf32>
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
  %zero = onnx.constant dense<0> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<i64>
  %no = onnx.constant dense<false> : tensor<i1>
  %most = onnx.constant dense<1> : tensor<i64>
  %oneFloat = onnx.constant dense<1.0> : tensor<f32>
  %none = onnx.constant dense<0.0> : tensor<2xf32>
  %triple = onnx.constant dense<[-1, 1, 16]> : tensor<3xi64>
  %logits = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x2xf32>) -> tensor<1x?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<1x?x2xf32>) -> tensor<1x?x2xf32>
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %pair = onnx.constant dense<[-1, 2]> : tensor<2xi64>
  %flatScores = onnx.Reshape %scores, %pair : (tensor<1x?x2xf32>, tensor<2xi64>) -> tensor<?x2xf32>
  %weights, %chosen = onnx.TopK %flatScores, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %pairs = onnx.Reshape %chosen, %last : (tensor<?x1xi64>, tensor<1xi64>) -> tensor<?xi64>
  %pairShape = onnx.Shape %pairs : (tensor<?xi64>) -> tensor<1xi64>
  %sortedIds, %order = onnx.TopK %pairs, %pairShape {largest = 0 : i64}
      : (tensor<?xi64>, tensor<1xi64>) -> (tensor<?xi64>, tensor<?xi64>)
  %slots = onnx.constant dense<1> : tensor<i64>
  %tokens = onnx.Div %order, %slots : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %tokenColumn = onnx.Unsqueeze %tokens, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %sorted = onnx.GatherND %hs, %tokenColumn : (tensor<?x16xf32>, tensor<?x1xi64>) -> tensor<?x16xf32>
  %flatWeights = onnx.Reshape %weights, %last : (tensor<?x1xf32>, tensor<1xi64>) -> tensor<?xf32>
  %orderColumn = onnx.Unsqueeze %order, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %sortedWeights = onnx.GatherND %flatWeights, %orderColumn : (tensor<?xf32>, tensor<?x1xi64>) -> tensor<?xf32>
  %binShape = onnx.Shape %sortedIds : (tensor<?xi64>) -> tensor<1xi64>
  %ones = onnx.Expand %oneFloat, %binShape : (tensor<f32>, tensor<1xi64>) -> tensor<?xf32>
  %counts = onnx.ScatterElements %none, %sortedIds, %ones {reduction = "add"}
      : (tensor<2xf32>, tensor<?xi64>, tensor<?xf32>) -> tensor<2xf32>
  %sums = onnx.CumSum %counts, %zero : (tensor<2xf32>, tensor<i64>) -> tensor<2xf32>
  %ends = onnx.Cast %sums {to = i64} : (tensor<2xf32>) -> tensor<2xi64>
  %end0, %end1 = onnx.Split %ends {num_outputs = 2 : i64} : (tensor<2xi64>) -> (tensor<1xi64>, tensor<1xi64>)
  %gu0, %gu1 = onnx.Split %gate_up {num_outputs = 2 : i64}
      : (tensor<2x16x16xf32>) -> (tensor<1x16x16xf32>, tensor<1x16x16xf32>)
  %d0, %d1 = onnx.Split %down {num_outputs = 2 : i64} : (tensor<2x8x16xf32>) -> (tensor<1x8x16xf32>, tensor<1x8x16xf32>)
  %to0 = onnx.Squeeze %end0, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %run0 = onnx.Range %zero, %to0, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %in0 = onnx.Gather %sorted, %run0 : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %wgu0 = onnx.Squeeze %gu0, %first : (tensor<1x16x16xf32>, tensor<1xi64>) -> tensor<16x16xf32>
  %r0 = onnx.MatMul %in0, %wgu0 : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  %to1 = onnx.Squeeze %end1, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %run1 = onnx.Range %to0, %to1, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %in1 = onnx.Gather %sorted, %run1 : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %wgu1 = onnx.Squeeze %gu0, %first : (tensor<1x16x16xf32>, tensor<1xi64>) -> tensor<16x16xf32>
  %r1 = onnx.MatMul %in1, %wgu1 : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  // expected-error @+1 {{matrices are not parts of one stacked tensor}}
  %all = onnx.Concat %r0, %r1 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %all {axis = 1 : i64, num_outputs = 2 : i64}
      : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act0 = onnx.Gather %act, %run0 : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %wd0 = onnx.Squeeze %d0, %first : (tensor<1x8x16xf32>, tensor<1xi64>) -> tensor<8x16xf32>
  %o0 = onnx.MatMul %act0, %wd0 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %act1 = onnx.Gather %act, %run1 : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %wd1 = onnx.Squeeze %d1, %first : (tensor<1x8x16xf32>, tensor<1xi64>) -> tensor<8x16xf32>
  %o1 = onnx.MatMul %act1, %wd1 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %results = onnx.Concat %o0, %o1 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %sortedWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %results, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %orderShape = onnx.Shape %order : (tensor<?xi64>) -> tensor<1xi64>
  %blank = onnx.Expand %zero, %orderShape : (tensor<i64>, tensor<1xi64>) -> tensor<?xi64>
  %count = onnx.Squeeze %orderShape, %first : (tensor<1xi64>, tensor<1xi64>) -> tensor<i64>
  %numbers = onnx.Range %zero, %count, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %inverse = onnx.ScatterND %blank, %orderColumn, %numbers
      : (tensor<?xi64>, tensor<?x1xi64>, tensor<?xi64>) -> tensor<?xi64>
  %inverseColumn = onnx.Unsqueeze %inverse, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %back = onnx.GatherND %weighted, %inverseColumn : (tensor<?x16xf32>, tensor<?x1xi64>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %back, %triple : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %sum = onnx.ReduceSum %perSlot, %k {keepdims = 0 : i64} : (tensor<?x1x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
