// RUN: emoe-opt %s --verify-roundtrip | FileCheck %s
// RUN: emoe-opt %s --mlir-print-op-generic | emoe-opt | FileCheck %s

// A row-major matrix, a transposed one, and every second row of one (interleaved gate and up).
// CHECK: emoe.weight @plain [8, 4] <"model.onnx.data", 4096, f16, [4, 1]>
emoe.weight @plain [8, 4] <"model.onnx.data", 4096, f16, [4, 1]>
// CHECK: emoe.weight @transposed [8, 4] <"<model>", 0, f32, [1, 8]>
emoe.weight @transposed [8, 4] <"<model>", 0, f32, [1, 8]>
// CHECK: emoe.weight @gate [4, 4] <"<decoded:w>", 0, bf16, [8, 1]>
emoe.weight @gate [4, 4] <"<decoded:w>", 0, bf16, [8, 1]>
