// RUN: emoe-opt %s --verify-roundtrip | FileCheck %s
// RUN: emoe-opt %s --mlir-print-op-generic | emoe-opt | FileCheck %s

// What schedule makes: the decisions, as ops.
#int4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>

emoe.weight @norm [1, 32] <"w", 0, f32, [32, 1]> {placement = "resident"}
// CHECK: emoe.records 0 [#emoe.variant<<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>, down_offset = 64, bytes = 4096, chunk_ends = [4096]>] [0, 0]
emoe.records 0 [#emoe.variant<#int4, down_offset = 64, bytes = 4096, chunk_ends = [4096]>] [0, 0]
// CHECK: emoe.table @inv_freq [1.000000e+00, 1.000000e-01]
emoe.table @inv_freq [1.0, 0.1]
// CHECK: emoe.kernel @norm0 {family = "norm"}
emoe.kernel @norm0 {family = "norm"}
// CHECK: emoe.program caches [2, 16] states [128, 64] logits 1 {
emoe.program caches [2, 16] states [128, 64] logits 1 {
  // CHECK: emoe.buffer 0 fixed 0 per_token 128 slot 0
  emoe.buffer 0 fixed 0 per_token 128 slot 0
  // CHECK: emoe.buffer 1 fixed 64 per_token 128 slot 1 wanted
  emoe.buffer 1 fixed 64 per_token 128 slot 1 wanted
  // CHECK: emoe.call @norm0 [#emoe.operand<buffer, 0>, @norm, #emoe.operand<buffer, 1>]
  emoe.call @norm0 [#emoe.operand<buffer, 0>, @norm, #emoe.operand<buffer, 1>]
  // CHECK: emoe.call @norm0 [#emoe.operand<token_ids, 0>, #emoe.operand<keys, 0>, #emoe.operand<values, 0>, #emoe.operand<none, 0>] wanted
  emoe.call @norm0 [#emoe.operand<token_ids, 0>, #emoe.operand<keys, 0>, #emoe.operand<values, 0>, #emoe.operand<none, 0>] wanted
  // CHECK: emoe.call @norm0 [#emoe.operand<state, 1>]
  emoe.call @norm0 [#emoe.operand<state, 1>]
  // CHECK: emoe.look_ahead 1 @norm0 [#emoe.operand<buffer, 0>, @norm, #emoe.operand<buffer, 1>] @norm0 [#emoe.operand<buffer, 1>, @norm, #emoe.operand<buffer, 0>] sigmoid @norm
  emoe.look_ahead 1 @norm0 [#emoe.operand<buffer, 0>, @norm, #emoe.operand<buffer, 1>] @norm0 [#emoe.operand<buffer, 1>, @norm, #emoe.operand<buffer, 0>] sigmoid @norm
  // CHECK: emoe.run_experts 0 top_k 2 {{\[}}[@norm0, @norm0]] [#emoe.operand<buffer, 0>]
  emoe.run_experts 0 top_k 2 [[@norm0, @norm0]] [#emoe.operand<buffer, 0>]
  // CHECK: emoe.buffer 2 fixed 0 per_token 128 slot 0 source
  emoe.buffer 2 fixed 0 per_token 128 slot 0 source
  // CHECK: emoe.call @norm0 [#emoe.operand<buffer, 2>, @norm, #emoe.operand<buffer, 2>] source
  emoe.call @norm0 [#emoe.operand<buffer, 2>, @norm, #emoe.operand<buffer, 2>] source
  // CHECK: emoe.run_experts 0 top_k 2 {{\[}}[@norm0, @norm0]] [#emoe.operand<buffer, 2>] source {capacity = 64 : i64}
  emoe.run_experts 0 top_k 2 [[@norm0, @norm0]] [#emoe.operand<buffer, 2>] source {capacity = 64 : i64}
}
