// Each target's kernels are made of the instruction that it is there for; the baseline's and ARM's without dot
// products are plain vector arithmetic.
// RUN: emoe-opt %s --emit-kernels=target=x86-64-v4-vnni | FileCheck %s --check-prefix=OP
// RUN: emoe-opt %s --emit-kernels=target=x86-64-v4-vnni --lower-tile-products=target=x86-64-v4-vnni | FileCheck %s --check-prefix=VNNI
// RUN: emoe-opt %s --emit-kernels=target=x86-64-v3 --lower-tile-products=target=x86-64-v3 | FileCheck %s --check-prefix=AVX2
// RUN: emoe-opt %s --emit-kernels=target=x86-64-v3-vnni --lower-tile-products=target=x86-64-v3-vnni | FileCheck %s --check-prefix=AVXVNNI
// RUN: emoe-opt %s --emit-kernels=target=aarch64-i8mm --lower-tile-products=target=aarch64-i8mm | FileCheck %s --check-prefix=I8MM
// RUN: emoe-opt %s --emit-kernels=target=aarch64-dotprod --lower-tile-products=target=aarch64-dotprod | FileCheck %s --check-prefix=DOT
// RUN: emoe-opt %s --emit-kernels=target=x86-64 --lower-tile-products=target=x86-64 | FileCheck %s --check-prefix=PLAIN
// RUN: emoe-opt %s --emit-kernels=target=x86-64-v3 "--lower-tile-products=target=x86-64-v3 generic" | FileCheck %s --check-prefix=GENERIC

#q4 = #emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>

// OP-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// OP: emoe.tile_product {{.*}} columns 64 q8 {emoe.tile_bytes = 576 : i64} : !llvm.ptr -> vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>
// OP: emoe.tile_product {{.*}} columns 64 q8 {emoe.tile_bytes = 576 : i64} : !llvm.ptr -> vector<16xf32>{{$}}

// VNNI-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// VNNI: llvm.intr.prefetch
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// VNNI: math.fma
// VNNI-NOT: emoe.tile_product

// AVX2-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// AVX2: llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"
// AVX2: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
// AVX2-NOT: emoe.tile_product

// AVXVNNI-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// AVXVNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"
// AVXVNNI-NOT: emoe.tile_product

// A single row has dot products.
// I8MM-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.smmla.v4i32.v16i8"
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// I8MM-NOT: emoe.tile_product

// DOT-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// DOT-NOT: emoe.tile_product

// PLAIN-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// PLAIN-NOT: call_intrinsic
// PLAIN-NOT: math.fma
// PLAIN: arith.muli

// GENERIC-LABEL: func.func @linear_q4g32f16_n16_k64_q8
// GENERIC-NOT: call_intrinsic
// GENERIC: math.fma
emoe.kernel @linear {family = "linear", k = 64 : i64, layout = #q4, n = 16 : i64, quantized_activations = true}

// Ternary codes are taken out of base 3 by comparing (AVX2, ARM), or not at all: two products of fractions (VNNI).
#ternary = #emoe.layout<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = ternary, panel = 16>

// VNNI-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// VNNI-NOT: arith.cmpi sgt, {{.*}} : vector<64xi8>
// VNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// VNNI: arith.shrsi
// VNNI-NOT: emoe.tile_product

// AVX2-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// AVX2: arith.cmpi sgt, {{.*}} : vector<32xi8>
// AVX2: llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"
// AVX2-NOT: emoe.tile_product

// AVXVNNI-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// AVXVNNI: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"
// AVXVNNI: arith.shrsi
// AVXVNNI-NOT: emoe.tile_product

// I8MM-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// I8MM: arith.cmpi sgt, {{.*}} : vector<16xi8>
// I8MM: llvm.call_intrinsic "llvm.aarch64.neon.smmla.v4i32.v16i8"
// I8MM-NOT: emoe.tile_product

// DOT-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// DOT: arith.cmpi sgt, {{.*}} : vector<16xi8>
// DOT: llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"
// DOT-NOT: emoe.tile_product

// PLAIN-LABEL: func.func @linear_q2g128f16_ternary_n16_k128_q8
// PLAIN-NOT: call_intrinsic
// PLAIN: arith.remui
emoe.kernel @ternary {family = "linear", k = 128 : i64, layout = #ternary, n = 16 : i64, quantized_activations = true}
