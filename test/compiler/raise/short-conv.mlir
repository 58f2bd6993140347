// RUN: emoe-opt %s --simplify --raise --split-input-file | FileCheck %s
// Short convolutions, channels first: written out over a state that keeps three inputs where two are needed, as an op with
// its own state, and without a state where the model has no caches.

// Taps are stored by channel and used by tap.
// CHECK: emoe.weight @layer0.conv [3, 16] <"m", 8192, f32, [1, 3]>
// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x16xf32>
// CHECK: %[[X:.*]] = emoe.embedding
// CHECK: %[[B:.*]] = emoe.linear %[[X]]
// CHECK: %[[V:.*]] = emoe.linear %[[X]]
// CHECK: %[[BV:.*]] = emoe.mul %[[B]], %[[V]]
// CHECK: %[[Y:.*]] = emoe.short_conv %[[BV]] @layer0.conv {state = 0 : i64} : tensor<?x16xf32>
// CHECK: emoe.linear %[[X]]
// CHECK: emoe.mul
// CHECK: emoe.attention
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x48xf32> #emoe.source<"m", 2048, f32, [48, 1]>
onnx.tensor @taps : tensor<16x1x3xf32> #emoe.source<"m", 8192, f32, [3, 3, 1]>
onnx.tensor @bias : tensor<16xf32> #emoe.source<"m", 12288, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x16x3xf32> {onnx.name = "past_conv.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x3xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x48xf32>
  %taps = onnx.initializer @taps : tensor<16x1x3xf32>
  %bias = onnx.initializer @bias : tensor<16xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x48xf32>) -> tensor<1x?x48xf32>
  %t = onnx.Transpose %p {perm = array<i64: 0, 2, 1>} : (tensor<1x?x48xf32>) -> tensor<1x48x?xf32>
  %b, %c, %v = onnx.Split %t {axis = 1 : i64, num_outputs = 3 : i64}
      : (tensor<1x48x?xf32>) -> (tensor<1x16x?xf32>, tensor<1x16x?xf32>, tensor<1x16x?xf32>)
  %bv = onnx.Mul %b, %v : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %three = onnx.constant dense<3> : tensor<1xi64>
  %last3 = onnx.constant dense<-3> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %length = onnx.Shape %ids {start = 1 : i64, end = 2 : i64} : (tensor<1x?xi64>) -> tensor<1xi64>
  %joined = onnx.Concat %state, %bv {axis = -1 : i64} : (tensor<1x16x3xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %left = onnx.Slice %joined, %last3, %end, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x3xf32>
  %conv = onnx.Conv %joined, %taps
      {group = 16 : i64, kernel_shape = array<i64: 3>, pads = array<i64: 2, 2>, strides = array<i64: 1>}
      : (tensor<1x16x?xf32>, tensor<16x1x3xf32>) -> tensor<1x16x?xf32>
  %more = onnx.Add %three, %length : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %front = onnx.Slice %conv, %zero, %more, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x?xf32>
  %back = onnx.Neg %length : (tensor<1xi64>) -> tensor<1xi64>
  %y = onnx.Slice %front, %back, %end, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x?xf32>
  %gated = onnx.Mul %c, %y : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %r = onnx.Transpose %gated {perm = array<i64: 0, 2, 1>} : (tensor<1x16x?xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %r, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %a, %k, %vs, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %a, %k, %vs, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x3xf32>
}

// -----

// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x16xf32>
// CHECK: %[[X:.*]] = emoe.embedding
// CHECK: %[[B:.*]] = emoe.linear %[[X]]
// CHECK: %[[V:.*]] = emoe.linear %[[X]]
// CHECK: %[[BV:.*]] = emoe.mul %[[B]], %[[V]]
// CHECK: %[[Y:.*]] = emoe.short_conv %[[BV]] @layer0.conv {bias = @layer0.conv_bias, state = 0 : i64} : tensor<?x16xf32>
// CHECK: emoe.activate silu %[[Y]]
// CHECK: emoe.linear %[[X]]
// CHECK: emoe.mul
// CHECK: emoe.attention
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x48xf32> #emoe.source<"m", 2048, f32, [48, 1]>
onnx.tensor @taps : tensor<16x1x3xf32> #emoe.source<"m", 8192, f32, [3, 3, 1]>
onnx.tensor @bias : tensor<16xf32> #emoe.source<"m", 12288, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x16x2xf32> {onnx.name = "past_conv.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x2xf32>) {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x48xf32>
  %taps = onnx.initializer @taps : tensor<16x1x3xf32>
  %bias = onnx.initializer @bias : tensor<16xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x48xf32>) -> tensor<1x?x48xf32>
  %t = onnx.Transpose %p {perm = array<i64: 0, 2, 1>} : (tensor<1x?x48xf32>) -> tensor<1x48x?xf32>
  %b, %c, %v = onnx.Split %t {axis = 1 : i64, num_outputs = 3 : i64}
      : (tensor<1x48x?xf32>) -> (tensor<1x16x?xf32>, tensor<1x16x?xf32>, tensor<1x16x?xf32>)
  %bv = onnx.Mul %b, %v : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %y, %left = onnx.com.microsoft.CausalConvWithState %bv, %taps, %bias, %state
      {activation = "silu", operandSegmentSizes = array<i32: 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<16x1x3xf32>, tensor<16xf32>, tensor<1x16x2xf32>)
      -> (tensor<1x16x?xf32>, tensor<1x16x2xf32>)
  %gated = onnx.Mul %c, %y : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %r = onnx.Transpose %gated {perm = array<i64: 0, 2, 1>} : (tensor<1x16x?xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %r, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %a, %k, %vs, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %a, %k, %vs, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x2xf32>
}

// -----

// CHECK: func.func @main(%[[IDS:.*]]: tensor<?xi32>) -> tensor<?x16xf32>
// CHECK: %[[X:.*]] = emoe.embedding
// CHECK: %[[B:.*]] = emoe.linear %[[X]]
// CHECK: %[[V:.*]] = emoe.linear %[[X]]
// CHECK: %[[BV:.*]] = emoe.mul %[[B]], %[[V]]
// CHECK: %[[Y:.*]] = emoe.short_conv %[[BV]] @layer0.conv {state = 0 : i64} : tensor<?x16xf32>
// CHECK: emoe.linear %[[X]]
// CHECK: emoe.mul
// CHECK: emoe.attention
// CHECK-NOT: onnx.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x48xf32> #emoe.source<"m", 2048, f32, [48, 1]>
onnx.tensor @taps : tensor<16x1x3xf32> #emoe.source<"m", 8192, f32, [3, 3, 1]>
onnx.tensor @bias : tensor<16xf32> #emoe.source<"m", 12288, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x16xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %in = onnx.initializer @in : tensor<16x48xf32>
  %taps = onnx.initializer @taps : tensor<16x1x3xf32>
  %bias = onnx.initializer @bias : tensor<16xf32>
  %out = onnx.initializer @out : tensor<16x16xf32>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %p = onnx.MatMul %x, %in : (tensor<1x?x16xf32>, tensor<16x48xf32>) -> tensor<1x?x48xf32>
  %t = onnx.Transpose %p {perm = array<i64: 0, 2, 1>} : (tensor<1x?x48xf32>) -> tensor<1x48x?xf32>
  %b, %c, %v = onnx.Split %t {axis = 1 : i64, num_outputs = 3 : i64}
      : (tensor<1x48x?xf32>) -> (tensor<1x16x?xf32>, tensor<1x16x?xf32>, tensor<1x16x?xf32>)
  %bv = onnx.Mul %b, %v : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %three = onnx.constant dense<3> : tensor<1xi64>
  %last3 = onnx.constant dense<-3> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %length = onnx.Shape %ids {start = 1 : i64, end = 2 : i64} : (tensor<1x?xi64>) -> tensor<1xi64>
  %conv = onnx.Conv %bv, %taps
      {group = 16 : i64, kernel_shape = array<i64: 3>, pads = array<i64: 2, 2>, strides = array<i64: 1>}
      : (tensor<1x16x?xf32>, tensor<16x1x3xf32>) -> tensor<1x16x?xf32>
  %y = onnx.Slice %conv, %zero, %length, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x?xf32>
  %gated = onnx.Mul %c, %y : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %r = onnx.Transpose %gated {perm = array<i64: 0, 2, 1>} : (tensor<1x16x?xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %r, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %a, %k, %vs, %qk = onnx.Attention %o, %o, %o
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %a : tensor<1x?x16xf32>
}
