// RUN: emoe-opt %s --raise | FileCheck %s
// Scores that are kept small by a hyperbolic tangent before the mask (Gemma, Grok).

// CHECK: func.func @main
// CHECK: emoe.attention
// CHECK-SAME: scale = 0.353553{{.*}} : f32, softcap = 5.000000e+00 : f32
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @proj : tensor<16x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @gate_up : tensor<2x16x16xf32> #emoe.source<"m", 3072, f32, [256, 16, 1]>
onnx.tensor @down : tensor<2x16x8xf32> #emoe.source<"m", 5120, f32, [128, 8, 1]>
onnx.tensor @router : tensor<2x16xf32> #emoe.source<"m", 6144, f32, [16, 1]>

func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %proj = onnx.initializer @proj : tensor<16x16xf32>
  %gate_up = onnx.initializer @gate_up : tensor<2x16x16xf32>
  %down = onnx.initializer @down : tensor<2x16x8xf32>
  %router = onnx.initializer @router : tensor<2x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %k = onnx.constant dense<1> : tensor<1xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %keys = onnx.constant dense<[0, 1, 2]> : tensor<3xi64>
  %queries = onnx.constant dense<[0, 1, 3]> : tensor<3xi64>
  %seen = onnx.constant dense<0.0> : tensor<f32>
  %hidden = onnx.constant dense<0xFF800000> : tensor<f32>
  %factor = onnx.constant dense<0.353553385> : tensor<f32>
  %heads = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %triple = onnx.constant dense<[-1, 1, 16]> : tensor<3xi64>

  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %count = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %positions = onnx.Range %zero, %count, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %kpos = onnx.Unsqueeze %positions, %keys : (tensor<?xi64>, tensor<3xi64>) -> tensor<1x1x1x?xi64>
  %qpos = onnx.Unsqueeze %positions, %queries : (tensor<?xi64>, tensor<3xi64>) -> tensor<1x1x?x1xi64>
  %visible = onnx.LessOrEqual %kpos, %qpos : (tensor<1x1x1x?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %bias = onnx.Where %visible, %seen, %hidden : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>

  %p = onnx.MatMul %x, %proj : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %split = onnx.Reshape %p, %heads : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q0 = onnx.Transpose %split {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %freq = onnx.constant dense<[1.0, 0.5, 0.25, 0.125]> : tensor<4xf32>
  %ax1 = onnx.constant dense<1> : tensor<1xi64>
  %ax2 = onnx.constant dense<2> : tensor<1xi64>
  %ax3 = onnx.constant dense<3> : tensor<1xi64>
  %from0 = onnx.constant dense<0> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %twice = onnx.constant dense<[1, 1, 1, 2]> : tensor<4xi64>
  %waveShape = onnx.constant dense<[1, -1, 8]> : tensor<3xi64>
  %headShape = onnx.constant dense<[1, 2, -1, 8]> : tensor<4xi64>
  %posRow = onnx.Unsqueeze %positions, %from0 : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %posCol = onnx.Unsqueeze %posRow, %ax2 : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<1x?x1xi64>
  %posf = onnx.Cast %posCol {to = f32} : (tensor<1x?x1xi64>) -> tensor<1x?x1xf32>
  %angle = onnx.Mul %posf, %freq : (tensor<1x?x1xf32>, tensor<4xf32>) -> tensor<1x?x4xf32>
  %cos1 = onnx.Cos %angle : (tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
  %cos2 = onnx.Unsqueeze %cos1, %ax3 : (tensor<1x?x4xf32>, tensor<1xi64>) -> tensor<1x?x4x1xf32>
  %cos3 = onnx.Tile %cos2, %twice : (tensor<1x?x4x1xf32>, tensor<4xi64>) -> tensor<1x?x4x2xf32>
  %cos4 = onnx.Reshape %cos3, %waveShape : (tensor<1x?x4x2xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %cos = onnx.Unsqueeze %cos4, %ax1 : (tensor<1x?x8xf32>, tensor<1xi64>) -> tensor<1x1x?x8xf32>
  %sin1 = onnx.Sin %angle : (tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
  %sin2 = onnx.Unsqueeze %sin1, %ax3 : (tensor<1x?x4xf32>, tensor<1xi64>) -> tensor<1x?x4x1xf32>
  %sin3 = onnx.Tile %sin2, %twice : (tensor<1x?x4x1xf32>, tensor<4xi64>) -> tensor<1x?x4x2xf32>
  %sin4 = onnx.Reshape %sin3, %waveShape : (tensor<1x?x4x2xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %sin = onnx.Unsqueeze %sin4, %ax1 : (tensor<1x?x8xf32>, tensor<1xi64>) -> tensor<1x1x?x8xf32>
  %even = onnx.Slice %q0, %from0, %end, %ax3, %ax2 {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x2x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x?x4xf32>
  %odd = onnx.Slice %q0, %ax1, %end, %ax3, %ax2 {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x2x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x?x4xf32>
  %minus = onnx.Neg %odd : (tensor<1x2x?x4xf32>) -> tensor<1x2x?x4xf32>
  %minus5 = onnx.Unsqueeze %minus, %last : (tensor<1x2x?x4xf32>, tensor<1xi64>) -> tensor<1x2x?x4x1xf32>
  %even5 = onnx.Unsqueeze %even, %last : (tensor<1x2x?x4xf32>, tensor<1xi64>) -> tensor<1x2x?x4x1xf32>
  %stacked = onnx.Concat %minus5, %even5 {axis = -1 : i64}
      : (tensor<1x2x?x4x1xf32>, tensor<1x2x?x4x1xf32>) -> tensor<1x2x?x4x2xf32>
  %rotated = onnx.Reshape %stacked, %headShape : (tensor<1x2x?x4x2xf32>, tensor<4xi64>) -> tensor<1x2x?x8xf32>
  %qcos = onnx.Mul %q0, %cos : (tensor<1x2x?x8xf32>, tensor<1x1x?x8xf32>) -> tensor<1x2x?x8xf32>
  %qsin = onnx.Mul %rotated, %sin : (tensor<1x2x?x8xf32>, tensor<1x1x?x8xf32>) -> tensor<1x2x?x8xf32>
  %q = onnx.Add %qcos, %qsin : (tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %kt = onnx.Transpose %q {perm = array<i64: 0, 1, 3, 2>} : (tensor<1x2x?x8xf32>) -> tensor<1x2x8x?xf32>
  %qk = onnx.MatMul %q, %kt : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %scaled = onnx.Mul %qk, %factor : (tensor<1x2x?x?xf32>, tensor<f32>) -> tensor<1x2x?x?xf32>
  %cap = onnx.constant dense<5.0> : tensor<f32>
  %small = onnx.Div %scaled, %cap : (tensor<1x2x?x?xf32>, tensor<f32>) -> tensor<1x2x?x?xf32>
  %tanh = onnx.Tanh %small : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %capped = onnx.Mul %tanh, %cap : (tensor<1x2x?x?xf32>, tensor<f32>) -> tensor<1x2x?x?xf32>
  %masked = onnx.Add %capped, %bias : (tensor<1x2x?x?xf32>, tensor<1x1x?x?xf32>) -> tensor<1x2x?x?xf32>
  %probabilities = onnx.Softmax %masked {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %attended = onnx.MatMul %probabilities, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %attended {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %joined = onnx.Reshape %back, %rows : (tensor<1x?x2x8xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %joined : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>

  %tokens = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.Gemm %tokens, %router {transB = 1 : i64} : (tensor<?x16xf32>, tensor<2x16xf32>) -> tensor<?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %weights, %chosen = onnx.TopK %scores, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %single = onnx.Unsqueeze %tokens, %k : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %ones = onnx.constant dense<[1, 1, 1]> : tensor<3xi64>
  %tiled = onnx.Tile %single, %ones : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %repeated = onnx.Reshape %tiled, %flat : (tensor<?x1x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %column = onnx.Unsqueeze %repeated, %last : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x16x1xf32>
  %wgu = onnx.GatherND %gate_up, %chosen : (tensor<2x16x16xf32>, tensor<?x1xi64>) -> tensor<?x16x16xf32>
  %gu = onnx.MatMul %wgu, %column : (tensor<?x16x16xf32>, tensor<?x16x1xf32>) -> tensor<?x16x1xf32>
  %gus = onnx.Squeeze %gu, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %gus {axis = 1 : i64, num_outputs = 2 : i64} : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %chosen : (tensor<2x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weighted = onnx.Mul %d, %weights : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %slots = onnx.Reshape %weighted, %triple : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x1x16xf32>
  %sum = onnx.ReduceSum %slots, %k {keepdims = 0 : i64} : (tensor<?x1x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
