// RUN: emoe-opt %s --emit-kernels --split-input-file --verify-diagnostics
// RUN: not emoe-opt %s --emit-kernels=target=m68k 2>&1 | FileCheck %s
// A specification that is none, and a target that is none, are named.

// CHECK: no target is called 'm68k'
// expected-error @+1 {{family}}
emoe.kernel @unknown {family = "no_such_family", k = 64 : i64}
