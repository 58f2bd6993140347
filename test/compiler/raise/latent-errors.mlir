// RUN: emoe-opt %s --simplify --raise --verify-diagnostics
// Keys have a cache, values have none.

onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @wq : tensor<16x12xf32> #emoe.source<"m", 2048, f32, [12, 1]>
onnx.tensor @wa : tensor<16x10xf32> #emoe.source<"m", 4096, f32, [10, 1]>
onnx.tensor @wb : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @wo : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}, %pos: tensor<1x?xi64> {onnx.name = "position_ids"},
                %pastC: tensor<1x1x?x8xf32> {onnx.name = "past.0.keys"}, %pastR: tensor<1x1x?x2xf32> {onnx.name = "past.0.values"})
    -> (tensor<1x?x16xf32>, tensor<1x1x?x8xf32>, tensor<1x1x?x2xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %wq = onnx.initializer @wq : tensor<16x12xf32>
  %wa = onnx.initializer @wa : tensor<16x10xf32>
  %wb = onnx.initializer @wb : tensor<8x16xf32>
  %wo = onnx.initializer @wo : tensor<8x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %a0 = onnx.constant dense<0> : tensor<1xi64>
  %a1 = onnx.constant dense<1> : tensor<1xi64>
  %a2 = onnx.constant dense<2> : tensor<1xi64>
  %a3 = onnx.constant dense<3> : tensor<1xi64>
  %am1 = onnx.constant dense<-1> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %keysAxes = onnx.constant dense<[0, 1, 2]> : tensor<3xi64>
  %queriesAxes = onnx.constant dense<[0, 1, 3]> : tensor<3xi64>
  %qShape = onnx.constant dense<[1, -1, 2, 6]> : tensor<4xi64>
  %kvSplit = onnx.constant dense<[8, 2]> : tensor<2xi64>
  %cShape = onnx.constant dense<[1, 1, -1, 8]> : tensor<4xi64>
  %rShape = onnx.constant dense<[1, 1, -1, 2]> : tensor<4xi64>
  %bShape = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %qSplit = onnx.constant dense<[4, 2]> : tensor<2xi64>
  %bSplit = onnx.constant dense<[4, 4]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 8]> : tensor<3xi64>
  %allHeads = onnx.constant dense<[1, 2, 1, 1]> : tensor<4xi64>
  %freq = onnx.constant dense<1.0> : tensor<1xf32>
  %seen = onnx.constant dense<0.0> : tensor<f32>
  %far = onnx.constant dense<0xFF800000> : tensor<f32>
  %factor = onnx.constant dense<0.408248305> : tensor<f32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64}
      : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %sh = onnx.Shape %ids
      : (tensor<1x?xi64>) -> tensor<*xi64>
  %s = onnx.Gather %sh, %one {axis = 0 : i64}
      : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %psh = onnx.Shape %pastC
      : (tensor<1x1x?x8xf32>) -> tensor<*xi64>
  %two = onnx.constant dense<2> : tensor<i64>
  %p = onnx.Gather %psh, %two {axis = 0 : i64}
      : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %s, %p
      : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %r0 = onnx.Range %zero, %s, %one
      : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %rq = onnx.Add %r0, %p
      : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %rk = onnx.Range %zero, %total, %one
      : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %kpos = onnx.Unsqueeze %rk, %keysAxes
      : (tensor<*xi64>, tensor<3xi64>) -> tensor<*xi64>
  %qpos = onnx.Unsqueeze %rq, %queriesAxes
      : (tensor<*xi64>, tensor<3xi64>) -> tensor<*xi64>
  %vis = onnx.LessOrEqual %kpos, %qpos
      : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %bias = onnx.Where %vis, %seen, %far
      : (tensor<*xi1>, tensor<f32>, tensor<f32>) -> tensor<*xf32>
  %pos2 = onnx.Unsqueeze %pos, %a2
      : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<*xi64>
  %posf = onnx.Cast %pos2 {to = f32}
      : (tensor<*xi64>) -> tensor<*xf32>
  %angle = onnx.Mul %posf, %freq
      : (tensor<*xf32>, tensor<1xf32>) -> tensor<*xf32>
  %angles = onnx.Concat %angle, %angle {axis = -1 : i64}
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %cos = onnx.Cos %angles
      : (tensor<*xf32>) -> tensor<*xf32>
  %sin = onnx.Sin %angles
      : (tensor<*xf32>) -> tensor<*xf32>
  %q = onnx.MatMul %x, %wq
      : (tensor<1x?x16xf32>, tensor<16x12xf32>) -> tensor<*xf32>
  %q4 = onnx.Reshape %q, %qShape
      : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %q4 {perm = array<i64: 0, 2, 1, 3>}
      : (tensor<*xf32>) -> tensor<*xf32>
  %qn, %qr = onnx.Split %qh, %qSplit {axis = 3 : i64}
      : (tensor<*xf32>, tensor<2xi64>) -> (tensor<*xf32>, tensor<*xf32>)
  %kv = onnx.MatMul %x, %wa
      : (tensor<1x?x16xf32>, tensor<16x10xf32>) -> tensor<*xf32>
  %c, %kr = onnx.Split %kv, %kvSplit {axis = 2 : i64}
      : (tensor<*xf32>, tensor<2xi64>) -> (tensor<*xf32>, tensor<*xf32>)
  %c4 = onnx.Reshape %c, %cShape
      : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %kr4 = onnx.Reshape %kr, %rShape
      : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %cosHalf = onnx.Slice %cos, %a0, %a1, %a2, %a1 {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %cosH = onnx.Unsqueeze %cosHalf, %a1
      : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %sinHalf = onnx.Slice %sin, %a0, %a1, %a2, %a1 {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %sinH = onnx.Unsqueeze %sinHalf, %a1
      : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %step = onnx.constant dense<2> : tensor<1xi64>
  %qre = onnx.Slice %qr, %a0, %end, %a3, %step {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %qro = onnx.Slice %qr, %a1, %end, %a3, %step {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %qrec = onnx.Mul %qre, %cosH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qros = onnx.Mul %qro, %sinH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qrx = onnx.Sub %qrec, %qros
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qroc = onnx.Mul %qro, %cosH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qres = onnx.Mul %qre, %sinH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qry = onnx.Add %qroc, %qres
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %qrt = onnx.Concat %qrx, %qry {axis = -1 : i64}
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4e = onnx.Slice %kr4, %a0, %end, %a3, %step {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %kr4o = onnx.Slice %kr4, %a1, %end, %a3, %step {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %kr4ec = onnx.Mul %kr4e, %cosH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4os = onnx.Mul %kr4o, %sinH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4x = onnx.Sub %kr4ec, %kr4os
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4oc = onnx.Mul %kr4o, %cosH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4es = onnx.Mul %kr4e, %sinH
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4y = onnx.Add %kr4oc, %kr4es
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %kr4t = onnx.Concat %kr4x, %kr4y {axis = -1 : i64}
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %presentC = onnx.Concat %pastC, %c4 {axis = 2 : i64}
      : (tensor<1x1x?x8xf32>, tensor<*xf32>) -> tensor<1x1x?x8xf32>
  %presentR = onnx.Concat %pastR, %kr4t {axis = 2 : i64}
      : (tensor<1x1x?x2xf32>, tensor<*xf32>) -> tensor<1x1x?x2xf32>
  %query = onnx.Concat %qn, %qrt {axis = -1 : i64}
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %b = onnx.MatMul %presentC, %wb
      : (tensor<1x1x?x8xf32>, tensor<8x16xf32>) -> tensor<*xf32>
  %b4 = onnx.Reshape %b, %bShape
      : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %bh = onnx.Transpose %b4 {perm = array<i64: 0, 2, 1, 3>}
      : (tensor<*xf32>) -> tensor<*xf32>
  %kn, %v = onnx.Split %bh, %bSplit {axis = 3 : i64}
      : (tensor<*xf32>, tensor<2xi64>) -> (tensor<*xf32>, tensor<*xf32>)
  %krAll = onnx.Expand %presentR, %allHeads
      : (tensor<1x1x?x2xf32>, tensor<4xi64>) -> tensor<*xf32>
  %key = onnx.Concat %kn, %krAll {axis = -1 : i64}
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %keyT = onnx.Transpose %key {perm = array<i64: 0, 1, 3, 2>}
      : (tensor<*xf32>) -> tensor<*xf32>
  %qk = onnx.MatMul %query, %keyT
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %scaled = onnx.Mul %qk, %factor
      : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %masked = onnx.Add %scaled, %bias
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %prob = onnx.Softmax %masked {axis = -1 : i64}
      : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @+1 {{attention whose queries, keys and values do not fit each other is not supported}}
  %att = onnx.MatMul %prob, %qn
      : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Transpose %att {perm = array<i64: 0, 2, 1, 3>}
      : (tensor<*xf32>) -> tensor<*xf32>
  %flat = onnx.Reshape %back, %rows
      : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  %o = onnx.MatMul %flat, %wo
      : (tensor<*xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  return %o, %presentC, %presentR : tensor<1x?x16xf32>, tensor<1x1x?x8xf32>, tensor<1x1x?x2xf32>
}
