// RUN: emoe-opt %s --verify-roundtrip | FileCheck %s
// RUN: emoe-opt %s --mlir-print-op-generic | emoe-opt | FileCheck %s

// CHECK: emoe.weight @embed [16, 8] <"w", 0, f16, [8, 1]>
emoe.weight @embed [16, 8] <"w", 0, f16, [8, 1]>
// CHECK: emoe.weight @vector [1, 8] <"w", 256, f32, [8, 1]>
emoe.weight @vector [1, 8] <"w", 256, f32, [8, 1]>
emoe.weight @head_norm [1, 4] <"w", 256, f32, [4, 1]>
emoe.weight @taps [3, 8] <"w", 256, f32, [1, 3]>
emoe.weight @square [8, 8] <"w", 512, f16, [8, 1]>
emoe.weight @narrow [4, 8] <"w", 512, f16, [8, 1]>
emoe.weight @router [2, 8] <"w", 512, f16, [8, 1]>
emoe.weight @pair [1, 2] <"w", 512, f32, [2, 1]>
emoe.weight @up0 [12, 8] <"w", 1024, f16, [8, 1]>
emoe.weight @up1 [12, 8] <"w", 1216, f16, [8, 1]>
emoe.weight @down0 [8, 12] <"w", 2048, f16, [12, 1]>
// CHECK: emoe.weight @down1 [8, 12] <"w", 2240, f16, [1, 8]> {placement = #emoe.record<0, 1, down>}
emoe.weight @down1 [8, 12] <"w", 2240, f16, [1, 8]> {placement = #emoe.record<0, 1, down>}

// CHECK-LABEL: func.func @parts
func.func @parts(%ids: tensor<?xi32>, %narrow: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // CHECK: emoe.embedding %{{.*}} @embed : (tensor<?xi32>) -> tensor<?x8xf32>
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x8xf32>
  // CHECK: emoe.embedding %{{.*}} @embed {scale = 2.000000e+00 : f32}
  %scaled = emoe.embedding %ids @embed {scale = 2.0 : f32} : (tensor<?xi32>) -> tensor<?x8xf32>
  // CHECK: emoe.norm rms %{{.*}} @vector {epsilon = 9.99999997E-7 : f32} : tensor<?x8xf32>
  %n = emoe.norm rms %x @vector {epsilon = 1.0e-6 : f32} : tensor<?x8xf32>
  // CHECK: emoe.norm layer %{{.*}} @head_norm {bias = @head_norm, {{.*}}heads = 2 : i64}
  %l = emoe.norm layer %n @head_norm {bias = @head_norm, epsilon = 1.0e-6 : f32, heads = 2} : tensor<?x8xf32>
  // CHECK: emoe.linear %{{.*}} @narrow : (tensor<?x8xf32>) -> tensor<?x4xf32>
  %k = emoe.linear %l @narrow : (tensor<?x8xf32>) -> tensor<?x4xf32>
  // CHECK: emoe.linear %{{.*}} @square {bias = @vector}
  %q = emoe.linear %l @square {bias = @vector} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.short_conv %{{.*}} @taps {bias = @vector, state = 0 : i64} : tensor<?x8xf32>
  %conv = emoe.short_conv %l @taps {bias = @vector, state = 0} : tensor<?x8xf32>
  // CHECK: emoe.delta_net %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} @vector {decay_bias = @vector, epsilon = 9.99999997E-7 : f32, heads = 8 : i64, key_heads = 4 : i64, log_decay, normalise, scale = 5.000000e-01 : f32, state = 1 : i64}
  %net = emoe.delta_net %l, %l, %l, %l, %l @vector
      {heads = 8, key_heads = 4, scale = 0.5 : f32, decay_bias = @vector, log_decay, normalise, epsilon = 1.0e-6 : f32, state = 1}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.rotary half %{{.*}} {heads = 2 : i64, inv_freq = array<f32: 1.000000e+00, 1.000000e-01>}
  %r = emoe.rotary half %q {heads = 2, inv_freq = array<f32: 1.0, 0.1>} : tensor<?x8xf32>
  // CHECK: emoe.rotary interleaved %{{.*}} {digits = 11 : i64, heads = 1 : i64, inv_freq = array<f32: 1.000000e+00>, magnitude = 5.000000e-01 : f32}
  %ri = emoe.rotary interleaved %k {heads = 1, inv_freq = array<f32: 1.0>, magnitude = 0.5 : f32, digits = 11} : tensor<?x4xf32>
  // CHECK: emoe.attention %{{.*}}, %{{.*}}, %{{.*}} {head_dim = 4 : i64, heads = 2 : i64, kv_heads = 1 : i64, layer = 0 : i64, scale = 5.000000e-01 : f32}
  %a = emoe.attention %r, %ri, %narrow {layer = 0, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.attention {{.*}}sinks = @pair, softcap = 5.000000e+01 : f32, window = 4 : i64
  %w = emoe.attention %a, %ri, %narrow {layer = 1, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32,
      window = 4, softcap = 50.0 : f32, sinks = @pair}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.attention {{.*}}bias_before = 1 : i64, bidirectional, {{.*}}position_bias = array<f32: 1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00>
  %both = emoe.attention %w, %ri, %narrow {layer = 2, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32,
      bidirectional, position_bias = array<f32: 1.0, 2.0, 3.0, 4.0>, bias_before = 1}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.add %{{.*}}, %{{.*}} : tensor<?x8xf32>
  %s = emoe.add %scaled, %w : tensor<?x8xf32>
  // CHECK: emoe.activate gelu_tanh %{{.*}} : tensor<?x8xf32>
  %g = emoe.activate gelu_tanh %s : tensor<?x8xf32>
  // CHECK: emoe.mul %{{.*}}, %{{.*}} : tensor<?x8xf32>
  %m = emoe.mul %g, %s : tensor<?x8xf32>
  // CHECK: emoe.scale %{{.*}} 5.000000e-01 : tensor<?x8xf32>
  %half = emoe.scale %m 0.5 : tensor<?x8xf32>
  // CHECK: emoe.slice_heads %{{.*}} {heads = 2 : i64, start = 3 : i64} : (tensor<?x8xf32>) -> tensor<?x2xf32>
  %cut = emoe.slice_heads %half {heads = 2, start = 3} : (tensor<?x8xf32>) -> tensor<?x2xf32>
  // CHECK: emoe.concat_heads %{{.*}}, %{{.*}} {heads = 2 : i64, rhs_heads = 1 : i64} : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x12xf32>
  %joined = emoe.concat_heads %half, %cut {heads = 2, rhs_heads = 1} : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x12xf32>
  %one = emoe.slice_heads %joined {heads = 1, start = 11} : (tensor<?x12xf32>) -> tensor<?x1xf32>
  // CHECK: emoe.scale_rows %{{.*}}, %{{.*}} : tensor<?x8xf32>, tensor<?x1xf32>
  %gated = emoe.scale_rows %half, %one : tensor<?x8xf32>, tensor<?x1xf32>
  return %gated : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @mixture
func.func @mixture(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %logits = emoe.linear %x @router : (tensor<?x8xf32>) -> tensor<?x2xf32>
  // CHECK: emoe.route softmax %{{.*}} {renormalise, top_k = 1 : i64} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %ids, %weights = emoe.route softmax %logits {top_k = 1, renormalise}
      : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  // CHECK: emoe.moe silu %{{.*}}, %{{.*}}, %{{.*}} {down = [@down0, @down1], gate = [@up0, @up0], layer = 0 : i64, up = [@up0, @up1]}
  %y = emoe.moe silu %x, %ids, %weights {layer = 0, gate = [@up0, @up0], up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x8xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.route sigmoid %{{.*}} {epsilon = 9.99999968E-21 : f32, renormalise, scale = 2.500000e+00 : f32, selection_bias = @pair, top_k = 2 : i64}
  %ids2, %weights2 = emoe.route sigmoid %logits {top_k = 2, renormalise, epsilon = 1.0e-20 : f32, scale = 2.5 : f32,
      selection_bias = @pair} : (tensor<?x2xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // CHECK: emoe.moe relu {{.*}} {down = [@down0, @down1], layer = 1 : i64, up = [@up0, @up1]}
  %z = emoe.moe relu %y, %ids2, %weights2 {layer = 1, up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  // CHECK: emoe.route none %{{.*}} {softmax_after, top_k = 2 : i64}
  %ids3, %weights3 = emoe.route none %logits {top_k = 2, softmax_after}
      : (tensor<?x2xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // CHECK: emoe.route softmax %{{.*}} {capacity = 3 : i64, epsilon = 5.000000e-01 : f32, ranked, renormalise_kept, top_k = 2 : i64}
  %ids4, %weights4 = emoe.route softmax %logits {top_k = 2, capacity = 3, ranked, renormalise_kept, epsilon = 0.5 : f32}
      : (tensor<?x2xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return %z : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @numbers
func.func @numbers(%ids: tensor<?xi32>) -> tensor<?xi32> {
  // CHECK: emoe.number_tokens %{{.*}} {first = 2 : i64, limit = 66 : i64, padding = 1 : i64, state = 0 : i64} : tensor<?xi32>
  %n = emoe.number_tokens %ids {padding = 1, first = 2, limit = 66, state = 0} : tensor<?xi32>
  // CHECK: emoe.number_tokens %{{.*}} {first = 2 : i64, limit = 66 : i64, padding = 1 : i64} : tensor<?xi32>
  %m = emoe.number_tokens %n {padding = 1, first = 2, limit = 66} : tensor<?xi32>
  return %m : tensor<?xi32>
}
