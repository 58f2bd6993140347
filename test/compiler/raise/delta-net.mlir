// RUN: emoe-opt %s --simplify --raise --split-input-file | FileCheck %s
// Gated delta nets: ONNX Runtime's op between ops of its own, and with what stands around it written out.

// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x16xf32>
// CHECK: %[[X:.*]] = emoe.embedding
// CHECK: %[[Y:.*]] = emoe.delta_net %{{.*}} @layer0.decay {decay_bias = @layer0.decay_bias, heads = 4 : i64, key_heads = 2 : i64, normalise, scale = 5.000000e-01 : f32, state = 0 : i64}
// CHECK: emoe.norm rms %[[Y]] {{.*}}heads = 4
// CHECK: emoe.activate silu
// CHECK: emoe.attention
// CHECK-NOT: onnx.
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
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

// CHECK: %[[A:.*]] = emoe.linear %{{.*}} {bias = @{{.*}}} : (tensor<?x16xf32>) -> tensor<?x4xf32>
// CHECK: %[[Y:.*]] = emoe.delta_net %{{.*}}, %{{.*}}, %{{.*}}, %[[A]], %{{.*}} @layer0.decay {heads = 4 : i64, key_heads = 2 : i64, log_decay, normalise, scale = 2.500000e-01 : f32, state = 0 : i64}
// CHECK: emoe.norm rms %[[Y]] {{.*}}heads = 4 {{.*}}offset = 1.0
// CHECK: emoe.attention
// CHECK-NOT: onnx.
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
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %qq = onnx.ReduceSumSquare %qh, %last {keepdims = 1 : i64} : (tensor<1x?x2x4xf32>, tensor<1xi64>) -> tensor<1x?x2x1xf32>
  %ql = onnx.Sqrt %qq : (tensor<1x?x2x1xf32>) -> tensor<1x?x2x1xf32>
  %qn = onnx.Div %qh, %ql : (tensor<1x?x2x4xf32>, tensor<1x?x2x1xf32>) -> tensor<1x?x2x4xf32>
  %kk = onnx.ReduceSumSquare %kh, %last {keepdims = 1 : i64} : (tensor<1x?x2x4xf32>, tensor<1xi64>) -> tensor<1x?x2x1xf32>
  %kl = onnx.Sqrt %kk : (tensor<1x?x2x1xf32>) -> tensor<1x?x2x1xf32>
  %kn = onnx.Div %kh, %kl : (tensor<1x?x2x4xf32>, tensor<1x?x2x1xf32>) -> tensor<1x?x2x4xf32>
  %qf = onnx.Reshape %qn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %kf = onnx.Reshape %kn, %whole : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %r = onnx.Sigmoid %pb : (tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
  %pd = onnx.Add %pa, %dt : (tensor<1x?x4xf32>, tensor<4xf32>) -> tensor<1x?x4xf32>
  %sp = onnx.Softplus %pd : (tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
  %ea = onnx.Exp %a : (tensor<4xf32>) -> tensor<4xf32>
  %na = onnx.Neg %ea : (tensor<4xf32>) -> tensor<4xf32>
  %g = onnx.Mul %na, %sp : (tensor<4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
  %y, %left = onnx.com.microsoft.LinearAttention %qf, %kf, %v, %state, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, scale = 0.25 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
      : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x16xf32>, tensor<1x4x4x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x4x4x4xf32>)
  %parts = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %shifted = onnx.Add %gamma, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %yp = onnx.Reshape %y, %parts : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %zp = onnx.Reshape %z, %parts : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %yn = onnx.RMSNormalization %yp, %shifted {axis = -1 : i64, epsilon = 1.0e-6 : f32} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %zs = onnx.Sigmoid %zp : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %za = onnx.Mul %zp, %zs : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %yz = onnx.Mul %yn, %za : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %back = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %gated = onnx.Reshape %yz, %back : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %gated, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %at, %pk, %pv, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %at, %pk, %pv, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x4x4x4xf32>
}

// -----

// Without normalisation, and with the scale that 0 stands for: 1 / sqrt(4).
// CHECK: emoe.delta_net {{.*}}{decay_bias = @layer0.decay_bias, heads = 4 : i64, key_heads = 2 : i64, scale = 5.000000e-01 : f32, state = 0 : i64}
// CHECK-NOT: onnx.
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
  %y, %left = onnx.com.microsoft.LinearAttention %q, %k, %v, %state, %g, %r
      {q_num_heads = 2 : i64, kv_num_heads = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>}
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
