// RUN: split-file %s %t
// RUN: emoe-opt %t/model.mlir --quantise --adapt-bitwidth="sensitivity=%t/sensitivity.json kl=0.031" | FileCheck %s
// RUN: emoe-opt %t/model.mlir --quantise --adapt-bitwidth="sensitivity=%t/sensitivity.json kl=0" | FileCheck %s --check-prefix=NONE
// RUN: emoe-opt %t/model.mlir --quantise --adapt-bitwidth="sensitivity=%t/sensitivity.json kl=1" | FileCheck %s --check-prefix=ALL
// Robust experts get fewer bits, sensitive ones keep theirs; dense weights keep what quantise gave them.

// CHECK-DAG: @embed {{.*}}<bits = 8, type = f16, group = 32,
// CHECK-DAG: @e0.up {{.*}}<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = ternary,
// CHECK-DAG: @e0.down {{.*}}<bits = 2, type = f16, group = 128, zero_point = symmetric, codebook = ternary,
// CHECK-DAG: @e1.up {{.*}}<bits = 3, type = f16, group = 64, zero_point = symmetric, codebook = centred,
// CHECK: emoe.moe {{.*}}emoe.widths = ["ternary-128", "3-64"]
// NONE: emoe.widths = ["8-32", "8-32"]
// ALL: emoe.widths = ["ternary-128", "ternary-128"]

//--- sensitivity.json
{"formats": ["ternary-128", "3-64", "8-32"],
 "layers": [[{"probability": 0.3, "losses": [0.01, 0.005, 0]}, {"probability": 0.7, "losses": [0.4, 0.02, 0]}]]}

//--- model.mlir
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
