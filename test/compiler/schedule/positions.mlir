// RUN: emoe-opt %s --schedule | FileCheck %s
// Places of tokens look a table up: the encoder counts in one call, the decoder from chunk to chunk. Two choices by rank.

#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @positions [12, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @router [2, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @up0 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 0, up>}
emoe.weight @down0 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 0, down>}
emoe.weight @up1 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 1, up>}
emoe.weight @down1 [32, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = #emoe.record<0, 1, down>}
emoe.records 0 [#emoe.variant<#f32, down_offset = 4096, bytes = 8192, chunk_ends = [8192]>] [0, 0]

// CHECK-DAG: emoe.kernel @[[ONCE:number_[^ ]*]] {family = "number", n = 12 : i64, padding = 1 : i64, start = 2 : i64}
// CHECK-DAG: emoe.kernel @[[COUNTS:number_[^ ]*]] {family = "number", has_state = true, n = 12 : i64, padding = 1 : i64, start = 2 : i64}
// The weights are divided where the capacity is known.
// CHECK-DAG: emoe.kernel @{{.*}} {family = "route", n = 2 : i64, top_k = 2 : i64}
// CHECK: emoe.program caches [2, 16, 2, 16] states [64] logits
// CHECK: emoe.call @[[ONCE]] [#emoe.operand<token_ids, {{.*}}>, #emoe.operand<buffer, [[N:.*]]>] source
// CHECK: emoe.call @embed{{.*}} [#emoe.operand<buffer, [[N]]>, @positions, {{.*}} source
// CHECK: emoe.run_experts 0 top_k 2 {{.*}} source {capacity = 4 : i64, ranked, weight_floor = 2.500000e-01 : f32, weight_scale = 8.000000e-01 : f32}
// CHECK: emoe.call @[[COUNTS]] [#emoe.operand<token_ids, {{.*}}>, #emoe.operand<buffer, [[D:.*]]>, #emoe.operand<state, 0>]{{$}}
// CHECK: emoe.call @embed{{.*}} [#emoe.operand<buffer, [[D]]>, @positions, {{.*}}]{{$}}
func.func @main(%ids: tensor<?xi32>, %source: tensor<?xi32>) -> tensor<?x64xf32> {
  %n = emoe.number_tokens %source {padding = 1, first = 2, limit = 12} : tensor<?xi32>
  %e = emoe.embedding %n @positions : (tensor<?xi32>) -> tensor<?x32xf32>
  %r = emoe.linear %e @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 2, capacity = 4, ranked, renormalise_kept, epsilon = 0.25 : f32, scale = 0.8 : f32}
      : (tensor<?x2xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %m = emoe.moe relu %e, %i, %w {layer = 0, up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x32xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x32xf32>
  %d = emoe.number_tokens %ids {padding = 1, first = 2, limit = 12, state = 0} : tensor<?xi32>
  %x = emoe.embedding %d @positions : (tensor<?xi32>) -> tensor<?x32xf32>
  %x1 = emoe.attention %x, %x, %x {layer = 0, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %x2 = emoe.attention %x1, %m, %m {layer = 1, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32, bidirectional}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %l = emoe.linear %x2 @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}
