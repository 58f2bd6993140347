// RUN: emoe-opt %s --split-input-file --verify-diagnostics

// One case for each constraint that a verifier checks.

// expected-error @+1 {{bits (5) must be 32, 16, 8, 4, 3 or 2}}
emoe.records 0 [#emoe.layout<bits = 5, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>] [0]

// -----

// expected-error @+1 {{codebook integer does not go with 3 bits}}
emoe.records 0 [#emoe.layout<bits = 3, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>] [0]

// -----

// expected-error @+1 {{codebook ternary does not go with 3 bits}}
emoe.records 0 [#emoe.layout<bits = 3, type = f16, group = 32, zero_point = symmetric, codebook = ternary, panel = 16>] [0]

// -----

// expected-error @+1 {{codebook centred does not go with 4 bits}}
emoe.records 0 [#emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = centred, panel = 16>] [0]

// -----

// expected-error @+1 {{group (32) must be 0 for 16-bit weights: they have no scales}}
emoe.records 0 [#emoe.layout<bits = 16, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>] [0]

// -----

// expected-error @+1 {{group (48) must be a positive multiple of 32}}
emoe.records 0 [#emoe.layout<bits = 4, type = f16, group = 48, zero_point = symmetric, codebook = integer, panel = 16>] [0]

// -----

// expected-error @+1 {{panel (8) must be 1 or 16}}
emoe.records 0 [#emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 8>] [0]

// -----

// expected-error @+1 {{the source needs the name of a file}}
emoe.weight @w [8, 8] <"", 0, f16, [8, 1]>

// -----

// expected-error @+1 {{offset (-4) must not be negative}}
emoe.weight @w [8, 8] <"w", -4, f16, [8, 1]>

// -----

// expected-error @+1 {{element type 'index' must be an integer or float type}}
emoe.weight @w [8, 8] <"w", 0, index, [8, 1]>

// -----

// expected-error @+1 {{stride (-8) must not be negative}}
emoe.weight @w [8, 8] <"w", 0, f16, [-8, 1]>

// -----

// expected-error @+1 {{shape must be two positive extents [rows, columns]}}
emoe.weight @w [8] <"w", 0, f16, [8, 1]>

// -----

// expected-error @+1 {{shape must be two positive extents [rows, columns]}}
emoe.weight @w [0, 8] <"w", 0, f16, [8, 1]>

// -----

// expected-error @+1 {{source must have two strides, one per extent of the shape}}
emoe.weight @w [8, 8] <"w", 0, f16, [1]>

// -----

func.func @f(%ids: tensor<?xi32>) {
  // expected-error @+1 {{weight @nothing is not an emoe.weight of this module}}
  %y = emoe.embedding %ids @nothing : (tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%ids: tensor<?xi32>) {
  // expected-error @+1 {{weight @narrow must be [8, 8], not [8, 4]}}
  %y = emoe.embedding %ids @narrow : (tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%ids: tensor<?xi32>) {
  // expected-error @+1 {{operand and result must have equally many rows, not 'tensor<?xi32>' and 'tensor<4x8xf32>'}}
  %y = emoe.embedding %ids @w : (tensor<?xi32>) -> tensor<4x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{heads (3) must divide the row width (8)}}
  %y = emoe.norm rms %x @v {epsilon = 1.0e-6 : f32, heads = 3} : tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{an rms norm has no bias}}
  %y = emoe.norm rms %x @v {bias = @v, epsilon = 1.0e-6 : f32} : tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @narrow must be [1, 8], not [8, 4]}}
  %y = emoe.norm rms %x @narrow {epsilon = 1.0e-6 : f32} : tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @v must be [1, 4], not [1, 8]}}
  %y = emoe.norm rms %x @v {epsilon = 1.0e-6 : f32, heads = 2} : tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{bias @narrow must be [1, 8], not [8, 4]}}
  %y = emoe.norm layer %x @v {bias = @narrow, epsilon = 1.0e-6 : f32} : tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @narrow must be [8, 8], not [8, 4]}}
  %y = emoe.linear %x @narrow : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @f is not an emoe.weight of this module}}
  %y = emoe.linear %x @f : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{bias @narrow must be [1, 8], not [8, 4]}}
  %y = emoe.linear %x @w {bias = @narrow} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{operand and result must have equally many rows}}
  %y = emoe.linear %x @w : (tensor<?x8xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{heads (0) must divide the row width (8)}}
  %y = emoe.rotary half %x {heads = 0, inv_freq = array<f32: 1.0>} : tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{rotates 6 elements of a head that has 4}}
  %y = emoe.rotary half %x {heads = 2, inv_freq = array<f32: 1.0, 0.1, 0.01>} : tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{digits (25) must be between 8 and 24}}
  %y = emoe.rotary half %x {heads = 2, inv_freq = array<f32: 1.0>, digits = 25} : tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{kv_heads (3) must divide heads (4)}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 4, kv_heads = 3, head_dim = 2, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{query width (8) is not heads * head_dim (16)}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{key and value width (4) is not kv_heads * head_dim (8)}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{result must have the query's type}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<2x4xf32>) {
  // expected-error @+1 {{operand and result must have equally many rows}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32}
      : (tensor<?x8xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{window and layer must not be negative}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32, window = -1}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>) {
  // expected-error @+1 {{sinks @v must be [1, 2], not [1, 8]}}
  %y = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5 : f32, sinks = @v}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{top_k (9) must be 1 to the number of experts (8)}}
  %i, %w = emoe.route softmax %x {top_k = 9} : (tensor<?x8xf32>) -> (tensor<?x9xi32>, tensor<?x9xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{top_k (-1) must be 1 to the number of experts (8)}}
  %i, %w = emoe.route softmax %x {top_k = -1} : (tensor<?x8xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{results must be top_k (2) wide}}
  %i, %w = emoe.route softmax %x {top_k = 2} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x3xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{operand and result must have equally many rows}}
  %i, %w = emoe.route softmax %x {top_k = 2} : (tensor<?x8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{selection_bias @narrow must be [1, 8], not [8, 4]}}
  %i, %w = emoe.route softmax %x {top_k = 2, selection_bias = @narrow} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{has no experts}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [], down = []}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{lists 1 up, 2 down and 0 gate weights; they must be equally many}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w], down = [@w, @w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{lists 1 up, 1 down and 2 gate weights; they must be equally many}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, gate = [@w, @w], up = [@w], down = [@w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{expert weights must be symbols}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [1], down = [@w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{result must have the input's type}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w], down = [@w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x1xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{ids and weights must be equally wide}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w], down = [@w]}
      : (tensor<?x8xf32>, tensor<?x1xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<3x2xi32>, %w: tensor<3x2xf32>) {
  // expected-error @+1 {{operand and result must have equally many rows}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w], down = [@w]}
      : (tensor<?x8xf32>, tensor<3x2xi32>, tensor<3x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{up @narrow must be [8, 8], not [8, 4]}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, gate = [@w, @w], up = [@w, @narrow], down = [@w, @w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{gate @narrow must be [8, 8], not [8, 4]}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, gate = [@w, @narrow], up = [@w, @w], down = [@w, @w]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
// expected-note @+1 {{the weight is here}}
emoe.weight @narrow [8, 4] <"w", 0, f16, [4, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{down @narrow must be [8, 8], not [8, 4]}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w, @w], down = [@w, @narrow]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [8, 8] <"w", 0, f16, [8, 1]>
emoe.weight @v [1, 8] <"w", 0, f16, [8, 1]>
func.func @f(%x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{down @nothing is not an emoe.weight of this module}}
  %y = emoe.moe silu %x, %i, %w {layer = 0, up = [@w], down = [@nothing]}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// expected-error @+1 {{variants must be #emoe.variant attributes}}
emoe.records 0 [1] [0]

// -----

#int4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
// expected-error @+1 {{variant 1 does not exist: there are 1}}
emoe.records 0 [#emoe.variant<#int4, down_offset = 64, bytes = 4096, chunk_ends = [4096]>] [0, 1]

// -----

// expected-error @+1 {{layer (0) must be at least 1: the first mixture layer has none before it}}
emoe.look_ahead 0 @n [@a, @b, @c] @r [@c, @d, @e] softmax

// -----

// expected-error @+1 {{operands must be input, weight, output and perhaps a bias, not 2}}
emoe.look_ahead 1 @n [@a, @b] @r [@b, @d, @e] softmax

// -----

// expected-error @+1 {{router_operands must be input, weight, output and perhaps a bias, not 5}}
emoe.look_ahead 1 @n [@a, @b, @c] @r [@c, @d, @e, @f, @g] softmax

// -----

// expected-error @+1 {{router_operands must be symbols or #emoe.operand attributes}}
emoe.look_ahead 1 @n [@a, @b, @c] @r [@c, 1, @e] softmax

// -----

// expected-error @+1 {{the router must read what the norm writes}}
emoe.look_ahead 1 @n [@a, @b, @c] @r [@a, @d, @e] softmax

// -----

func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @none is not an emoe.weight of this module}}
  %y = emoe.short_conv %x @none {state = 0} : tensor<?x8xf32>
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @taps [3, 4] <"w", 0, f32, [1, 3]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{weight @taps must be [3, 8], not [3, 4]}}
  %y = emoe.short_conv %x @taps {state = 0} : tensor<?x8xf32>
  return
}

// -----

emoe.weight @taps [1, 8] <"w", 0, f32, [1, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{needs two taps at least, not 1: with one it has no state}}
  %y = emoe.short_conv %x @taps {state = 0} : tensor<?x8xf32>
  return
}

// -----

emoe.weight @taps [3, 8] <"w", 0, f32, [1, 3]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{state must not be negative}}
  %y = emoe.short_conv %x @taps {state = -1} : tensor<?x8xf32>
  return
}

// -----

func.func @windowed(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>) {
  // expected-error @+1 {{a bidirectional attention has no window}}
  %a = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5 : f32, bidirectional, window = 2}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @ragged(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>) {
  // expected-error @+1 {{position_bias must be a table [heads, distances] with bias_before inside a row}}
  %a = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5 : f32,
      position_bias = array<f32: 1.0, 2.0, 3.0>}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @outside(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>) {
  // expected-error @+1 {{position_bias must be a table [heads, distances] with bias_before inside a row}}
  %a = emoe.attention %q, %k, %k {layer = 0, heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5 : f32,
      position_bias = array<f32: 1.0, 2.0>, bias_before = 1}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @capacity(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{capacity must not be negative}}
  %i, %w = emoe.route softmax %l {top_k = 1, capacity = -1} : (tensor<?x8xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

// expected-note @+1 {{the weight is here}}
emoe.weight @w [1, 3] <"w", 0, f32, [3, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{decay @w must be [1, 4], not [1, 3]}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{decay_bias @none is not an emoe.weight of this module}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0, decay_bias = @none} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{key_heads (3) must divide heads (4)}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 3, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{query and key must have the same type}}
  %y = emoe.delta_net %q, %g, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 3] <"w", 0, f32, [3, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{key_heads must divide the width of query and key (8), and heads that of value (8)}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 3, key_heads = 3, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{needs one decay and one rate for each of its 4 heads, not 4 and 8}}
  %y = emoe.delta_net %q, %q, %q, %g, %q @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{result must have the value's type}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{state must not be negative}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = -1} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 4] <"w", 0, f32, [4, 1]>
func.func @f(%q: tensor<?x8xf32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{epsilon must not be negative}}
  %y = emoe.delta_net %q, %q, %q, %g, %g @w {heads = 4, key_heads = 2, scale = 1.0 : f32, state = 0, epsilon = -1.0 : f32} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

emoe.weight @w [1, 8] <"w", 0, f32, [8, 1]>
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{a layer norm adds nothing to its weights}}
  %y = emoe.norm layer %x @w {epsilon = 1.0e-5 : f32, offset = 1.0 : f32} : tensor<?x8xf32>
  return
}

// -----

func.func @ranked(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{ranked and renormalise_kept are for two choices by softmax with a capacity}}
  %i, %w = emoe.route softmax %l {top_k = 2, ranked} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @kept_without_floor(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{renormalise_kept divides by epsilon at least, which must be positive}}
  %i, %w = emoe.route softmax %l {top_k = 2, capacity = 3, renormalise_kept}
      : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @kept_twice(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{renormalise_kept stands instead of renormalise}}
  %i, %w = emoe.route softmax %l {top_k = 2, capacity = 3, renormalise, renormalise_kept, epsilon = 0.5 : f32}
      : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @numbers(%ids: tensor<?xi32>) {
  // expected-error @+1 {{first (4) must be positive and less than limit (4)}}
  %n = emoe.number_tokens %ids {padding = 1, first = 4, limit = 4} : tensor<?xi32>
  return
}

// -----

func.func @numbered_state(%ids: tensor<?xi32>) {
  // expected-error @+1 {{state must not be negative}}
  %n = emoe.number_tokens %ids {padding = 1, first = 2, limit = 4, state = -1} : tensor<?xi32>
  return
}
