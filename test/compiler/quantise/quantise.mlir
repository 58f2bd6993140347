// RUN: emoe-opt %s --quantise | FileCheck %s
// RUN: emoe-opt %s --quantise="expert-bits=8 dense-bits=16" | FileCheck %s --check-prefix=WIDE
// RUN: emoe-opt %s --quantise="expert-bits=3 dense-bits=2" | FileCheck %s --check-prefix=THREE
// RUN: emoe-opt %s --quantise="expert-bits=1 group=256" | FileCheck %s --check-prefix=TERNARY
// RUN: emoe-opt %s --quantise=lossless | FileCheck %s --check-prefix=LOSSLESS
// Each weight gets the width of its role: experts, dense, float32 for the router and for vectors.

// CHECK-DAG: @embed {{.*}}<bits = 8, type = f16, group = 32,
// CHECK-DAG: @norm {{.*}}<bits = 32, type = f32, group = 0, {{.*}}panel = 1>
// CHECK-DAG: @router {{.*}}<bits = 32, type = f32, group = 0, {{.*}}panel = 16>
// CHECK-DAG: @e0.up {{.*}}<bits = 4, type = f16, group = 32,
// WIDE-DAG: @embed {{.*}}<bits = 16, type = bf16, group = 0,
// WIDE-DAG: @e0.up {{.*}}<bits = 8, type = f16, group = 32,
// THREE-DAG: @embed {{.*}}<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = centred, panel = 16>
// THREE-DAG: @e0.up {{.*}}<bits = 3, type = f16, group = 128, zero_point = symmetric, codebook = centred, panel = 16>
// TERNARY-DAG: @embed {{.*}}<bits = 8, type = f16, group = 32,
// TERNARY-DAG: @e0.up {{.*}}<bits = 2, type = f16, group = 256, zero_point = symmetric, codebook = ternary, panel = 16>
// WIDE-DAG: @router {{.*}}<bits = 32
// LOSSLESS-DAG: @embed {{.*}}<bits = 16, type = bf16, group = 0,
// LOSSLESS-DAG: @router {{.*}}<bits = 16, type = f16,
// LOSSLESS-DAG: @e0.up {{.*}}<bits = 32, type = f32, group = 0,
emoe.weight @embed [64, 32] #emoe.source<"m", 0, bf16, [32, 1]>
emoe.weight @norm [1, 32] #emoe.source<"m", 4096, f16, [32, 1]>
emoe.weight @router [2, 32] #emoe.source<"m", 4160, f16, [32, 1]>
emoe.weight @e0.up [8, 32] #emoe.source<"m", 8192, f32, [32, 1]>
emoe.weight @e0.down [32, 8] #emoe.source<"m", 9216, f32, [8, 1]>
emoe.weight @e1.up [8, 32] #emoe.source<"m", 10240, f32, [32, 1]>
emoe.weight @e1.down [32, 8] #emoe.source<"m", 11264, f32, [8, 1]>

func.func @main(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = emoe.embedding %ids @embed : (tensor<?xi32>) -> tensor<?x32xf32>
  %n = emoe.norm rms %x @norm {epsilon = 1.0e-6 : f32} : tensor<?x32xf32>
  %r = emoe.linear %n @router : (tensor<?x32xf32>) -> tensor<?x2xf32>
  %i, %w = emoe.route softmax %r {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %m = emoe.moe relu %n, %i, %w {layer = 0, up = [@e0.up, @e1.up], down = [@e0.down, @e1.down]}
      : (tensor<?x32xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %l = emoe.linear %m @embed : (tensor<?x32xf32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}
