// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics
// Logits written for an op that it would not read as the graph means them.

// The op chooses fewer experts than were written.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @fc1 : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @fc2 : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @bias : tensor<4xf32> #emoe.source<"m", 16384, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %fc1 = onnx.initializer @fc1 : tensor<4x16x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<4x16x8xf32>
  %bias = onnx.initializer @bias : tensor<4xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %perToken = onnx.constant dense<[1, -1, 1]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %k = onnx.constant dense<2> : tensor<1xi64>
  %unit = onnx.constant dense<1.0> : tensor<f32>
  %tiny = onnx.constant dense<1.0e-30> : tensor<f32>
  %epsilon = onnx.constant dense<1.0e-6> : tensor<f32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %l3 = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %logits = onnx.Reshape %l3, %flat : (tensor<1x?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %neg = onnx.Neg %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %exp = onnx.Exp %neg : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %more = onnx.Add %exp, %unit : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %scores = onnx.Reciprocal %more : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %biased = onnx.Add %scores, %bias : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %v, %chosen = onnx.TopK %biased, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %weights = onnx.GatherElements %scores, %chosen {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %sum = onnx.ReduceSum %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %divisor = onnx.Add %sum, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %share2 = onnx.Div %sum, %divisor : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %share = onnx.Reshape %share2, %perToken : (tensor<?x1xf32>, tensor<3xi64>) -> tensor<1x?x1xf32>
  %clipped = onnx.Clip %weights, %tiny {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?x2xf32>, tensor<f32>) -> tensor<?x2xf32>
  %logs = onnx.Log %clipped : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %size = onnx.Shape %scores : (tensor<?x4xf32>) -> tensor<2xi64>
  %away = onnx.ConstantOfShape %size {value = dense<-1.0e4> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<?x4xf32>
  %written = onnx.ScatterElements %away, %chosen, %logs {axis = 1 : i64}
      : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  // expected-error @+1 {{chooses 1 experts where the graph in front of it chose 2}}
  %y = onnx.com.microsoft.MoE %h, %written, %fc1, %fc2
      {activation_type = "swiglu", swiglu_fusion = 2 : i64, k = 1 : i64, normalize_routing_weights = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<?x4xf32>, tensor<4x16x16xf32>, tensor<4x16x8xf32>) -> tensor<1x?x16xf32>
  %z = onnx.Mul %y, %share : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %z, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}

// -----

// A number that does not vanish beside logarithms.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @fc1 : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @fc2 : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @bias : tensor<4xf32> #emoe.source<"m", 16384, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %fc1 = onnx.initializer @fc1 : tensor<4x16x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<4x16x8xf32>
  %bias = onnx.initializer @bias : tensor<4xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %perToken = onnx.constant dense<[1, -1, 1]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %k = onnx.constant dense<2> : tensor<1xi64>
  %unit = onnx.constant dense<1.0> : tensor<f32>
  %tiny = onnx.constant dense<1.0e-30> : tensor<f32>
  %epsilon = onnx.constant dense<1.0e-6> : tensor<f32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %l3 = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %logits = onnx.Reshape %l3, %flat : (tensor<1x?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %neg = onnx.Neg %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %exp = onnx.Exp %neg : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %more = onnx.Add %exp, %unit : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %scores = onnx.Reciprocal %more : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %biased = onnx.Add %scores, %bias : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %v, %chosen = onnx.TopK %biased, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %weights = onnx.GatherElements %scores, %chosen {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %sum = onnx.ReduceSum %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %divisor = onnx.Add %sum, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %share2 = onnx.Div %sum, %divisor : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %share = onnx.Reshape %share2, %perToken : (tensor<?x1xf32>, tensor<3xi64>) -> tensor<1x?x1xf32>
  %clipped = onnx.Clip %weights, %tiny {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?x2xf32>, tensor<f32>) -> tensor<?x2xf32>
  %logs = onnx.Log %clipped : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %size = onnx.Shape %scores : (tensor<?x4xf32>) -> tensor<2xi64>
  %away = onnx.ConstantOfShape %size {value = dense<-1.0e1> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<?x4xf32>
  // expected-error @+1 {{the op onnx.ScatterElements uses the chosen experts in a way that is not recognised here}}
  %written = onnx.ScatterElements %away, %chosen, %logs {axis = 1 : i64}
      : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %y = onnx.com.microsoft.MoE %h, %written, %fc1, %fc2
      {activation_type = "swiglu", swiglu_fusion = 2 : i64, k = 2 : i64, normalize_routing_weights = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<?x4xf32>, tensor<4x16x16xf32>, tensor<4x16x8xf32>) -> tensor<1x?x16xf32>
  %z = onnx.Mul %y, %share : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %z, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}

// -----

// Logarithms of scores that were clipped where it counts.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @fc1 : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @fc2 : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
onnx.tensor @bias : tensor<4xf32> #emoe.source<"m", 16384, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %fc1 = onnx.initializer @fc1 : tensor<4x16x16xf32>
  %fc2 = onnx.initializer @fc2 : tensor<4x16x8xf32>
  %bias = onnx.initializer @bias : tensor<4xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %perToken = onnx.constant dense<[1, -1, 1]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %k = onnx.constant dense<2> : tensor<1xi64>
  %unit = onnx.constant dense<1.0> : tensor<f32>
  %tiny = onnx.constant dense<1.0e-3> : tensor<f32>
  %epsilon = onnx.constant dense<1.0e-6> : tensor<f32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %l3 = onnx.MatMul %h, %router : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %logits = onnx.Reshape %l3, %flat : (tensor<1x?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %neg = onnx.Neg %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %exp = onnx.Exp %neg : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %more = onnx.Add %exp, %unit : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %scores = onnx.Reciprocal %more : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %biased = onnx.Add %scores, %bias : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %v, %chosen = onnx.TopK %biased, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %weights = onnx.GatherElements %scores, %chosen {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %sum = onnx.ReduceSum %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %divisor = onnx.Add %sum, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %share2 = onnx.Div %sum, %divisor : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %share = onnx.Reshape %share2, %perToken : (tensor<?x1xf32>, tensor<3xi64>) -> tensor<1x?x1xf32>
  // expected-error @+1 {{the op onnx.Clip uses the chosen experts in a way that is not recognised here}}
  %clipped = onnx.Clip %weights, %tiny {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?x2xf32>, tensor<f32>) -> tensor<?x2xf32>
  %logs = onnx.Log %clipped : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %size = onnx.Shape %scores : (tensor<?x4xf32>) -> tensor<2xi64>
  %away = onnx.ConstantOfShape %size {value = dense<-1.0e4> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<?x4xf32>
  %written = onnx.ScatterElements %away, %chosen, %logs {axis = 1 : i64}
      : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %y = onnx.com.microsoft.MoE %h, %written, %fc1, %fc2
      {activation_type = "swiglu", swiglu_fusion = 2 : i64, k = 2 : i64, normalize_routing_weights = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<?x4xf32>, tensor<4x16x16xf32>, tensor<4x16x8xf32>) -> tensor<1x?x16xf32>
  %z = onnx.Mul %y, %share : (tensor<1x?x16xf32>, tensor<1x?x1xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %z, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
