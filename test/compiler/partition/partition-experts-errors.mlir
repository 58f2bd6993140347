// RUN: emoe-opt %s --partition-experts --split-input-file --verify-diagnostics
// What a record cannot hold is refused.

// expected-error @+1 {{has no layout: run quantise first}}
emoe.weight @up [8, 32] #emoe.source<"m", 0, f32, [32, 1]>
emoe.weight @down [32, 8] #emoe.source<"m", 0, f32, [8, 1]>
func.func @no_layout(%x: tensor<?x32xf32>, %i: tensor<?x1xi32>, %w: tensor<?x1xf32>) -> tensor<?x32xf32> {
  %m = emoe.moe relu %x, %i, %w {layer = 0, up = [@up], down = [@down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}

// -----

#q4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#q8 = #emoe.layout<bits = 8, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @gate [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q4}
// expected-error @+1 {{has another layout than its expert's gate: a record has one for gate and up}}
emoe.weight @up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q8}
emoe.weight @down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #q8}
func.func @two_layouts(%x: tensor<?x32xf32>, %i: tensor<?x1xi32>, %w: tensor<?x1xf32>) -> tensor<?x32xf32> {
  %m = emoe.moe silu %x, %i, %w {layer = 0, gate = [@gate], up = [@up], down = [@down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}

// -----

#q4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#f16 = #emoe.layout<bits = 16, type = f16, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q4}
// expected-error @+1 {{has floats or codes where its expert's gate and up have the other}}
emoe.weight @down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #f16}
func.func @two_formats(%x: tensor<?x32xf32>, %i: tensor<?x1xi32>, %w: tensor<?x1xf32>) -> tensor<?x32xf32> {
  %m = emoe.moe relu %x, %i, %w {layer = 0, up = [@up], down = [@down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}

// -----

#q4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
// expected-error @+1 {{has two places in experts; each needs its own copy of the weight}}
emoe.weight @up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q4}
emoe.weight @down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #q4}
func.func @shared(%x: tensor<?x32xf32>, %i: tensor<?x1xi32>, %w: tensor<?x1xf32>) -> tensor<?x32xf32> {
  %m = emoe.moe relu %x, %i, %w {layer = 0, up = [@up, @up], down = [@down, @down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}
