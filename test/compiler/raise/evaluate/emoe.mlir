// RUN: emoe-opt %s --evaluate | FileCheck %s

// The reference semantics of the emoe dialect. An element of a weight is its own index in the file, so @table is
// [[0, 1], [2, 3], [4, 5]].
emoe.weight @table [3, 2] <"w", 0, f32, [2, 1]>
emoe.weight @table_transposed [3, 2] <"w", 0, f32, [1, 3]>
emoe.weight @three [1, 3] <"w", 0, f32, [3, 1]>
emoe.weight @pair [1, 2] <"w", 4, f32, [2, 1]>
emoe.weight @zero [1, 1] <"w", 0, f32, [1, 1]>
emoe.weight @one [1, 1] <"w", 4, f32, [1, 1]>
emoe.weight @two [1, 1] <"w", 8, f32, [1, 1]>
emoe.weight @three1 [1, 1] <"w", 12, f32, [1, 1]>
emoe.weight @four [1, 1] <"w", 16, f32, [1, 1]>

// CHECK: @embedding: 2x2xf32 [8, 10, 0, 2]
func.func @embedding() -> tensor<2x2xf32> {
  %ids = onnx.constant dense<[2, 0]> : tensor<2xi32>
  %0 = emoe.embedding %ids @table {scale = 2.0 : f32} : (tensor<2xi32>) -> tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// mean(x^2) = 12.5 for both parts of the row; W = [1, 2].
// CHECK: @rms: 1x4xf32 [0.848528, 2.26274, 0, 2.82843]
func.func @rms() -> tensor<1x4xf32> {
  %x = onnx.constant dense<[[3.0, 4.0, 0.0, 5.0]]> : tensor<1x4xf32>
  %0 = emoe.norm rms %x @pair {epsilon = 0.0 : f32, heads = 2} : tensor<1x4xf32>
  return %0 : tensor<1x4xf32>
}

// mean 2, variance 1; W = B = [1, 2].
// CHECK: @layer: 1x2xf32 [0, 4]
func.func @layer() -> tensor<1x2xf32> {
  %x = onnx.constant dense<[[1.0, 3.0]]> : tensor<1x2xf32>
  %0 = emoe.norm layer %x @pair {epsilon = 0.0 : f32, bias = @pair} : tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// CHECK: @linear: 1x3xf32 [2, 8, 14]
// CHECK: @linear: 1x3xf32 [6, 10, 14]
func.func @linear() -> (tensor<1x3xf32>, tensor<1x3xf32>) {
  %x = onnx.constant dense<[[1.0, 2.0]]> : tensor<1x2xf32>
  %0 = emoe.linear %x @table : (tensor<1x2xf32>) -> tensor<1x3xf32>
  %1 = emoe.linear %x @table_transposed {bias = @three} : (tensor<1x2xf32>) -> tensor<1x3xf32>
  return %0, %1 : tensor<1x3xf32>, tensor<1x3xf32>
}

// A quarter turn for the first pair: (a, b) -> (-b, a). At position 0 nothing turns.
// CHECK: @rotary_start: 1x4xf32 [1, 2, 3, 4]
func.func @rotary_start() -> tensor<1x4xf32> attributes {position = 0} {
  %x = onnx.constant dense<[[1.0, 2.0, 3.0, 4.0]]> : tensor<1x4xf32>
  %0 = emoe.rotary half %x {heads = 1, inv_freq = array<f32: 1.57079633, 0.0>} : tensor<1x4xf32>
  return %0 : tensor<1x4xf32>
}
// CHECK: @rotary: 1x4xf32 [-3, 2, 1, 4]
// CHECK: @rotary: 1x4xf32 [-2, 1, 3, 4]
// CHECK: @rotary: 1x4xf32 [-4, 2, -8, 6]
func.func @rotary() -> (tensor<1x4xf32>, tensor<1x4xf32>, tensor<1x4xf32>) attributes {position = 1} {
  %x = onnx.constant dense<[[1.0, 2.0, 3.0, 4.0]]> : tensor<1x4xf32>
  %0 = emoe.rotary half %x {heads = 1, inv_freq = array<f32: 1.57079633, 0.0>} : tensor<1x4xf32>
  %1 = emoe.rotary interleaved %x {heads = 1, inv_freq = array<f32: 1.57079633, 0.0>} : tensor<1x4xf32>
  %2 = emoe.rotary half %x {heads = 2, inv_freq = array<f32: 1.57079633>, magnitude = 2.0 : f32} : tensor<1x4xf32>
  return %0, %1, %2 : tensor<1x4xf32>, tensor<1x4xf32>, tensor<1x4xf32>
}

// Cosine and sine of 1 in 8 digits: 0.5390625 and 0.83984375.
// CHECK: @rotary_digits: 1x2xf32 [0.539062, 0.839844]
func.func @rotary_digits() -> tensor<1x2xf32> attributes {position = 1} {
  %x = onnx.constant dense<[[1.0, 0.0]]> : tensor<1x2xf32>
  %0 = emoe.rotary half %x {heads = 1, inv_freq = array<f32: 1.0>, digits = 8} : tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// Equal scores: the mean of the values that a token sees; two query heads share one key head. A window of 1 sees the
// token alone; a sink of 0 counts as one more value of 0; a score of 1000 is capped to ln 2, so that it counts twice.
// CHECK: @attention: 2x2xf32 [2, 2, 3, 3]
// CHECK: @attention: 2x1xf32 [2, 4]
// CHECK: @attention: 2x1xf32 [1, 2]
// CHECK: @attention: 2x1xf32 [2, 2.66667]
func.func @attention() -> (tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>)
    attributes {position = 0} {
  %q = onnx.constant dense<0.0> : tensor<2x2xf32>
  %k = onnx.constant dense<[[1000.0], [0.0]]> : tensor<2x1xf32>
  %v = onnx.constant dense<[[2.0], [4.0]]> : tensor<2x1xf32>
  %0 = emoe.attention %q, %k, %v {layer = 0, heads = 2, kv_heads = 1, head_dim = 1, scale = 1.0 : f32}
      : (tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x2xf32>
  %zeros = onnx.constant dense<0.0> : tensor<2x1xf32>
  %1 = emoe.attention %zeros, %k, %v {layer = 1, heads = 1, kv_heads = 1, head_dim = 1, scale = 1.0 : f32, window = 1}
      : (tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  %2 = emoe.attention %zeros, %k, %v {layer = 2, heads = 1, kv_heads = 1, head_dim = 1, scale = 1.0 : f32, sinks = @zero}
      : (tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  %ones = onnx.constant dense<1.0> : tensor<2x1xf32>
  %3 = emoe.attention %ones, %k, %v {layer = 3, heads = 1, kv_heads = 1, head_dim = 1, scale = 1.0 : f32,
      softcap = 0.69314718 : f32} : (tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  return %0, %1, %2, %3 : tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>, tensor<2x1xf32>
}
// The next token sees the two before it in the layer's cache.
// CHECK: @attention_next: 1x2xf32 [4, 4]
func.func @attention_next() -> tensor<1x2xf32> attributes {position = 2} {
  %q = onnx.constant dense<0.0> : tensor<1x2xf32>
  %v = onnx.constant dense<6.0> : tensor<1x1xf32>
  %0 = emoe.attention %q, %v, %v {layer = 0, heads = 2, kv_heads = 1, head_dim = 1, scale = 1.0 : f32}
      : (tensor<1x2xf32>, tensor<1x1xf32>, tensor<1x1xf32>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// CHECK: @activate: 1x2xf32 [0, 0.731059]
// CHECK: @activate: 1x2xf32 [0, 0.841192]
// CHECK: @activate: 1x2xf32 [0, 0.841345]
// CHECK: @activate: 1x2xf32 [0, 3]
// CHECK: @activate: 1x2xf32 [0, 9]
func.func @activate() -> (tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>) {
  %x = onnx.constant dense<[[0.0, 1.0]]> : tensor<1x2xf32>
  %0 = emoe.activate silu %x : tensor<1x2xf32>
  %1 = emoe.activate gelu_tanh %x : tensor<1x2xf32>
  %2 = emoe.activate gelu_erf %x : tensor<1x2xf32>
  %y = onnx.constant dense<[[-2.0, 3.0]]> : tensor<1x2xf32>
  %3 = emoe.activate relu %y : tensor<1x2xf32>
  %4 = emoe.activate relu2 %y : tensor<1x2xf32>
  return %0, %1, %2, %3, %4 : tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>
}

// Logits ln 3, 0, ln 2: probabilities 1/2, 1/6, 1/3. Experts come by ascending index.
// CHECK: @route: 1x2xi32 [0, 2]
// CHECK: @route: 1x2xf32 [0.5, 0.333333]
// CHECK: @route: 1x2xf32 [1.2, 0.8]
// CHECK: @route: 1x2xf32 [0.6, 0.4]
// CHECK: @route: 1x2xf32 [0.5, 0.333333]
func.func @route() -> (tensor<1x2xi32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>) {
  %l = onnx.constant dense<[[1.0986122887, 0.0, 0.6931471806]]> : tensor<1x3xf32>
  %0, %1 = emoe.route softmax %l {top_k = 2} : (tensor<1x3xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  %2, %3 = emoe.route softmax %l {top_k = 2, renormalise, scale = 2.0 : f32}
      : (tensor<1x3xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  %4, %5 = emoe.route none %l {top_k = 2, softmax_after} : (tensor<1x3xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  %6, %7 = emoe.route softmax %l {top_k = 2, renormalise, epsilon = 0.16666667 : f32}
      : (tensor<1x3xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  return %0, %1, %3, %5, %7
      : tensor<1x2xi32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>
}

// Of equal scores the lowest index; a bias of 0, 1, 2 chooses the last, whose weight stays the unbiased sigmoid.
// CHECK: @ties: 1x1xi32 [0]
// CHECK: @ties: 1x1xi32 [2]
// CHECK: @ties: 1x1xf32 [0.5]
func.func @ties() -> (tensor<1x1xi32>, tensor<1x1xi32>, tensor<1x1xf32>) {
  %l = onnx.constant dense<0.0> : tensor<1x3xf32>
  %0, %1 = emoe.route none %l {top_k = 1} : (tensor<1x3xf32>) -> (tensor<1x1xi32>, tensor<1x1xf32>)
  %2, %3 = emoe.route sigmoid %l {top_k = 1, selection_bias = @three}
      : (tensor<1x3xf32>) -> (tensor<1x1xi32>, tensor<1x1xf32>)
  return %0, %2, %3 : tensor<1x1xi32>, tensor<1x1xi32>, tensor<1x1xf32>
}

// Expert 0: up 1, down 3; expert 1: up 2, down 4; the gate is the other expert's up.
// Token 1 by expert 0 with weight 1: 3 * relu(1 * 1); token 2 by both: 0.5 * 3 * 2 + 0.25 * 4 * relu(2 * 2).
// CHECK: @moe: 2x1xf32 [3, 7]
// Gated: 3 * relu(2 * 1) * (1 * 1); 0.5 * 3 * 4 * 2 + 0.25 * 4 * 2 * 4.
// CHECK: @moe: 2x1xf32 [6, 20]
func.func @moe() -> (tensor<2x1xf32>, tensor<2x1xf32>) {
  %x = onnx.constant dense<[[1.0], [2.0]]> : tensor<2x1xf32>
  %ids = onnx.constant dense<[[0, 1], [0, 1]]> : tensor<2x2xi32>
  %w = onnx.constant dense<[[1.0, 0.0], [0.5, 0.25]]> : tensor<2x2xf32>
  %0 = emoe.moe relu %x, %ids, %w {layer = 0, up = [@one, @two], down = [@three1, @four]}
      : (tensor<2x1xf32>, tensor<2x2xi32>, tensor<2x2xf32>) -> tensor<2x1xf32>
  %1 = emoe.moe relu %x, %ids, %w {layer = 1, gate = [@two, @one], up = [@one, @two], down = [@three1, @four]}
      : (tensor<2x1xf32>, tensor<2x2xi32>, tensor<2x2xf32>) -> tensor<2x1xf32>
  return %0, %1 : tensor<2x1xf32>, tensor<2x1xf32>
}

// Groups {0, 1} and {2, 3} score 5 and 6 by their two largest: only 2 and 3 count, the others are -1 to the choice.
// CHECK: @groups: 1x2xi32 [2, 3]
// By the largest alone, group 0 wins (5 to 4); the second choice is the larger of its rest and the filling.
// CHECK: @groups: 1x2xi32 [0, 1]
// CHECK: @groups: 1x2xi32 [0, 2]
func.func @groups() -> (tensor<1x2xi32>, tensor<1x2xi32>, tensor<1x2xi32>) {
  %l = onnx.constant dense<[[5.0, 0.0, 4.0, 2.0]]> : tensor<1x4xf32>
  %0, %1 = emoe.route none %l {top_k = 2, groups = 2, group_top = 2, group_fill = -1.0 : f32}
      : (tensor<1x4xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  %2, %3 = emoe.route none %l {top_k = 2, groups = 2, group_fill = -1.0 : f32}
      : (tensor<1x4xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  %4, %5 = emoe.route none %l {top_k = 2, groups = 2, group_fill = 1.0 : f32}
      : (tensor<1x4xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  return %0, %2, %4 : tensor<1x2xi32>, tensor<1x2xi32>, tensor<1x2xi32>
}

// Round one: 2 is chosen; 1.9 is within a tenth of it, 1 is not. Round two: 1.9 is chosen, alone.
// CHECK: @sparse_mixer: 1x2xi32 [0, 2]
// CHECK: @sparse_mixer: 1x2xf32 [0.524979, 1]
func.func @sparse_mixer() -> (tensor<1x2xi32>, tensor<1x2xf32>) {
  %l = onnx.constant dense<[[2.0, 1.0, 1.9]]> : tensor<1x3xf32>
  %0, %1 = emoe.route sparse_mixer %l {top_k = 2, threshold = 0.1 : f32}
      : (tensor<1x3xf32>) -> (tensor<1x2xi32>, tensor<1x2xf32>)
  return %0, %1 : tensor<1x2xi32>, tensor<1x2xf32>
}

// Parts [0, 1] and [2, 3]: column 1 of each, and a column beyond the end; then joined with one shared part.
// CHECK: @heads: 1x2xf32 [1, 3]
// CHECK: @heads: 1x4xf32 [1, 0, 3, 0]
// CHECK: @heads: 1x6xf32 [0, 1, 9, 2, 3, 9]
// CHECK: @heads: 1x4xf32 [0, 2, 4, 6]
// CHECK: @heads: 1x4xf32 [0, 9, 18, 27]
func.func @heads() -> (tensor<1x2xf32>, tensor<1x4xf32>, tensor<1x6xf32>, tensor<1x4xf32>, tensor<1x4xf32>) {
  %x = onnx.constant dense<[[0.0, 1.0, 2.0, 3.0]]> : tensor<1x4xf32>
  %nine = onnx.constant dense<[[9.0]]> : tensor<1x1xf32>
  %0 = emoe.slice_heads %x {heads = 2, start = 1} : (tensor<1x4xf32>) -> tensor<1x2xf32>
  %1 = emoe.slice_heads %x {heads = 2, start = 1} : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %2 = emoe.concat_heads %x, %nine {heads = 2, rhs_heads = 1} : (tensor<1x4xf32>, tensor<1x1xf32>) -> tensor<1x6xf32>
  %3 = emoe.scale %x 2.0 : tensor<1x4xf32>
  %4 = emoe.scale_rows %x, %nine : tensor<1x4xf32>, tensor<1x1xf32>
  return %0, %1, %2, %3, %4 : tensor<1x2xf32>, tensor<1x4xf32>, tensor<1x6xf32>, tensor<1x4xf32>, tensor<1x4xf32>
}

// An expert with biases: gate 1 * 2 + 2 is limited to 3, up 2 * 2 + 1 to 3; silu with alpha 0 is half: 1.5 * (3 + 1) * 3
// + 2.
// CHECK: @biased: 1x1xf32 [20]
func.func @biased() -> tensor<1x1xf32> {
  %x = onnx.constant dense<[[2.0]]> : tensor<1x1xf32>
  %ids = onnx.constant dense<[[0]]> : tensor<1x1xi32>
  %w = onnx.constant dense<[[1.0]]> : tensor<1x1xf32>
  %0 = emoe.moe silu %x, %ids, %w {layer = 0, gate = [@one], up = [@two], down = [@three1], gate_bias = [@two],
      up_bias = [@one], down_bias = [@two], alpha = 0.0 : f32, limit = 3.0 : f32, offset = 1.0 : f32}
      : (tensor<1x1xf32>, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x1xf32>
  return %0 : tensor<1x1xf32>
}

// Scores 1/2, 1/3, 1/6 in some order. Experts 0 and 1 take two choices each: the second choices of tokens 1 and 2 come behind
// the first ones of all tokens and find no room. What is left is divided by its sum, or by 0.6.
// CHECK: @ranked: 3x2xi32 [0, 1, 0, 1, 0, 1]
// CHECK: @ranked: 3x2xf32 [0.5, 0.333333, 0.5, 0, 0, 0.5]
// CHECK: @ranked: 3x2xf32 [1.2, 0.8, 1.66667, 0, 0, 1.66667]
func.func @ranked() -> (tensor<3x2xi32>, tensor<3x2xf32>, tensor<3x2xf32>) attributes {position = 0 : i64} {
  %l = onnx.constant dense<[[1.0986123, 0.6931472, 0.0], [1.0986123, 0.6931472, 0.0], [0.6931472, 1.0986123, 0.0]]>
      : tensor<3x3xf32>
  %0, %1 = emoe.route softmax %l {top_k = 2, capacity = 2, ranked} : (tensor<3x3xf32>) -> (tensor<3x2xi32>, tensor<3x2xf32>)
  %2, %3 = emoe.route softmax %l {top_k = 2, capacity = 2, ranked, renormalise_kept, epsilon = 0.6 : f32, scale = 2.0 : f32}
      : (tensor<3x3xf32>) -> (tensor<3x2xi32>, tensor<3x2xf32>)
  return %0, %1, %3 : tensor<3x2xi32>, tensor<3x2xf32>, tensor<3x2xf32>
}
