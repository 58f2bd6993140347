// RUN: emoe-opt %s --partition-experts | FileCheck %s
// Down may have another layout than gate and up; experts that differ in down alone are of different variants.

// CHECK: emoe.records 0 [#emoe.variant<{{.*}}codebook = ternary{{.*}}, down_offset = 256, bytes = 4096, chunk_ends = [4096]>,
// CHECK-SAME: #emoe.variant<{{.*}}codebook = ternary{{.*}}, down_offset = 256, bytes = 4096, chunk_ends = [4096]>] [0, 1, 0]
// CHECK-SAME: {down_layouts = [#emoe.layout<bits = 2, {{.*}}codebook = centred, panel = 16>, #emoe.layout<bits = 3, {{.*}}>]}
#t = #emoe.layout<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = ternary, panel = 16>
#c2 = #emoe.layout<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = centred, panel = 16>
#c3 = #emoe.layout<bits = 3, type = f16, group = 128, zero_point = symmetric, codebook = centred, panel = 16>
emoe.weight @e0.up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #t}
emoe.weight @e0.down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #c2}
emoe.weight @e1.up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #t}
emoe.weight @e1.down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #c3}
emoe.weight @e2.up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #t}
emoe.weight @e2.down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #c2}

func.func @main(%x: tensor<?x32xf32>, %i: tensor<?x1xi32>, %w: tensor<?x1xf32>) -> tensor<?x32xf32> {
  %m = emoe.moe relu %x, %i, %w {layer = 0, up = [@e0.up, @e1.up, @e2.up], down = [@e0.down, @e1.down, @e2.down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}
