// RUN: emoe-opt %s --emit-kernels=target=x86-64-v3 --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,FMA
// RUN: emoe-opt %s --emit-kernels=target=x86-64 --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,BASE
// What the families emit for small shapes: one function each, explicit vectors, fused multiply-add where there is one.

// A row of 20 is a vector, four lanes, and zeros up to 64.
// CHECK-LABEL: func.func @add_k20(
// CHECK-SAME: %{{.*}}: !llvm.ptr {{.*}}, %[[FIRST:.*]]: i64, %[[LAST:.*]]: i64)
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[LAST]]
// CHECK: arith.addf %{{.*}} : vector<16xf32>
// CHECK: llvm.intr.masked.load
// CHECK: llvm.intr.masked.load
// CHECK: arith.addf
// CHECK: llvm.intr.masked.store
// CHECK: llvm.intr.masked.store
// CHECK-COUNT-2: llvm.store %{{.*}} : vector<16xf32>
// CHECK-NOT: store
// CHECK: return
emoe.kernel @add {family = "add", k = 20 : i64}

// Combine has one multiply-add for each of its experts, in order.
// CHECK-LABEL: func.func @combine_
// FMA-COUNT-2: math.fma %{{.*}} : vector<16xf32>
// FMA-NOT: math.fma
// BASE-COUNT-2: arith.mulf %{{.*}} : vector<16xf32>
// BASE-NOT: math.fma
// CHECK: return
emoe.kernel @combine {family = "combine", k = 64 : i64, top_k = 2 : i64}

// The mean square divides by the width of a part, once for each of two heads; then an exact square root and division.
// CHECK-LABEL: func.func @norm_
// CHECK-DAG: %[[WIDTH:.*]] = arith.constant 3.200000e+01 : f32
// CHECK: scf.for
// CHECK: scf.for
// CHECK: arith.divf %{{.*}}, %[[WIDTH]] : f32
// CHECK: math.sqrt %{{.*}} : f32
// CHECK: arith.divf
// CHECK-NOT: fastmath
// CHECK: return
emoe.kernel @norm {family = "norm", k = 64 : i64, heads = 2 : i64, epsilon = 1.0e-6 : f32}

// The integers are as wide as the vector until they are stored.
// CHECK-LABEL: func.func @quantize_
// CHECK: arith.divf
// CHECK-COUNT-2: arith.trunci %{{.*}} : vector<16xi32> to vector<16xi8>
// CHECK: return
emoe.kernel @quantize {family = "quantize", k = 64 : i64}
