// RUN: emoe-opt %s --schedule | FileCheck %s
// One expert computes with q8 rows, the other with f32 rows: both inputs are there, and hidden rows of either format are
// as far apart as the larger ones, so that pairs do not overlap.

// CHECK-DAG: emoe.kernel @gate_up_q2{{.*}}quantized_activations = true, row_stride = 256 : i64}
// CHECK-DAG: emoe.kernel @linear_q2{{.*}}quantized_activations = true, row_stride = 256 : i64}
// CHECK-DAG: emoe.kernel @gate_up_w32{{.*}}panel = 16>, n = 8 : i64}
// CHECK-DAG: emoe.kernel @linear_w32f32_n32_k8 {
// CHECK: emoe.buffer {{[0-9]+}} fixed 0 per_token 256 slot
// CHECK: emoe.run_experts 0 top_k 1
// CHECK-SAME: #emoe.operand<buffer, {{[0-9]+}}>, #emoe.operand<buffer, {{[0-9]+}}>, #emoe.operand<buffer
#q2 = #emoe.layout<bits = 2, type = f16, group = 64, zero_point = symmetric, codebook = centred, panel = 16>
#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @router [2, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @up0 [8, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q2, placement = #emoe.record<0, 0, up>}
emoe.weight @down0 [32, 8] #emoe.source<"m", 0, f16, [8, 1]> {layout = #q2, placement = #emoe.record<0, 0, down>}
emoe.weight @up1 [8, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = #emoe.record<0, 1, up>}
emoe.weight @down1 [32, 8] #emoe.source<"m", 0, f16, [8, 1]> {layout = #f32, placement = #emoe.record<0, 1, down>}
emoe.records 0 [#emoe.variant<#q2, down_offset = 320, bytes = 4096, chunk_ends = [4096]>,
                #emoe.variant<#f32, down_offset = 2048, bytes = 4096, chunk_ends = [4096]>] [0, 1]

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %r = emoe.linear %x @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m = emoe.moe relu %x, %i, %w {layer = 0, up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %y = emoe.add %x, %m : tensor<?x32xf32>
  %l = emoe.linear %y @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}
