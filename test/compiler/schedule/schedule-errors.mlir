// RUN: emoe-opt %s --schedule --split-input-file --verify-diagnostics
// What cannot become a program is named.

// expected-error @+1 {{schedule needs a function @main with one block}}
module {}

// -----

// expected-error @+1 {{has no layout or placement: run quantise and partition-experts first}}
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f16, [32, 1]>
func.func @main(%ids: tensor<?xi32>) -> tensor<?x32xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  return %x : tensor<?x32xf32>
}

// -----

func.func @main(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // expected-error @+1 {{cannot be scheduled: it is not an op of the raised model}}
  %y = arith.addf %x, %x : tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// -----

#vec = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
emoe.weight @taps [3, 32] #emoe.source<"m", 0, f32, [1, 3]> {layout = #vec, placement = "resident"}
func.func @main(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // expected-error @+1 {{is number 0 in the program, but has state = 1}}
  %y = emoe.short_conv %x @taps {state = 1} : tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// -----

#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32, placement = "resident"}
func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  // expected-error @+1 {{sees later positions, which only an encoder's and those over its result can}}
  %a = emoe.attention %x, %x, %x {layer = 0, heads = 2, kv_heads = 2, head_dim = 16, scale = 1.0 : f32, bidirectional}
      : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %l = emoe.linear %a @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}
