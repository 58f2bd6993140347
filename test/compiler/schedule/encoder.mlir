// RUN: emoe-opt %s --schedule | FileCheck %s
// What follows from the encoder's input alone runs once, on its rows: the encoder's layers, which share a cache, and keys
// and values of the attention over its result. Experts with a capacity get their weights.

#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @w [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @router [2, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @up0 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 0, up>}
emoe.weight @down0 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 0, down>}
emoe.weight @up1 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 1, up>}
emoe.weight @down1 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 1, down>}
emoe.records 0 [#emoe.variant<#f32, down_offset = 4096, bytes = 8192, chunk_ends = [8192]>] [0, 0]

// CHECK: emoe.table @position_bias0 [1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00]
// CHECK: emoe.program caches [2, 16, 2, 16, 2, 16] logits
// CHECK: emoe.buffer 0 {{.*}} source
// CHECK: emoe.call @embed{{.*}} source
// CHECK: emoe.call @kv_append{{.*}}#emoe.operand<keys, 0>{{.*}} source
// CHECK: emoe.call @attention{{.*}}#emoe.operand<keys, 0>{{.*}}@position_bias0] source
// CHECK: emoe.call @kv_append{{.*}}#emoe.operand<keys, 0>{{.*}} source
// CHECK: emoe.call @attention{{.*}}#emoe.operand<keys, 0>{{.*}} source
// CHECK: emoe.call @route{{.*}}[#emoe.operand<buffer, {{.*}}>, #emoe.operand<buffer, {{.*}}>, #emoe.operand<buffer, [[W:.*]]>] source
// CHECK: emoe.run_experts 0 top_k 1 {{.*}}#emoe.operand<buffer, [[W]]>] source {capacity = 64 : i64}
// CHECK: emoe.call @combine{{.*}} source
// The decoder.
// CHECK: emoe.call @embed{{.*}}]{{$}}
// CHECK: emoe.call @kv_append{{.*}}#emoe.operand<keys, 1>{{.*}}]{{$}}
// CHECK: emoe.call @attention{{.*}}#emoe.operand<keys, 1>{{.*}}]{{$}}
// CHECK: emoe.call @linear{{.*}} source
// CHECK: emoe.call @kv_append{{.*}}#emoe.operand<keys, 2>{{.*}} source
// CHECK: emoe.call @attention{{.*}}#emoe.operand<keys, 2>{{.*}}]{{$}}
// CHECK: emoe.call @linear{{.*}} wanted
func.func @main(%ids: tensor<?xi32>, %source: tensor<?xi32>) -> tensor<?x64xf32> {
  %e = emoe.embedding %source @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %e1 = emoe.attention %e, %e, %e {layer = 0, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32, bidirectional,
      position_bias = array<f32: 1.0, 2.0, 3.0, 4.0>, bias_before = 1}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %e2 = emoe.attention %e1, %e1, %e1 {layer = 1, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32, bidirectional}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %r = emoe.linear %e2 @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 1, capacity = 64} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m = emoe.moe relu %e2, %i, %w {layer = 0, up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %x1 = emoe.attention %x, %x, %x {layer = 2, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %k = emoe.linear %m @w : (tensor<?x32xf32>) -> tensor<?x32xf32>
  %x2 = emoe.attention %x1, %k, %k {layer = 3, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32, bidirectional}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %l = emoe.linear %x2 @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}
