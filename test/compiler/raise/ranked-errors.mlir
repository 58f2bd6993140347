// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics
// What is almost two experts a token, or almost numbers of places, is refused.

// Experts are missing.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @places : tensor<12x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @router : tensor<16x3xf32> #emoe.source<"m", 4096, f32, [3, 1]>
onnx.tensor @up0 : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @upb0 : tensor<8xf32> #emoe.source<"m", 9216, f32, [1]>
onnx.tensor @down0 : tensor<16x8xf32> #emoe.source<"m", 10240, f32, [8, 1]>
onnx.tensor @downb0 : tensor<16xf32> #emoe.source<"m", 11264, f32, [1]>
onnx.tensor @up1 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @upb1 : tensor<8xf32> #emoe.source<"m", 13312, f32, [1]>
onnx.tensor @down1 : tensor<16x8xf32> #emoe.source<"m", 14336, f32, [8, 1]>
onnx.tensor @downb1 : tensor<16xf32> #emoe.source<"m", 15360, f32, [1]>
onnx.tensor @up2 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @upb2 : tensor<8xf32> #emoe.source<"m", 17408, f32, [1]>
onnx.tensor @down2 : tensor<16x8xf32> #emoe.source<"m", 18432, f32, [8, 1]>
onnx.tensor @downb2 : tensor<16xf32> #emoe.source<"m", 19456, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %places = onnx.initializer @places : tensor<12x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<2> : tensor<i64>
  %pad = onnx.constant dense<5> : tensor<i64>
  %count = onnx.constant dense<3> : tensor<i64>
  %room = onnx.constant dense<4> : tensor<i64>
  %axis0 = onnx.constant dense<0> : tensor<1xi64>
  %axis1 = onnx.constant dense<1> : tensor<1xi64>
  // Positions: padding is not counted.
  %equal = onnx.Equal %ids, %pad : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi1>
  %not = onnx.Not %equal : (tensor<1x?xi1>) -> tensor<1x?xi1>
  %text = onnx.Cast %not {to = i32} : (tensor<1x?xi1>) -> tensor<1x?xi32>
  %running = onnx.CumSum %text, %one : (tensor<1x?xi32>, tensor<i64>) -> tensor<1x?xi32>
  %only = onnx.Mul %running, %text : (tensor<1x?xi32>, tensor<1x?xi32>) -> tensor<1x?xi32>
  %wide = onnx.Cast %only {to = i64} : (tensor<1x?xi32>) -> tensor<1x?xi64>
  %place = onnx.Add %wide, %two : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %at = onnx.Gather %places, %place {axis = 0 : i64} : (tensor<12x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %at : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %heads = onnx.Reshape %h, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %s {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %y = onnx.Reshape %back, %flat : (tensor<1x?x2x8xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  // Two choices
  %router = onnx.initializer @router : tensor<16x3xf32>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %never = onnx.constant dense<0xFF800000> : tensor<f32>
  %least = onnx.constant dense<1.250000e-01> : tensor<f32>
  %logits = onnx.MatMul %y, %router : (tensor<?x16xf32>, tensor<16x3xf32>) -> tensor<?x3xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c0 = onnx.OneHot %best, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %taken = onnx.Cast %c0 {to = i1} : (tensor<?x3xi64>) -> tensor<?x3xi1>
  %rest = onnx.Where %taken, %never, %logits : (tensor<?x3xi1>, tensor<f32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %next = onnx.ArgMax %rest {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c1 = onnx.OneHot %next, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %run0 = onnx.CumSum %c0, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc0 = onnx.Sub %run0, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %run1 = onnx.CumSum %c1, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc1 = onnx.Sub %run1, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %total = onnx.ReduceSum %c0, %axis0 {keepdims = 1 : i64} : (tensor<?x3xi64>, tensor<1xi64>) -> tensor<1x3xi64>
  %behind = onnx.Add %loc1, %total : (tensor<?x3xi64>, tensor<1x3xi64>) -> tensor<?x3xi64>
  %fits0 = onnx.Less %loc0, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit0 = onnx.Cast %fits0 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m0 = onnx.Mul %c0, %fit0 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %fits1 = onnx.Less %behind, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit1 = onnx.Cast %fits1 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m1 = onnx.Mul %c1, %fit1 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %cf0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps0 = onnx.Mul %scores, %cf0 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w0 = onnx.ReduceSum %ps0, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %cf1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps1 = onnx.Mul %scores, %cf1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w1 = onnx.ReduceSum %ps1, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %both = onnx.Add %w0, %w1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %safe = onnx.Clip %both, %least {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  %n0 = onnx.Div %w0, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %n1 = onnx.Div %w1, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %u0 = onnx.Unsqueeze %n0, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate0 = onnx.Mul %u0, %g0 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %u1 = onnx.Unsqueeze %n1, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate1 = onnx.Mul %u1, %g1 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %gates = onnx.Add %gate0, %gate1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %hot = onnx.Cast %gates {to = i1} : (tensor<?x3xf32>) -> tensor<?x3xi1>
  %mask = onnx.Cast %hot {to = f32} : (tensor<?x3xi1>) -> tensor<?x3xf32>
  %inputs = onnx.Einsum %y, %mask {equation = "bm,be->ebm"} : (tensor<?x16xf32>, tensor<?x3xf32>) -> tensor<3x?x16xf32>
  %drop = onnx.constant dense<8.000000e-01> : tensor<f32>
  %i0 = onnx.constant dense<0> : tensor<i64>
  %up0 = onnx.initializer @up0 : tensor<8x16xf32>
  %upb0 = onnx.initializer @upb0 : tensor<8xf32>
  %down0 = onnx.initializer @down0 : tensor<16x8xf32>
  %downb0 = onnx.initializer @downb0 : tensor<16xf32>
  %in0 = onnx.Gather %inputs, %i0 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a0 = onnx.Gemm %in0, %up0, %upb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.Gemm %r0, %down0, %downb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o0 = onnx.Mul %d0, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col0 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot0 = onnx.Gather %hot, %i0 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one0 = onnx.Cast %hot0 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f0 = onnx.Mul %col0, %one0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z0 = onnx.Einsum %f0, %o0 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i1 = onnx.constant dense<1> : tensor<i64>
  %up1 = onnx.initializer @up1 : tensor<8x16xf32>
  %upb1 = onnx.initializer @upb1 : tensor<8xf32>
  %down1 = onnx.initializer @down1 : tensor<16x8xf32>
  %downb1 = onnx.initializer @downb1 : tensor<16xf32>
  %in1 = onnx.Gather %inputs, %i1 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a1 = onnx.Gemm %in1, %up1, %upb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.Gemm %r1, %down1, %downb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o1 = onnx.Mul %d1, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col1 = onnx.Gather %gates, %i1 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot1 = onnx.Gather %hot, %i1 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one1 = onnx.Cast %hot1 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f1 = onnx.Mul %col1, %one1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z1 = onnx.Einsum %f1, %o1 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.Add %z0, %z1 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  // expected-error @+2 {{the router scores 3 experts, but the graph computes 2: the export lost experts}}
  %more = onnx.Relu %y : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %grown = onnx.Add %sum1, %more : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %out = onnx.Reshape %grown, %join : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %res = onnx.Add %h, %out : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  return %res : tensor<1x?x16xf32>
}

// -----

// Second choices that do not count behind the first ones.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @places : tensor<12x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @router : tensor<16x3xf32> #emoe.source<"m", 4096, f32, [3, 1]>
onnx.tensor @up0 : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @upb0 : tensor<8xf32> #emoe.source<"m", 9216, f32, [1]>
onnx.tensor @down0 : tensor<16x8xf32> #emoe.source<"m", 10240, f32, [8, 1]>
onnx.tensor @downb0 : tensor<16xf32> #emoe.source<"m", 11264, f32, [1]>
onnx.tensor @up1 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @upb1 : tensor<8xf32> #emoe.source<"m", 13312, f32, [1]>
onnx.tensor @down1 : tensor<16x8xf32> #emoe.source<"m", 14336, f32, [8, 1]>
onnx.tensor @downb1 : tensor<16xf32> #emoe.source<"m", 15360, f32, [1]>
onnx.tensor @up2 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @upb2 : tensor<8xf32> #emoe.source<"m", 17408, f32, [1]>
onnx.tensor @down2 : tensor<16x8xf32> #emoe.source<"m", 18432, f32, [8, 1]>
onnx.tensor @downb2 : tensor<16xf32> #emoe.source<"m", 19456, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %places = onnx.initializer @places : tensor<12x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<2> : tensor<i64>
  %pad = onnx.constant dense<5> : tensor<i64>
  %count = onnx.constant dense<3> : tensor<i64>
  %room = onnx.constant dense<4> : tensor<i64>
  %axis0 = onnx.constant dense<0> : tensor<1xi64>
  %axis1 = onnx.constant dense<1> : tensor<1xi64>
  // Positions: padding is not counted.
  %equal = onnx.Equal %ids, %pad : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi1>
  %not = onnx.Not %equal : (tensor<1x?xi1>) -> tensor<1x?xi1>
  %text = onnx.Cast %not {to = i32} : (tensor<1x?xi1>) -> tensor<1x?xi32>
  %running = onnx.CumSum %text, %one : (tensor<1x?xi32>, tensor<i64>) -> tensor<1x?xi32>
  %only = onnx.Mul %running, %text : (tensor<1x?xi32>, tensor<1x?xi32>) -> tensor<1x?xi32>
  %wide = onnx.Cast %only {to = i64} : (tensor<1x?xi32>) -> tensor<1x?xi64>
  %place = onnx.Add %wide, %two : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %at = onnx.Gather %places, %place {axis = 0 : i64} : (tensor<12x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %at : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %heads = onnx.Reshape %h, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %s {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %y = onnx.Reshape %back, %flat : (tensor<1x?x2x8xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  // Two choices
  %router = onnx.initializer @router : tensor<16x3xf32>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %never = onnx.constant dense<0xFF800000> : tensor<f32>
  %least = onnx.constant dense<1.250000e-01> : tensor<f32>
  %logits = onnx.MatMul %y, %router : (tensor<?x16xf32>, tensor<16x3xf32>) -> tensor<?x3xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c0 = onnx.OneHot %best, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %taken = onnx.Cast %c0 {to = i1} : (tensor<?x3xi64>) -> tensor<?x3xi1>
  %rest = onnx.Where %taken, %never, %logits : (tensor<?x3xi1>, tensor<f32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %next = onnx.ArgMax %rest {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c1 = onnx.OneHot %next, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %run0 = onnx.CumSum %c0, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc0 = onnx.Sub %run0, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %run1 = onnx.CumSum %c1, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc1 = onnx.Sub %run1, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %total = onnx.ReduceSum %c0, %axis0 {keepdims = 1 : i64} : (tensor<?x3xi64>, tensor<1xi64>) -> tensor<1x3xi64>
  %behind = onnx.Add %loc1, %total : (tensor<?x3xi64>, tensor<1x3xi64>) -> tensor<?x3xi64>
  %fits0 = onnx.Less %loc0, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit0 = onnx.Cast %fits0 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m0 = onnx.Mul %c0, %fit0 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  // expected-error @+1 {{the op onnx.Less is not part of a pattern}}
  %fits1 = onnx.Less %loc1, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit1 = onnx.Cast %fits1 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m1 = onnx.Mul %c1, %fit1 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %cf0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps0 = onnx.Mul %scores, %cf0 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w0 = onnx.ReduceSum %ps0, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %cf1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps1 = onnx.Mul %scores, %cf1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w1 = onnx.ReduceSum %ps1, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %both = onnx.Add %w0, %w1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %safe = onnx.Clip %both, %least {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  %n0 = onnx.Div %w0, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %n1 = onnx.Div %w1, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %u0 = onnx.Unsqueeze %n0, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate0 = onnx.Mul %u0, %g0 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %u1 = onnx.Unsqueeze %n1, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate1 = onnx.Mul %u1, %g1 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %gates = onnx.Add %gate0, %gate1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %hot = onnx.Cast %gates {to = i1} : (tensor<?x3xf32>) -> tensor<?x3xi1>
  %mask = onnx.Cast %hot {to = f32} : (tensor<?x3xi1>) -> tensor<?x3xf32>
  %inputs = onnx.Einsum %y, %mask {equation = "bm,be->ebm"} : (tensor<?x16xf32>, tensor<?x3xf32>) -> tensor<3x?x16xf32>
  %drop = onnx.constant dense<8.000000e-01> : tensor<f32>
  %i0 = onnx.constant dense<0> : tensor<i64>
  %up0 = onnx.initializer @up0 : tensor<8x16xf32>
  %upb0 = onnx.initializer @upb0 : tensor<8xf32>
  %down0 = onnx.initializer @down0 : tensor<16x8xf32>
  %downb0 = onnx.initializer @downb0 : tensor<16xf32>
  %in0 = onnx.Gather %inputs, %i0 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a0 = onnx.Gemm %in0, %up0, %upb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.Gemm %r0, %down0, %downb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o0 = onnx.Mul %d0, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col0 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot0 = onnx.Gather %hot, %i0 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one0 = onnx.Cast %hot0 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f0 = onnx.Mul %col0, %one0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z0 = onnx.Einsum %f0, %o0 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i1 = onnx.constant dense<1> : tensor<i64>
  %up1 = onnx.initializer @up1 : tensor<8x16xf32>
  %upb1 = onnx.initializer @upb1 : tensor<8xf32>
  %down1 = onnx.initializer @down1 : tensor<16x8xf32>
  %downb1 = onnx.initializer @downb1 : tensor<16xf32>
  %in1 = onnx.Gather %inputs, %i1 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a1 = onnx.Gemm %in1, %up1, %upb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.Gemm %r1, %down1, %downb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o1 = onnx.Mul %d1, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col1 = onnx.Gather %gates, %i1 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot1 = onnx.Gather %hot, %i1 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one1 = onnx.Cast %hot1 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f1 = onnx.Mul %col1, %one1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z1 = onnx.Einsum %f1, %o1 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.Add %z0, %z1 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i2 = onnx.constant dense<2> : tensor<i64>
  %up2 = onnx.initializer @up2 : tensor<8x16xf32>
  %upb2 = onnx.initializer @upb2 : tensor<8xf32>
  %down2 = onnx.initializer @down2 : tensor<16x8xf32>
  %downb2 = onnx.initializer @downb2 : tensor<16xf32>
  %in2 = onnx.Gather %inputs, %i2 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a2 = onnx.Gemm %in2, %up2, %upb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r2 = onnx.Relu %a2 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d2 = onnx.Gemm %r2, %down2, %downb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o2 = onnx.Mul %d2, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col2 = onnx.Gather %gates, %i2 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot2 = onnx.Gather %hot, %i2 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one2 = onnx.Cast %hot2 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f2 = onnx.Mul %col2, %one2 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z2 = onnx.Einsum %f2, %o2 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum2 = onnx.Add %sum1, %z2 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %out = onnx.Reshape %sum2, %join : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  return %out : tensor<1x?x16xf32>
}

// -----

// The first choice does not become minus infinity.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @places : tensor<12x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @router : tensor<16x3xf32> #emoe.source<"m", 4096, f32, [3, 1]>
onnx.tensor @up0 : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @upb0 : tensor<8xf32> #emoe.source<"m", 9216, f32, [1]>
onnx.tensor @down0 : tensor<16x8xf32> #emoe.source<"m", 10240, f32, [8, 1]>
onnx.tensor @downb0 : tensor<16xf32> #emoe.source<"m", 11264, f32, [1]>
onnx.tensor @up1 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @upb1 : tensor<8xf32> #emoe.source<"m", 13312, f32, [1]>
onnx.tensor @down1 : tensor<16x8xf32> #emoe.source<"m", 14336, f32, [8, 1]>
onnx.tensor @downb1 : tensor<16xf32> #emoe.source<"m", 15360, f32, [1]>
onnx.tensor @up2 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @upb2 : tensor<8xf32> #emoe.source<"m", 17408, f32, [1]>
onnx.tensor @down2 : tensor<16x8xf32> #emoe.source<"m", 18432, f32, [8, 1]>
onnx.tensor @downb2 : tensor<16xf32> #emoe.source<"m", 19456, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %places = onnx.initializer @places : tensor<12x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<2> : tensor<i64>
  %pad = onnx.constant dense<5> : tensor<i64>
  %count = onnx.constant dense<3> : tensor<i64>
  %room = onnx.constant dense<4> : tensor<i64>
  %axis0 = onnx.constant dense<0> : tensor<1xi64>
  %axis1 = onnx.constant dense<1> : tensor<1xi64>
  // Positions: padding is not counted.
  %equal = onnx.Equal %ids, %pad : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi1>
  %not = onnx.Not %equal : (tensor<1x?xi1>) -> tensor<1x?xi1>
  %text = onnx.Cast %not {to = i32} : (tensor<1x?xi1>) -> tensor<1x?xi32>
  %running = onnx.CumSum %text, %one : (tensor<1x?xi32>, tensor<i64>) -> tensor<1x?xi32>
  %only = onnx.Mul %running, %text : (tensor<1x?xi32>, tensor<1x?xi32>) -> tensor<1x?xi32>
  %wide = onnx.Cast %only {to = i64} : (tensor<1x?xi32>) -> tensor<1x?xi64>
  %place = onnx.Add %wide, %two : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %at = onnx.Gather %places, %place {axis = 0 : i64} : (tensor<12x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %at : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %heads = onnx.Reshape %h, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %s {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %y = onnx.Reshape %back, %flat : (tensor<1x?x2x8xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  // Two choices
  %router = onnx.initializer @router : tensor<16x3xf32>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %zerof = onnx.constant dense<0.000000e+00> : tensor<f32>
  %never = onnx.constant dense<0xFF800000> : tensor<f32>
  %least = onnx.constant dense<1.250000e-01> : tensor<f32>
  %logits = onnx.MatMul %y, %router : (tensor<?x16xf32>, tensor<16x3xf32>) -> tensor<?x3xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c0 = onnx.OneHot %best, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %taken = onnx.Cast %c0 {to = i1} : (tensor<?x3xi64>) -> tensor<?x3xi1>
  // expected-error @+1 {{the op onnx.Where is not part of a pattern}}
  %rest = onnx.Where %taken, %zerof, %logits : (tensor<?x3xi1>, tensor<f32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %next = onnx.ArgMax %rest {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c1 = onnx.OneHot %next, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %run0 = onnx.CumSum %c0, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc0 = onnx.Sub %run0, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %run1 = onnx.CumSum %c1, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc1 = onnx.Sub %run1, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %total = onnx.ReduceSum %c0, %axis0 {keepdims = 1 : i64} : (tensor<?x3xi64>, tensor<1xi64>) -> tensor<1x3xi64>
  %behind = onnx.Add %loc1, %total : (tensor<?x3xi64>, tensor<1x3xi64>) -> tensor<?x3xi64>
  %fits0 = onnx.Less %loc0, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit0 = onnx.Cast %fits0 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m0 = onnx.Mul %c0, %fit0 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %fits1 = onnx.Less %behind, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit1 = onnx.Cast %fits1 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m1 = onnx.Mul %c1, %fit1 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %cf0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps0 = onnx.Mul %scores, %cf0 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w0 = onnx.ReduceSum %ps0, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %cf1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps1 = onnx.Mul %scores, %cf1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w1 = onnx.ReduceSum %ps1, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %both = onnx.Add %w0, %w1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %safe = onnx.Clip %both, %least {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  %n0 = onnx.Div %w0, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %n1 = onnx.Div %w1, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %u0 = onnx.Unsqueeze %n0, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate0 = onnx.Mul %u0, %g0 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %u1 = onnx.Unsqueeze %n1, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate1 = onnx.Mul %u1, %g1 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %gates = onnx.Add %gate0, %gate1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %hot = onnx.Cast %gates {to = i1} : (tensor<?x3xf32>) -> tensor<?x3xi1>
  %mask = onnx.Cast %hot {to = f32} : (tensor<?x3xi1>) -> tensor<?x3xf32>
  %inputs = onnx.Einsum %y, %mask {equation = "bm,be->ebm"} : (tensor<?x16xf32>, tensor<?x3xf32>) -> tensor<3x?x16xf32>
  %drop = onnx.constant dense<8.000000e-01> : tensor<f32>
  %i0 = onnx.constant dense<0> : tensor<i64>
  %up0 = onnx.initializer @up0 : tensor<8x16xf32>
  %upb0 = onnx.initializer @upb0 : tensor<8xf32>
  %down0 = onnx.initializer @down0 : tensor<16x8xf32>
  %downb0 = onnx.initializer @downb0 : tensor<16xf32>
  %in0 = onnx.Gather %inputs, %i0 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a0 = onnx.Gemm %in0, %up0, %upb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.Gemm %r0, %down0, %downb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o0 = onnx.Mul %d0, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col0 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot0 = onnx.Gather %hot, %i0 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one0 = onnx.Cast %hot0 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f0 = onnx.Mul %col0, %one0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z0 = onnx.Einsum %f0, %o0 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i1 = onnx.constant dense<1> : tensor<i64>
  %up1 = onnx.initializer @up1 : tensor<8x16xf32>
  %upb1 = onnx.initializer @upb1 : tensor<8xf32>
  %down1 = onnx.initializer @down1 : tensor<16x8xf32>
  %downb1 = onnx.initializer @downb1 : tensor<16xf32>
  %in1 = onnx.Gather %inputs, %i1 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a1 = onnx.Gemm %in1, %up1, %upb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.Gemm %r1, %down1, %downb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o1 = onnx.Mul %d1, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col1 = onnx.Gather %gates, %i1 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot1 = onnx.Gather %hot, %i1 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one1 = onnx.Cast %hot1 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f1 = onnx.Mul %col1, %one1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z1 = onnx.Einsum %f1, %o1 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.Add %z0, %z1 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i2 = onnx.constant dense<2> : tensor<i64>
  %up2 = onnx.initializer @up2 : tensor<8x16xf32>
  %upb2 = onnx.initializer @upb2 : tensor<8xf32>
  %down2 = onnx.initializer @down2 : tensor<16x8xf32>
  %downb2 = onnx.initializer @downb2 : tensor<16xf32>
  %in2 = onnx.Gather %inputs, %i2 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a2 = onnx.Gemm %in2, %up2, %upb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r2 = onnx.Relu %a2 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d2 = onnx.Gemm %r2, %down2, %downb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o2 = onnx.Mul %d2, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col2 = onnx.Gather %gates, %i2 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot2 = onnx.Gather %hot, %i2 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one2 = onnx.Cast %hot2 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f2 = onnx.Mul %col2, %one2 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z2 = onnx.Einsum %f2, %o2 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum2 = onnx.Add %sum1, %z2 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %out = onnx.Reshape %sum2, %join : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  return %out : tensor<1x?x16xf32>
}

// -----

// An expert is weighed as another.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @places : tensor<12x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @router : tensor<16x3xf32> #emoe.source<"m", 4096, f32, [3, 1]>
onnx.tensor @up0 : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @upb0 : tensor<8xf32> #emoe.source<"m", 9216, f32, [1]>
onnx.tensor @down0 : tensor<16x8xf32> #emoe.source<"m", 10240, f32, [8, 1]>
onnx.tensor @downb0 : tensor<16xf32> #emoe.source<"m", 11264, f32, [1]>
onnx.tensor @up1 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @upb1 : tensor<8xf32> #emoe.source<"m", 13312, f32, [1]>
onnx.tensor @down1 : tensor<16x8xf32> #emoe.source<"m", 14336, f32, [8, 1]>
onnx.tensor @downb1 : tensor<16xf32> #emoe.source<"m", 15360, f32, [1]>
onnx.tensor @up2 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @upb2 : tensor<8xf32> #emoe.source<"m", 17408, f32, [1]>
onnx.tensor @down2 : tensor<16x8xf32> #emoe.source<"m", 18432, f32, [8, 1]>
onnx.tensor @downb2 : tensor<16xf32> #emoe.source<"m", 19456, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %places = onnx.initializer @places : tensor<12x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<2> : tensor<i64>
  %pad = onnx.constant dense<5> : tensor<i64>
  %count = onnx.constant dense<3> : tensor<i64>
  %room = onnx.constant dense<4> : tensor<i64>
  %axis0 = onnx.constant dense<0> : tensor<1xi64>
  %axis1 = onnx.constant dense<1> : tensor<1xi64>
  // Positions: padding is not counted.
  %equal = onnx.Equal %ids, %pad : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi1>
  %not = onnx.Not %equal : (tensor<1x?xi1>) -> tensor<1x?xi1>
  %text = onnx.Cast %not {to = i32} : (tensor<1x?xi1>) -> tensor<1x?xi32>
  %running = onnx.CumSum %text, %one : (tensor<1x?xi32>, tensor<i64>) -> tensor<1x?xi32>
  %only = onnx.Mul %running, %text : (tensor<1x?xi32>, tensor<1x?xi32>) -> tensor<1x?xi32>
  %wide = onnx.Cast %only {to = i64} : (tensor<1x?xi32>) -> tensor<1x?xi64>
  %place = onnx.Add %wide, %two : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %at = onnx.Gather %places, %place {axis = 0 : i64} : (tensor<12x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %at : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %heads = onnx.Reshape %h, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %s {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %y = onnx.Reshape %back, %flat : (tensor<1x?x2x8xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  // Two choices
  %router = onnx.initializer @router : tensor<16x3xf32>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %never = onnx.constant dense<0xFF800000> : tensor<f32>
  %least = onnx.constant dense<1.250000e-01> : tensor<f32>
  %logits = onnx.MatMul %y, %router : (tensor<?x16xf32>, tensor<16x3xf32>) -> tensor<?x3xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c0 = onnx.OneHot %best, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %taken = onnx.Cast %c0 {to = i1} : (tensor<?x3xi64>) -> tensor<?x3xi1>
  %rest = onnx.Where %taken, %never, %logits : (tensor<?x3xi1>, tensor<f32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %next = onnx.ArgMax %rest {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c1 = onnx.OneHot %next, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %run0 = onnx.CumSum %c0, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc0 = onnx.Sub %run0, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %run1 = onnx.CumSum %c1, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc1 = onnx.Sub %run1, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %total = onnx.ReduceSum %c0, %axis0 {keepdims = 1 : i64} : (tensor<?x3xi64>, tensor<1xi64>) -> tensor<1x3xi64>
  %behind = onnx.Add %loc1, %total : (tensor<?x3xi64>, tensor<1x3xi64>) -> tensor<?x3xi64>
  %fits0 = onnx.Less %loc0, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit0 = onnx.Cast %fits0 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m0 = onnx.Mul %c0, %fit0 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %fits1 = onnx.Less %behind, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit1 = onnx.Cast %fits1 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m1 = onnx.Mul %c1, %fit1 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %cf0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps0 = onnx.Mul %scores, %cf0 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w0 = onnx.ReduceSum %ps0, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %cf1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps1 = onnx.Mul %scores, %cf1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w1 = onnx.ReduceSum %ps1, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %both = onnx.Add %w0, %w1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %safe = onnx.Clip %both, %least {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  %n0 = onnx.Div %w0, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %n1 = onnx.Div %w1, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %u0 = onnx.Unsqueeze %n0, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate0 = onnx.Mul %u0, %g0 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %u1 = onnx.Unsqueeze %n1, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate1 = onnx.Mul %u1, %g1 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %gates = onnx.Add %gate0, %gate1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %hot = onnx.Cast %gates {to = i1} : (tensor<?x3xf32>) -> tensor<?x3xi1>
  %mask = onnx.Cast %hot {to = f32} : (tensor<?x3xi1>) -> tensor<?x3xf32>
  %inputs = onnx.Einsum %y, %mask {equation = "bm,be->ebm"} : (tensor<?x16xf32>, tensor<?x3xf32>) -> tensor<3x?x16xf32>
  %drop = onnx.constant dense<8.000000e-01> : tensor<f32>
  %i0 = onnx.constant dense<0> : tensor<i64>
  %up0 = onnx.initializer @up0 : tensor<8x16xf32>
  %upb0 = onnx.initializer @upb0 : tensor<8xf32>
  %down0 = onnx.initializer @down0 : tensor<16x8xf32>
  %downb0 = onnx.initializer @downb0 : tensor<16xf32>
  %in0 = onnx.Gather %inputs, %i0 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a0 = onnx.Gemm %in0, %up0, %upb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.Gemm %r0, %down0, %downb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o0 = onnx.Mul %d0, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col0 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot0 = onnx.Gather %hot, %i0 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one0 = onnx.Cast %hot0 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f0 = onnx.Mul %col0, %one0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z0 = onnx.Einsum %f0, %o0 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i1 = onnx.constant dense<1> : tensor<i64>
  %up1 = onnx.initializer @up1 : tensor<8x16xf32>
  %upb1 = onnx.initializer @upb1 : tensor<8xf32>
  %down1 = onnx.initializer @down1 : tensor<16x8xf32>
  %downb1 = onnx.initializer @downb1 : tensor<16xf32>
  %in1 = onnx.Gather %inputs, %i1 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a1 = onnx.Gemm %in1, %up1, %upb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.Gemm %r1, %down1, %downb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o1 = onnx.Mul %d1, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col1 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot1 = onnx.Gather %hot, %i1 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one1 = onnx.Cast %hot1 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  // expected-error @+1 {{the op onnx.Mul is not part of a pattern}}
  %f1 = onnx.Mul %col1, %one1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z1 = onnx.Einsum %f1, %o1 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.Add %z0, %z1 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i2 = onnx.constant dense<2> : tensor<i64>
  %up2 = onnx.initializer @up2 : tensor<8x16xf32>
  %upb2 = onnx.initializer @upb2 : tensor<8xf32>
  %down2 = onnx.initializer @down2 : tensor<16x8xf32>
  %downb2 = onnx.initializer @downb2 : tensor<16xf32>
  %in2 = onnx.Gather %inputs, %i2 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a2 = onnx.Gemm %in2, %up2, %upb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r2 = onnx.Relu %a2 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d2 = onnx.Gemm %r2, %down2, %downb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o2 = onnx.Mul %d2, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col2 = onnx.Gather %gates, %i2 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot2 = onnx.Gather %hot, %i2 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one2 = onnx.Cast %hot2 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f2 = onnx.Mul %col2, %one2 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z2 = onnx.Einsum %f2, %o2 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum2 = onnx.Add %sum1, %z2 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %out = onnx.Reshape %sum2, %join : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  return %out : tensor<1x?x16xf32>
}

// -----

// A table that is too short.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @places : tensor<12x16xf32> #emoe.source<"m", 2048, f32, [16, 1]>
onnx.tensor @router : tensor<16x3xf32> #emoe.source<"m", 4096, f32, [3, 1]>
onnx.tensor @up0 : tensor<8x16xf32> #emoe.source<"m", 8192, f32, [16, 1]>
onnx.tensor @upb0 : tensor<8xf32> #emoe.source<"m", 9216, f32, [1]>
onnx.tensor @down0 : tensor<16x8xf32> #emoe.source<"m", 10240, f32, [8, 1]>
onnx.tensor @downb0 : tensor<16xf32> #emoe.source<"m", 11264, f32, [1]>
onnx.tensor @up1 : tensor<8x16xf32> #emoe.source<"m", 12288, f32, [16, 1]>
onnx.tensor @upb1 : tensor<8xf32> #emoe.source<"m", 13312, f32, [1]>
onnx.tensor @down1 : tensor<16x8xf32> #emoe.source<"m", 14336, f32, [8, 1]>
onnx.tensor @downb1 : tensor<16xf32> #emoe.source<"m", 15360, f32, [1]>
onnx.tensor @up2 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @upb2 : tensor<8xf32> #emoe.source<"m", 17408, f32, [1]>
onnx.tensor @down2 : tensor<16x8xf32> #emoe.source<"m", 18432, f32, [8, 1]>
onnx.tensor @downb2 : tensor<16xf32> #emoe.source<"m", 19456, f32, [1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %places = onnx.initializer @places : tensor<12x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<11> : tensor<i64>
  %pad = onnx.constant dense<5> : tensor<i64>
  %count = onnx.constant dense<3> : tensor<i64>
  %room = onnx.constant dense<4> : tensor<i64>
  %axis0 = onnx.constant dense<0> : tensor<1xi64>
  %axis1 = onnx.constant dense<1> : tensor<1xi64>
  // Positions: padding is not counted.
  %equal = onnx.Equal %ids, %pad : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi1>
  %not = onnx.Not %equal : (tensor<1x?xi1>) -> tensor<1x?xi1>
  %text = onnx.Cast %not {to = i32} : (tensor<1x?xi1>) -> tensor<1x?xi32>
  %running = onnx.CumSum %text, %one : (tensor<1x?xi32>, tensor<i64>) -> tensor<1x?xi32>
  %only = onnx.Mul %running, %text : (tensor<1x?xi32>, tensor<1x?xi32>) -> tensor<1x?xi32>
  %wide = onnx.Cast %only {to = i64} : (tensor<1x?xi32>) -> tensor<1x?xi64>
  %place = onnx.Add %wide, %two : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  // expected-error @+1 {{looks the first token up in row 12 of a table of 12 rows}}
  %at = onnx.Gather %places, %place {axis = 0 : i64} : (tensor<12x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %h = onnx.Add %x, %at : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  // Attention
  %split = onnx.constant dense<[1, -1, 2, 8]> : tensor<4xi64>
  %join = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %heads = onnx.Reshape %h, %split : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %q = onnx.Transpose %heads {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %k = onnx.Transpose %heads {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x8x?xf32>
  %s = onnx.MatMul %q, %k : (tensor<1x2x?x8xf32>, tensor<1x2x8x?xf32>) -> tensor<1x2x?x?xf32>
  %p = onnx.Softmax %s {axis = -1 : i64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %a = onnx.MatMul %p, %q : (tensor<1x2x?x?xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %back = onnx.Transpose %a {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %y = onnx.Reshape %back, %flat : (tensor<1x?x2x8xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  // Two choices
  %router = onnx.initializer @router : tensor<16x3xf32>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %never = onnx.constant dense<0xFF800000> : tensor<f32>
  %least = onnx.constant dense<1.250000e-01> : tensor<f32>
  %logits = onnx.MatMul %y, %router : (tensor<?x16xf32>, tensor<16x3xf32>) -> tensor<?x3xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %best = onnx.ArgMax %scores {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c0 = onnx.OneHot %best, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %taken = onnx.Cast %c0 {to = i1} : (tensor<?x3xi64>) -> tensor<?x3xi1>
  %rest = onnx.Where %taken, %never, %logits : (tensor<?x3xi1>, tensor<f32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %next = onnx.ArgMax %rest {axis = -1 : i64, keepdims = 0 : i64} : (tensor<?x3xf32>) -> tensor<?xi64>
  %c1 = onnx.OneHot %next, %count, %offOn {axis = -1 : i64} : (tensor<?xi64>, tensor<i64>, tensor<2xi64>) -> tensor<?x3xi64>
  %run0 = onnx.CumSum %c0, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc0 = onnx.Sub %run0, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %run1 = onnx.CumSum %c1, %zero : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %loc1 = onnx.Sub %run1, %one : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi64>
  %total = onnx.ReduceSum %c0, %axis0 {keepdims = 1 : i64} : (tensor<?x3xi64>, tensor<1xi64>) -> tensor<1x3xi64>
  %behind = onnx.Add %loc1, %total : (tensor<?x3xi64>, tensor<1x3xi64>) -> tensor<?x3xi64>
  %fits0 = onnx.Less %loc0, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit0 = onnx.Cast %fits0 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m0 = onnx.Mul %c0, %fit0 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %fits1 = onnx.Less %behind, %room : (tensor<?x3xi64>, tensor<i64>) -> tensor<?x3xi1>
  %fit1 = onnx.Cast %fits1 {to = i64} : (tensor<?x3xi1>) -> tensor<?x3xi64>
  %m1 = onnx.Mul %c1, %fit1 : (tensor<?x3xi64>, tensor<?x3xi64>) -> tensor<?x3xi64>
  %cf0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps0 = onnx.Mul %scores, %cf0 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w0 = onnx.ReduceSum %ps0, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %cf1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %ps1 = onnx.Mul %scores, %cf1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %w1 = onnx.ReduceSum %ps1, %axis1 {keepdims = 0 : i64} : (tensor<?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %both = onnx.Add %w0, %w1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %safe = onnx.Clip %both, %least {operandSegmentSizes = array<i32: 1, 1, 0>} : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  %n0 = onnx.Div %w0, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %n1 = onnx.Div %w1, %safe : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %u0 = onnx.Unsqueeze %n0, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g0 = onnx.Cast %m0 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate0 = onnx.Mul %u0, %g0 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %u1 = onnx.Unsqueeze %n1, %axis1 : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %g1 = onnx.Cast %m1 {to = f32} : (tensor<?x3xi64>) -> tensor<?x3xf32>
  %gate1 = onnx.Mul %u1, %g1 : (tensor<?x1xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %gates = onnx.Add %gate0, %gate1 : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %hot = onnx.Cast %gates {to = i1} : (tensor<?x3xf32>) -> tensor<?x3xi1>
  %mask = onnx.Cast %hot {to = f32} : (tensor<?x3xi1>) -> tensor<?x3xf32>
  %inputs = onnx.Einsum %y, %mask {equation = "bm,be->ebm"} : (tensor<?x16xf32>, tensor<?x3xf32>) -> tensor<3x?x16xf32>
  %drop = onnx.constant dense<8.000000e-01> : tensor<f32>
  %i0 = onnx.constant dense<0> : tensor<i64>
  %up0 = onnx.initializer @up0 : tensor<8x16xf32>
  %upb0 = onnx.initializer @upb0 : tensor<8xf32>
  %down0 = onnx.initializer @down0 : tensor<16x8xf32>
  %downb0 = onnx.initializer @downb0 : tensor<16xf32>
  %in0 = onnx.Gather %inputs, %i0 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a0 = onnx.Gemm %in0, %up0, %upb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r0 = onnx.Relu %a0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.Gemm %r0, %down0, %downb0 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o0 = onnx.Mul %d0, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col0 = onnx.Gather %gates, %i0 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot0 = onnx.Gather %hot, %i0 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one0 = onnx.Cast %hot0 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f0 = onnx.Mul %col0, %one0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z0 = onnx.Einsum %f0, %o0 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i1 = onnx.constant dense<1> : tensor<i64>
  %up1 = onnx.initializer @up1 : tensor<8x16xf32>
  %upb1 = onnx.initializer @upb1 : tensor<8xf32>
  %down1 = onnx.initializer @down1 : tensor<16x8xf32>
  %downb1 = onnx.initializer @downb1 : tensor<16xf32>
  %in1 = onnx.Gather %inputs, %i1 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a1 = onnx.Gemm %in1, %up1, %upb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r1 = onnx.Relu %a1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.Gemm %r1, %down1, %downb1 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o1 = onnx.Mul %d1, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col1 = onnx.Gather %gates, %i1 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot1 = onnx.Gather %hot, %i1 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one1 = onnx.Cast %hot1 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f1 = onnx.Mul %col1, %one1 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z1 = onnx.Einsum %f1, %o1 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.Add %z0, %z1 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %i2 = onnx.constant dense<2> : tensor<i64>
  %up2 = onnx.initializer @up2 : tensor<8x16xf32>
  %upb2 = onnx.initializer @upb2 : tensor<8xf32>
  %down2 = onnx.initializer @down2 : tensor<16x8xf32>
  %downb2 = onnx.initializer @downb2 : tensor<16xf32>
  %in2 = onnx.Gather %inputs, %i2 {axis = 0 : i64} : (tensor<3x?x16xf32>, tensor<i64>) -> tensor<?x16xf32>
  %a2 = onnx.Gemm %in2, %up2, %upb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x16xf32>, tensor<8x16xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %r2 = onnx.Relu %a2 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d2 = onnx.Gemm %r2, %down2, %downb2 {alpha = 1.0 : f32, beta = 1.0 : f32, transB = 1 : i64} : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %o2 = onnx.Mul %d2, %drop : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  %col2 = onnx.Gather %gates, %i2 {axis = 1 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<?xf32>
  %hot2 = onnx.Gather %hot, %i2 {axis = 1 : i64} : (tensor<?x3xi1>, tensor<i64>) -> tensor<?xi1>
  %one2 = onnx.Cast %hot2 {to = f32} : (tensor<?xi1>) -> tensor<?xf32>
  %f2 = onnx.Mul %col2, %one2 : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %z2 = onnx.Einsum %f2, %o2 {equation = "b,be->be"} : (tensor<?xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %sum2 = onnx.Add %sum1, %z2 : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %out = onnx.Reshape %sum2, %join : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  return %out : tensor<1x?x16xf32>
}
