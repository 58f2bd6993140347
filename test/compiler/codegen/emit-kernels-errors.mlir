// RUN: emoe-opt %s --emit-kernels --split-input-file --verify-diagnostics
// RUN: not emoe-opt %s --emit-kernels=target=m68k 2>&1 | FileCheck %s
// A specification that is none, and a target that is none, are named.

// CHECK: no target is called 'm68k'
// expected-error @+1 {{family}}
emoe.kernel @unknown {family = "no_such_family", k = 64 : i64}

// -----

// expected-error @+1 {{top_k must be from 1 to n}}
module {
  emoe.kernel @route {family = "route", n = 4 : i64, top_k = 5 : i64}
}

// -----

// expected-error @+1 {{heads must be a positive multiple of kv_heads}}
module {
  emoe.kernel @attention {family = "attention", heads = 3 : i64, kv_heads = 2 : i64, head_dim = 8 : i64}
}

// -----

// expected-error @+1 {{kv_bits must be 32 or 16}}
module {
  emoe.kernel @attention {family = "attention", heads = 2 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, kv_bits = 8 : i64}
}

// -----

// expected-error @+1 {{rotated even, from 2 to head_dim}}
module {
  emoe.kernel @rotary {family = "rotary", heads = 3 : i64, head_dim = 8 : i64, rotated = 10 : i64}
}
