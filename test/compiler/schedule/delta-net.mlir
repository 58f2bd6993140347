// RUN: emoe-opt %s --schedule | FileCheck %s
// The state has a row of 16 floats for each of 8 elements of a key, in each of 2 heads.

#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
#vec = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
emoe.weight @embed [64, 16] #emoe.source<"m", 0, f32, [16, 1]> {layout = #f32, placement = "resident"}
emoe.weight @gate [2, 16] #emoe.source<"m", 0, f32, [16, 1]> {layout = #f32, placement = "resident"}
emoe.weight @keys [8, 16] #emoe.source<"m", 0, f32, [16, 1]> {layout = #f32, placement = "resident"}
emoe.weight @decay [1, 2] #emoe.source<"m", 0, f32, [2, 1]> {layout = #vec, placement = "resident"}

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x16xf32>
  %g = emoe.linear %x @gate : (tensor<?x16xf32>) -> tensor<?x2xf32>
  %k = emoe.linear %x @keys : (tensor<?x16xf32>) -> tensor<?x8xf32>
  %y = emoe.delta_net %k, %k, %x, %g, %g @decay
      {heads = 2, key_heads = 1, scale = 0.5 : f32, normalise, decay_bias = @decay, state = 0}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>, tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x16xf32>
  %l = emoe.linear %y @embed : (tensor<?x16xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// CHECK: emoe.program caches [] states [1024] logits
// CHECK: emoe.call @delta_net_n8_h2_kv1_d8_bias_renorm_scale0p5 [#emoe.operand<buffer, [[K:[0-9]+]]>, #emoe.operand<buffer, [[K]]>, #emoe.operand<buffer, 0>, #emoe.operand<buffer, [[G:[0-9]+]]>, #emoe.operand<buffer, [[G]]>, @decay, #emoe.operand<state, 0>, #emoe.operand<buffer, {{[0-9]+}}>, @decay]{{$}}
