// RUN: emoe-opt %s --simplify --raise --split-input-file --verify-diagnostics
// Convolutions that would lose their state, or are not causal ones of the new tokens.

// The cache of keys goes on, the convolution does not.
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
  // expected-error @+1 {{this convolution starts anew with each call although the model keeps its keys and values}}
  %conv = onnx.Conv %bv, %taps
      {group = 16 : i64, kernel_shape = array<i64: 3>, pads = array<i64: 2, 2>, strides = array<i64: 1>}
      : (tensor<1x16x?xf32>, tensor<16x1x3xf32>) -> tensor<1x16x?xf32>
  %y = onnx.Slice %conv, %zero, %length, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x?xf32>
  %gated = onnx.Mul %c, %y : (tensor<1x16x?xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %r = onnx.Transpose %gated {perm = array<i64: 0, 2, 1>} : (tensor<1x16x?xf32>) -> tensor<1x?x16xf32>
  %o = onnx.MatMul %r, %out : (tensor<1x?x16xf32>, tensor<16x16xf32>) -> tensor<1x?x16xf32>
  %a, %k, %vs, %qk = onnx.Attention %o, %o, %o, %pastK, %pastV
      {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64, scale = 0.25 : f32,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1, 1, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>)
      -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<*xf32>)
  return %a, %k, %vs, %state : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x3xf32>
}

// -----

// What the convolution leaves is thrown away.
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
  // expected-error @+1 {{the state that this convolution leaves is no output of the model}}
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
  return %a, %k, %vs, %state : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x3xf32>
}

// -----

// The same of the op.
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
  // expected-error @+1 {{the state that this convolution leaves is no output of the model}}
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
  return %a, %k, %vs, %state : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x2xf32>
}

// -----

// An activation that the op does not have.
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
  // expected-error @+1 {{is not supported: it must have one dimension, no window, and no activation or silu}}
  %y, %left = onnx.com.microsoft.CausalConvWithState %bv, %taps, %bias, %state
      {activation = "gelu", operandSegmentSizes = array<i32: 1, 1, 1, 1>}
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

// Two inputs are needed, one is kept.
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @in : tensor<16x48xf32> #emoe.source<"m", 2048, f32, [48, 1]>
onnx.tensor @taps : tensor<16x1x3xf32> #emoe.source<"m", 8192, f32, [3, 3, 1]>
onnx.tensor @bias : tensor<16xf32> #emoe.source<"m", 12288, f32, [1]>
onnx.tensor @out : tensor<16x16xf32> #emoe.source<"m", 16384, f32, [16, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"},
                %pastK: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.key"},
                %pastV: tensor<1x2x?x8xf32> {onnx.name = "past_key_values.1.value"},
                %state: tensor<1x16x1xf32> {onnx.name = "past_conv.0"})
    -> (tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x1xf32>) {
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
  %joined = onnx.Concat %state, %bv {axis = -1 : i64} : (tensor<1x16x1xf32>, tensor<1x16x?xf32>) -> tensor<1x16x?xf32>
  %left = onnx.Slice %joined, %last3, %end, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x1xf32>
  // expected-error @+1 {{its state has 1 inputs, but a convolution of 3 needs 2}}
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
  return %a, %k, %vs, %left : tensor<1x?x16xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x16x1xf32>
}

// -----

// The oldest results instead of the new ones.
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
  %y = onnx.Slice %front, %zero, %length, %two, %one {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
      : (tensor<1x16x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x16x?xf32>
  // expected-error @+1 {{the op onnx.Mul is not part of a pattern that is recognised here}}
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
