// RUN: emoe-opt %s --simplify --raise | FileCheck %s
// Pattern P7: every expert gets every token times the sigmoid of its score, which is zero where it was not chosen.

// CHECK-DAG: emoe.weight @layer0.expert1.gate [8, 16] <"m", 8704, f32, [1, 16]>
// CHECK-DAG: emoe.weight @layer0.expert1.up [8, 16] <"m", 8736, f32, [1, 16]>
// CHECK-DAG: emoe.weight @layer0.expert1.down [16, 8] <"m", 12800, f32, [1, 16]>
// CHECK: func.func @main
// CHECK: %[[H:.*]] = emoe.add
// CHECK: %[[L:.*]] = emoe.linear %[[H]] @layer0.router
// CHECK: %{{.*}}, %[[S:.*]] = emoe.route sigmoid %[[L]] {top_k = 1 : i64}
// CHECK: %[[X:.*]] = emoe.scale_rows %[[H]], %[[S]]
// CHECK: %[[I:.*]], %[[W:.*]] = emoe.route none %[[L]] {softmax_after, top_k = 1 : i64}
// CHECK: emoe.moe silu %[[X]], %[[I]], %[[W]]
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @gateup : tensor<2x16x16xf32> #emoe.source<"m", 7680, f32, [256, 16, 1]>
onnx.tensor @down : tensor<2x8x16xf32> #emoe.source<"m", 12288, f32, [128, 16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x2xf32>
  %gateup = onnx.initializer @gateup : tensor<2x16x16xf32>
  %down = onnx.initializer @down : tensor<2x8x16xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %column = onnx.constant dense<[-1, 1]> : tensor<2xi64>
  %every = onnx.constant dense<[2, -1, 16]> : tensor<3xi64>
  %copies = onnx.constant dense<[2, 1]> : tensor<2xi64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %lowest = onnx.constant dense<0xFF800000> : tensor<f32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %total, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %k = onnx.constant dense<1> : tensor<1xi64>
  %t = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %t, %router : (tensor<?x16xf32>, tensor<16x2xf32>) -> tensor<?x2xf32>
  %values, %chosen = onnx.TopK %logits, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %extents = onnx.Shape %logits : (tensor<?x2xf32>) -> tensor<2xi64>
  %none = onnx.Expand %lowest, %extents : (tensor<f32>, tensor<2xi64>) -> tensor<?x2xf32>
  %only = onnx.ScatterElements %none, %chosen, %values {axis = 1 : i64}
      : (tensor<?x2xf32>, tensor<?x1xi64>, tensor<?x1xf32>) -> tensor<?x2xf32>
  %scores = onnx.Sigmoid %only : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %turned = onnx.Transpose %scores {perm = array<i64: 1, 0>} : (tensor<?x2xf32>) -> tensor<2x?xf32>
  %factor = onnx.Reshape %turned, %column : (tensor<2x?xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %tiled = onnx.Tile %t, %copies : (tensor<?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %scaled = onnx.Mul %tiled, %factor : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %inputs = onnx.Reshape %scaled, %every : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<2x?x16xf32>
  %both = onnx.MatMul %inputs, %gateup : (tensor<2x?x16xf32>, tensor<2x16x16xf32>) -> tensor<2x?x16xf32>
  %gate, %up = onnx.Split %both {axis = -1 : i64, num_outputs = 2 : i64}
      : (tensor<2x?x16xf32>) -> (tensor<2x?x8xf32>, tensor<2x?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<2x?x8xf32>) -> tensor<2x?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<2x?x8xf32>, tensor<2x?x8xf32>) -> tensor<2x?x8xf32>
  %hidden = onnx.Mul %up, %silu : (tensor<2x?x8xf32>, tensor<2x?x8xf32>) -> tensor<2x?x8xf32>
  %made = onnx.MatMul %hidden, %down : (tensor<2x?x8xf32>, tensor<2x8x16xf32>) -> tensor<2x?x16xf32>
  %moe = onnx.ReduceSum %made, %first {keepdims = 0 : i64} : (tensor<2x?x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %back = onnx.Reshape %moe, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %back : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
