// RUN: emoe-opt %s --partition-experts | FileCheck %s
// Experts' weights go to records, everything else stays resident; equal experts share a variant.

// CHECK-DAG: @router {{.*}}placement = "resident"
// CHECK-DAG: @e0.gate {{.*}}placement = #emoe.record<0, 0, gate>
// CHECK-DAG: @e0.up {{.*}}placement = #emoe.record<0, 0, up>
// CHECK-DAG: @e1.down {{.*}}placement = #emoe.record<0, 1, down>
// One panel of gate and one of up (32 columns are padded to 64: 576 bytes each at 4 bits, 1088 at 8), then down.
// CHECK: emoe.records 0 [#emoe.variant<{{.*}}bits = 4{{.*}}, down_offset = 1152, bytes = 4096, chunk_ends = [4096]>,
// CHECK-SAME: #emoe.variant<{{.*}}bits = 8{{.*}}, down_offset = 2176, bytes = 8192, chunk_ends = [8192]>] [0, 1]
#q4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#q8 = #emoe.layout<bits = 8, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @router [2, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #f32}
emoe.weight @e0.gate [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q4}
emoe.weight @e0.up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q4}
emoe.weight @e0.down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #q4}
emoe.weight @e1.gate [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q8}
emoe.weight @e1.up [8, 32] #emoe.source<"m", 0, f32, [32, 1]> {layout = #q8}
emoe.weight @e1.down [32, 8] #emoe.source<"m", 0, f32, [8, 1]> {layout = #q8}

func.func @main(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  %r = emoe.linear %x @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m = emoe.moe silu %x, %i, %w {layer = 0, gate = [@e0.gate, @e1.gate], up = [@e0.up, @e1.up],
      down = [@e0.down, @e1.down]} : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  return %m : tensor<?x32xf32>
}
