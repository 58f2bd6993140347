// RUN: emoe-opt %s --simplify --raise --verify-diagnostics
// Weights of (slot, token) are not those of (token, slot).

onnx.tensor @w0 : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @w1 : tensor<16x2xf32> #emoe.source<"m", 4096, f32, [2, 1]>
onnx.tensor @w2 : tensor<16x8xf32> #emoe.source<"m", 8192, f32, [8, 1]>
onnx.tensor @w3 : tensor<8x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
onnx.tensor @w4 : tensor<16x8xf32> #emoe.source<"m", 20480, f32, [8, 1]>
onnx.tensor @w5 : tensor<8x16xf32> #emoe.source<"m", 28672, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @w0 : tensor<32x16xf32>
  %router = onnx.initializer @w1 : tensor<16x2xf32>
  %gate0 = onnx.initializer @w2 : tensor<16x8xf32>
  %down0 = onnx.initializer @w3 : tensor<8x16xf32>
  %gate1 = onnx.initializer @w4 : tensor<16x8xf32>
  %down1 = onnx.initializer @w5 : tensor<8x16xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
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
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %hs, %router : (tensor<?x16xf32>, tensor<16x2xf32>) -> tensor<?x2xf32>
  %scores = onnx.Softmax %logits {axis = -1 : i64} : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %values, %chosen = onnx.TopK %scores, %k
      : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
  %all = onnx.ReduceSum %values, %last : (tensor<?x1xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weights = onnx.Div %values, %all : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %slots = onnx.constant dense<2> : tensor<1xi64>
  %offOn = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %hot = onnx.OneHot %chosen, %slots, %offOn {axis = -1 : i64} : (tensor<?x1xi64>, tensor<1xi64>, tensor<2xi64>) -> tensor<?x1x2xi64>
  %choice = onnx.Transpose %hot {perm = array<i64: 2, 1, 0>} : (tensor<?x1x2xi64>) -> tensor<2x1x?xi64>
  %size = onnx.Shape %hs : (tensor<?x16xf32>) -> tensor<2xi64>
  %sum0 = onnx.ConstantOfShape %size {value = dense<0.0> : tensor<1xf32>} : (tensor<2xi64>) -> tensor<?x16xf32>
  %n0 = onnx.constant dense<0> : tensor<i64>
  %own0 = onnx.Gather %choice, %n0 {axis = 0 : i64} : (tensor<2x1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %pairs0 = onnx.NonZero %own0 : (tensor<1x?xi64>) -> tensor<2x?xi64>
  %slot0, %token0 = onnx.Split %pairs0 {axis = 0 : i64, num_outputs = 2 : i64} : (tensor<2x?xi64>) -> (tensor<1x?xi64>, tensor<1x?xi64>)
  %slotFlat0 = onnx.Squeeze %slot0, %first : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %tokenFlat0 = onnx.Squeeze %token0, %first : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %x0 = onnx.Gather %hs, %tokenFlat0 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %g0 = onnx.MatMul %x0, %gate0 : (tensor<?x16xf32>, tensor<16x8xf32>) -> tensor<?x8xf32>
  %a0 = onnx.Relu %g0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d0 = onnx.MatMul %a0, %down0 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %slotColumn0 = onnx.Unsqueeze %slotFlat0, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %tokenColumn0 = onnx.Unsqueeze %tokenFlat0, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %pair0 = onnx.Concat %slotColumn0, %tokenColumn0 {axis = -1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  // expected-error @+1 {{the op onnx.GatherND uses the chosen experts in a way that is not recognised here}}
  %share0 = onnx.GatherND %weights, %pair0 : (tensor<?x1xf32>, tensor<?x2xi64>) -> tensor<?xf32>
  %column0 = onnx.Unsqueeze %share0, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %e0 = onnx.Mul %d0, %column0 : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %sum1 = onnx.ScatterND %sum0, %tokenColumn0, %e0 {reduction = "add"} : (tensor<?x16xf32>, tensor<?x1xi64>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %n1 = onnx.constant dense<1> : tensor<i64>
  %own1 = onnx.Gather %choice, %n1 {axis = 0 : i64} : (tensor<2x1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  %pairs1 = onnx.NonZero %own1 : (tensor<1x?xi64>) -> tensor<2x?xi64>
  %slot1, %token1 = onnx.Split %pairs1 {axis = 0 : i64, num_outputs = 2 : i64} : (tensor<2x?xi64>) -> (tensor<1x?xi64>, tensor<1x?xi64>)
  %slotFlat1 = onnx.Squeeze %slot1, %first : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %tokenFlat1 = onnx.Squeeze %token1, %first : (tensor<1x?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %x1 = onnx.Gather %hs, %tokenFlat1 {axis = 0 : i64} : (tensor<?x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %g1 = onnx.MatMul %x1, %gate1 : (tensor<?x16xf32>, tensor<16x8xf32>) -> tensor<?x8xf32>
  %a1 = onnx.Relu %g1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %d1 = onnx.MatMul %a1, %down1 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %slotColumn1 = onnx.Unsqueeze %slotFlat1, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %tokenColumn1 = onnx.Unsqueeze %tokenFlat1, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %pair1 = onnx.Concat %tokenColumn1, %slotColumn1 {axis = -1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %share1 = onnx.GatherND %weights, %pair1 : (tensor<?x1xf32>, tensor<?x2xi64>) -> tensor<?xf32>
  %column1 = onnx.Unsqueeze %share1, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %e1 = onnx.Mul %d1, %column1 : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %sum2 = onnx.ScatterND %sum1, %tokenColumn1, %e1 {reduction = "add"} : (tensor<?x16xf32>, tensor<?x1xi64>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum2, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
