// RUN: emoe-opt %s --schedule | FileCheck %s
// Each mixture layer but the last gives the next one's norm and router the rows that its own norm reads, before its experts
// run; a layer whose router is not fed by a norm is not looked ahead to.

#q8 = #emoe.layout<bits = 8, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
#vec = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = "resident"}
emoe.weight @norm0 [1, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #vec, placement = "resident"}
emoe.weight @norm1 [1, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #vec, placement = "resident"}
emoe.weight @router0 [2, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @router1 [2, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @bias [1, 2] #emoe.source<"m", 0, f16, [2, 1]> {layout = #vec, placement = "resident"}
emoe.weight @up [8, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = #emoe.record<0, 0, up>}
emoe.weight @down [32, 8] #emoe.source<"m", 0, f16, [8, 1]> {layout = #q8, placement = #emoe.record<0, 0, down>}
emoe.records 0 [#emoe.variant<#q8, down_offset = 1088, bytes = 4096, chunk_ends = [4096]>] [0, 0]
emoe.records 1 [#emoe.variant<#q8, down_offset = 1088, bytes = 4096, chunk_ends = [4096]>] [0, 0]
emoe.records 2 [#emoe.variant<#q8, down_offset = 1088, bytes = 4096, chunk_ends = [4096]>] [0, 0]

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %n0 = emoe.norm rms %x @norm0 {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %r0 = emoe.linear %n0 @router0 : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i0, %w0 = emoe.route softmax %r0 {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m0 = emoe.moe relu %n0, %i0, %w0 {layer = 0, up = [@up, @up], down = [@down, @down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %y0 = emoe.add %x, %m0 : tensor<?x32xf32>
  %n1 = emoe.norm rms %y0 @norm1 {epsilon = 1.0e-5 : f32} : tensor<?x32xf32>
  %r1 = emoe.linear %n1 @router1 : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i1, %w1 = emoe.route sigmoid %r1 {top_k = 1, selection_bias = @bias} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m1 = emoe.moe relu %n1, %i1, %w1 {layer = 1, up = [@up, @up], down = [@down, @down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %y1 = emoe.add %y0, %m1 : tensor<?x32xf32>
  %r2 = emoe.linear %y1 @router1 : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i2, %w2 = emoe.route softmax %r2 {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m2 = emoe.moe relu %y1, %i2, %w2 {layer = 2, up = [@up, @up], down = [@down, @down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %y2 = emoe.add %y1, %m2 : tensor<?x32xf32>
  %n3 = emoe.norm rms %y2 @norm0 {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %l = emoe.linear %n3 @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// The rows of the residual stream are those that the layer's own norm reads; epsilon is that of the norm ahead.
// CHECK: emoe.call @norm{{[^ ]*}} [#emoe.operand<buffer, [[X:[0-9]+]]>, @norm0,
// CHECK: emoe.call @route
// CHECK-NEXT: emoe.look_ahead 1 @[[NORM1:norm[^ ]*]] [#emoe.operand<buffer, [[X]]>, @norm1, #emoe.operand<buffer, [[N:[0-9]+]]>]
// CHECK-SAME: @[[ROUTER:linear[^ ]*]] [#emoe.operand<buffer, [[N]]>, @router1, #emoe.operand<buffer, {{[0-9]+}}>] sigmoid @bias
// CHECK: emoe.run_experts 0
// CHECK: emoe.call @[[NORM1]] [#emoe.operand<buffer, {{[0-9]+}}>, @norm1,
// CHECK-NEXT: emoe.call @[[ROUTER]] [
// CHECK-NOT: emoe.look_ahead
