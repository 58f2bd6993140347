// RUN: emoe-opt %s --schedule | FileCheck %s
// RUN: emoe-opt %s --schedule=exact | FileCheck %s --check-prefix=EXACT
// RUN: emoe-opt %s --schedule=kv-bits=16 | FileCheck %s --check-prefix=HALF
// One layer: activations are quantised once for all that read them, residual additions are epilogues, the last norm
// and the logits run on the wanted rows only.

#q8 = #emoe.layout<bits = 8, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>
#f32 = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 16>
#vec = #emoe.layout<bits = 32, type = f32, group = 0, zero_point = symmetric, codebook = integer, panel = 1>
emoe.weight @embed [64, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = "resident"}
emoe.weight @norm [1, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #vec, placement = "resident"}
emoe.weight @q [32, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = "resident"}
emoe.weight @kv [16, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = "resident"}
emoe.weight @router [2, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #f32, placement = "resident"}
emoe.weight @up0 [8, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = #emoe.record<0, 0, up>}
emoe.weight @down0 [32, 8] #emoe.source<"m", 0, f16, [8, 1]> {layout = #q8, placement = #emoe.record<0, 0, down>}
emoe.weight @up1 [8, 32] #emoe.source<"m", 0, f16, [32, 1]> {layout = #q8, placement = #emoe.record<0, 1, up>}
emoe.weight @down1 [32, 8] #emoe.source<"m", 0, f16, [8, 1]> {layout = #q8, placement = #emoe.record<0, 1, down>}
emoe.records 0 [#emoe.variant<#q8, down_offset = 1088, bytes = 4096, chunk_ends = [4096]>] [0, 0]

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %n = emoe.norm rms %x @norm {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %q = emoe.linear %n @q : (tensor<?x32xf32>) -> tensor<?x32xf32>
  %k = emoe.linear %n @kv : (tensor<?x32xf32>) -> tensor<?x16xf32>
  %qr = emoe.rotary half %q {heads = 2, inv_freq = array<f32: 1.0, 0.1>} : tensor<?x32xf32>
  %a = emoe.attention %qr, %k, %k {layer = 0, heads = 2, kv_heads = 1, head_dim = 16, scale = 0.25 : f32}
      : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x32xf32>
  %o = emoe.linear %a @q : (tensor<?x32xf32>) -> tensor<?x32xf32>
  %h = emoe.add %x, %o : tensor<?x32xf32>
  %n2 = emoe.norm rms %h @norm {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %r = emoe.linear %n2 @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m = emoe.moe relu %n2, %i, %w {layer = 0, up = [@up0, @up1], down = [@down0, @down1]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %y = emoe.add %h, %m : tensor<?x32xf32>
  %n3 = emoe.norm rms %y @norm {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %l = emoe.linear %n3 @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// CHECK-NOT: func.func
// CHECK: emoe.table @inv_freq0
// CHECK: emoe.program caches [1, 16] logits [[LOGITS:[0-9]+]]
// CHECK: emoe.buffer [[LOGITS]] fixed 0 per_token 256 slot {{[0-9]+}} wanted
// CHECK: emoe.call @embed
// CHECK: emoe.call @norm
// CHECK: emoe.call @quantize
// CHECK-NEXT: emoe.call @linear{{[^ ]*}} [{{[^@]*}}@q,
// CHECK-NEXT: emoe.call @linear{{[^ ]*}} [{{[^@]*}}@kv,
// CHECK: emoe.call @rotary{{[^ ]*}} [{{[^@]*}}@inv_freq0,
// CHECK: emoe.call @kv_append{{[^ ]*}} [{{.*}}#emoe.operand<keys, 0>, #emoe.operand<values, 0>]
// CHECK: emoe.call @attention
// CHECK: emoe.call @quantize
// CHECK: emoe.call @linear{{[^ ]*}} [#emoe.operand<buffer, {{[0-9]+}}>, @q, #emoe.operand<buffer, {{[0-9]+}}>, #emoe.operand<buffer, {{[0-9]+}}>]
// CHECK-NEXT: emoe.call @norm
// CHECK: emoe.call @route
// CHECK: emoe.run_experts 0 top_k 1
// CHECK-SAME: [#emoe.operand<none, 0>, #emoe.operand<buffer
// CHECK: emoe.call @combine
// CHECK-NEXT: emoe.call @norm{{.*}} wanted
// CHECK-NEXT: emoe.call @quantize{{.*}} wanted
// CHECK-NEXT: emoe.call @linear{{.*}}#emoe.operand<buffer, [[LOGITS]]>] wanted

// HALF: emoe.call @kv_append{{[^ ]*}}_kvbits16
// HALF: emoe.call @attention{{[^ ]*}}_kvbits16

// EXACT-NOT: emoe.call @quantize
// EXACT: emoe.run_experts 0 top_k 1
// EXACT-SAME: [#emoe.operand<buffer, {{[0-9]+}}>, #emoe.operand<none, 0>
