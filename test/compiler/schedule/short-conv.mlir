// RUN: emoe-opt %s --schedule | FileCheck %s
// States are listed with their bytes: rows of 64 floats, one less than taps. All rows go through a convolution, whichever
// logits are wanted.

#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
#vec = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @taps [3, 32] #emoe.source<"m", 0, f32, [1, 3]> {layout = #vec, placement = "resident"}
emoe.weight @wide [4, 32] #emoe.source<"m", 0, f32, [1, 4]> {layout = #vec, placement = "resident"}
emoe.weight @bias [1, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #vec, placement = "resident"}

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %a = emoe.short_conv %x @taps {state = 0} : tensor<?x32xf32>
  %b = emoe.short_conv %a @wide {bias = @bias, state = 1} : tensor<?x32xf32>
  %l = emoe.linear %b @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// CHECK: emoe.program caches [] states [512, 768] logits
// CHECK: emoe.call @short_conv_n3_k32 [#emoe.operand<buffer, 0>, @taps, #emoe.operand<state, 0>, #emoe.operand<buffer, 1>]{{$}}
// CHECK: emoe.call @short_conv_n4_k32_bias [#emoe.operand<buffer, 1>, @wide, #emoe.operand<state, 1>, #emoe.operand<buffer, 2>, @bias]{{$}}
// CHECK: emoe.call @linear{{.*}} wanted
