// RUN: emoe-opt %s --evaluate --split-input-file --verify-diagnostics
// What does not fit is refused, never computed with.

// A mask that hides a past token would give this.
func.func @padded() -> tensor<1x1x2xf32> {
  %q = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %v = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %pv = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[0]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  // expected-error @+1 {{seqlens_k one less}}
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1xi32>, tensor<i32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %0 : tensor<1x1x2xf32>
}

// -----

// Keys of integers.
func.func @integers() -> tensor<1x1x2xf32> {
  %q = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0> : tensor<1x1x2xi64>
  %v = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %pv = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[1]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  // expected-error @+1 {{heads that fit}}
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xi64>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1xi32>, tensor<i32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %0 : tensor<1x1x2xf32>
}

// -----

// Fewer key columns than heads need.
func.func @narrow() -> tensor<1x1x2xf32> {
  %q = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0.0> : tensor<1x1x1xf32>
  %v = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %pv = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[1]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  // expected-error @+1 {{heads that fit}}
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x1xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1xi32>, tensor<i32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %0 : tensor<1x1x2xf32>
}

// -----

// No past position, though two are there in all.
func.func @no_past() -> tensor<1x1x2xf32> {
  %q = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %v = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<> : tensor<1x1x0x2xf32>
  %pv = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[1]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  // expected-error @+1 {{another number of positions}}
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x0x2xf32>, tensor<1x1x1x2xf32>, tensor<1xi32>, tensor<i32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  return %0 : tensor<1x1x2xf32>
}

// -----

// Scores, which are not computed here.
func.func @unused() -> tensor<*xf32> {
  %q = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %k = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %v = onnx.constant dense<0.0> : tensor<1x1x2xf32>
  %pk = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %pv = onnx.constant dense<0.0> : tensor<1x1x1x2xf32>
  %last = onnx.constant dense<[1]> : tensor<1xi32>
  %total = onnx.constant dense<2> : tensor<i32>
  // expected-error @+1 {{its result 3 is not computed here, but used}}
  %0, %1, %2, %3 = onnx.com.microsoft.GroupQueryAttention %q, %k, %v, %pk, %pv, %last, %total
      {num_heads = 1 : i64, kv_num_heads = 1 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>, tensor<1xi32>, tensor<i32>)
      -> (tensor<1x1x2xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %4 = onnx.Abs %3 : (tensor<*xf32>) -> tensor<*xf32>
  return %4 : tensor<*xf32>
}

// -----

// A table for one position only.
func.func @beyond_table() -> tensor<1x2x2xf32> {
  %x = onnx.constant dense<1.0> : tensor<1x2x2xf32>
  %at = onnx.constant dense<[[0, 1]]> : tensor<1x2xi64>
  %table = onnx.constant dense<1.0> : tensor<1x1xf32>
  // expected-error @+1 {{has no row in its tables for position 1}}
  %0 = onnx.com.microsoft.RotaryEmbedding %x, %at, %table, %table
      : (tensor<1x2x2xf32>, tensor<1x2xi64>, tensor<1x1xf32>, tensor<1x1xf32>) -> tensor<1x2x2xf32>
  return %0 : tensor<1x2x2xf32>
}

// -----

// Positions for one of two tokens are an offset; for three of two they are nothing.
func.func @too_many_positions() -> tensor<1x2x2xf32> {
  %x = onnx.constant dense<1.0> : tensor<1x2x2xf32>
  %at = onnx.constant dense<0> : tensor<1x3xi64>
  %table = onnx.constant dense<1.0> : tensor<4x1xf32>
  // expected-error @+1 {{it needs a position for each token}}
  %0 = onnx.com.microsoft.RotaryEmbedding %x, %at, %table, %table
      : (tensor<1x2x2xf32>, tensor<1x3xi64>, tensor<4x1xf32>, tensor<4x1xf32>) -> tensor<1x2x2xf32>
  return %0 : tensor<1x2x2xf32>
}
