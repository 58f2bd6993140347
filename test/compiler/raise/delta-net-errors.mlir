// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics
// Gated delta nets that are not one, or whose state the model does not keep.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{update_rule "delta", state_window 0) is not supported}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %kf, %v, %state, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, update_rule = "delta", operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x4x4x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{divides only one of query and key by its length}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %k, %v, %state, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x4x4x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{a gated delta net with 3 heads of queries and 4 of values in rows of 8, 8 and 16}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %kf, %v, %state, %g, %r
      {q_num_heads = 3 : i64, kv_num_heads = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x4x4x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{is not an input of the model of [batch, heads, key size, value size]}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %kf, %v, %pastK, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{starts anew with each call although the model keeps its keys and values}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %kf, %v, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x32xf32> #emoe.source<"m", 2048, f32, [32, 1]>
onnx.tensor @inz : tensor<16x16xf32> #emoe.source<"m", 4096, f32, [16, 1]>
onnx.tensor @ina : tensor<16x4xf32> #emoe.source<"m", 5120, f32, [4, 1]>
onnx.tensor @inb : tensor<16x4xf32> #emoe.source<"m", 5376, f32, [4, 1]>
onnx.tensor @dt : tensor<4xf32> #emoe.source<"m", 5632, f32, [1]>
onnx.tensor @a : tensor<4xf32> #emoe.source<"m", 5648, f32, [1]>
onnx.tensor @gamma : tensor<4xf32> #emoe.source<"m", 5664, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x4x4x4xf32> {onnx.name = "past_recurrent.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x32xf32>
  %inz = onnx.initializer @inz : tensor<16x16xf32>
  %ina = onnx.initializer @ina : tensor<16x4xf32>
  %inb = onnx.initializer @inb : tensor<16x4xf32>
  %dt = onnx.initializer @dt : tensor<4xf32>
  %a = onnx.initializer @a : tensor<4xf32>
  %gamma = onnx.initializer @gamma : tensor<4xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  %z = onnx.MatMul %x, %inz : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %pa = onnx.MatMul %x, %ina : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %pb = onnx.MatMul %x, %inb : (tensor<1x?x16xf32>, tensor<16x4xf32>) -> tensor<1x?x4xf32>
  %sizes = onnx.constant dense<[8, 8, 16]> : tensor<3xi64>
  %q, %k, %v = onnx.Split %p, %sizes {axis = -1 : i64}
      : (tensor<1x?x32xf32>, tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>)
  %cut = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64>
  %whole = onnx.constant dense<[0, 0, 8]> : tensor<3xi64>
  %qh = onnx.Reshape %q, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %kh = onnx.Reshape %k, %cut : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %qn = onnx.LpNormalization %qh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %kn = onnx.LpNormalization %kh {axis = -1 : i64, p = 2 : i64} : (tensor<1x?x2x4xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %half = onnx.constant dense<0.5> : tensor<f32>
  %qs = onnx.Mul %qf, %half : (tensor<1x?x8xf32>, tensor<f32>) -> tensor<1x?x8xf32>
  %g, %r = onnx.com.microsoft.LinearAttentionGate %pa, %dt, %a, %pb
      : (tensor<1x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<1x?x4xf32>) -> (tensor<1x?x4xf32>, tensor<1x?x4xf32>)
  // expected-error @+1 {{that this gated delta net leaves is no output of the model}}
  %y, %left = onnx.com.microsoft.LinearAttention %qs, %kf, %v, %state, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x4x4x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %gated = onnx.com.microsoft.GatedRMSNorm %y, %gamma, %z {epsilon = 1.0e-6 : f32}
      : (tensor<1x?x16xf32>, tensor<4xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %state : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

// A recurrence written out in plain operators, and Mamba's: both make steps of a softplus.
onnx.tensor @table : tensor<32x8xf32> #emoe.source<"m", 0, f32, [8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> (tensor<1x?x8xf32> {onnx.name = "logits"}) {
  %table = onnx.initializer @table : tensor<32x8xf32>
  %x = onnx.Gather %table, %ids : (tensor<32x8xf32>, tensor<1x?xi64>) -> tensor<1x?x8xf32>
  %step = onnx.Softplus %x : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %axis = onnx.constant dense<1> : tensor<i64>
  // expected-error @+1 {{the op onnx.CumSum is not part of a pattern that is recognised here, and the graph has a Softplus as state space layers (Mamba)}}
  %sum = onnx.CumSum %step, %axis : (tensor<1x?x8xf32>, tensor<i64>) -> tensor<1x?x8xf32>
  return %sum : tensor<1x?x8xf32>
}
