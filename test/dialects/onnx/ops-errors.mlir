// RUN: emoe-opt %s --split-input-file --verify-diagnostics

// One case for each constraint that a verifier checks.

// expected-error @+1 {{source has 1 strides for a tensor of rank 2}}
onnx.tensor @w : tensor<8x4xf16> <"f", 0, f16, [1]>

// -----

// expected-error @+1 {{source holds 'f32', the tensor 'f16'}}
onnx.tensor @w : tensor<8xf16> <"f", 0, f32, [1]>

// -----

func.func @no_tensor() {
  // expected-error @+1 {{reads @w, which is no onnx.tensor}}
  %0 = onnx.initializer @w : tensor<8xf16>
  return
}

// -----

onnx.tensor @w : tensor<8xf16> <"f", 0, f16, [1]>
func.func @other_type() {
  // expected-error @+1 {{has type 'tensor<4xf16>' but @w has 'tensor<8xf16>'}}
  %0 = onnx.initializer @w : tensor<4xf16>
  return
}

// -----

func.func @bridge_batch(%x: tensor<2x?x4xf32>) {
  // expected-error @+1 {{needs a batch of 1, not 2}}
  %0 = onnx.to_rows %x : tensor<2x?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @bridge_width(%x: tensor<1x2x?x4xf32>) {
  // expected-error @+1 {{cannot bridge}}
  %0 = onnx.to_rows %x : tensor<1x2x?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @bridge_rank(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{bridges tensors of rank 2, 3 or 4, not 1}}
  %0 = onnx.from_rows %x : tensor<?x4xf32> -> tensor<4xf32>
  return
}

// -----

func.func @no_inputs() {
  // expected-error @+1 {{needs at least one input}}
  %0 = onnx.Max : () -> tensor<4xf32>
  return
}

// -----

func.func @concat_axis(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{axis (2) is outside rank 2}}
  %0 = onnx.Concat %x {axis = 2} : (tensor<4x4xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @split_both(%x: tensor<4xf32>, %s: tensor<1xi64>) {
  // expected-error @+1 {{has both split and num_outputs}}
  %0 = onnx.Split %x, %s {num_outputs = 1} : (tensor<4xf32>, tensor<1xi64>) -> tensor<*xf32>
  return
}

// -----

func.func @split_count(%x: tensor<4xf32>) {
  // expected-error @+1 {{num_outputs (2) differs from the number of results (1)}}
  %0 = onnx.Split %x {num_outputs = 2} : (tensor<4xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @transpose_permutation(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{perm is not a permutation}}
  %0 = onnx.Transpose %x {perm = array<i64: 1, 1>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @transpose_rank(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{perm has 3 axes for an input of rank 2}}
  %0 = onnx.Transpose %x {perm = array<i64: 1, 2, 0>} : (tensor<4x4xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @cast(%x: tensor<4xf32>) {
  // expected-error @+1 {{casts to 'f16' but gives 'f32'}}
  %0 = onnx.Cast %x {to = f16} : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @gelu(%x: tensor<4xf32>) {
  // expected-error @+1 {{approximate ("fast") must be "none" or "tanh"}}
  %0 = onnx.Gelu %x {approximate = "fast"} : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @scatter(%x: tensor<4xf32>, %i: tensor<1x1xi64>, %u: tensor<1xf32>) {
  // expected-error @+1 {{reduction ("sum") must be "none" or "add" or "mul" or "max" or "min"}}
  %0 = onnx.ScatterND %x, %i, %u {reduction = "sum"} : (tensor<4xf32>, tensor<1x1xi64>, tensor<1xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @branches(%c: tensor<i1>, %x: tensor<4xf32>) {
  // expected-error @+1 {{a subgraph gives 2 outputs, not 1}}
  %0 = onnx.If %c {
    onnx.Yield %x : tensor<4xf32>
  } else {
    onnx.Yield %x, %x : tensor<4xf32>, tensor<4xf32>
  } : (tensor<i1>) -> tensor<4xf32>
  return
}

// -----

func.func @loop_inputs(%m: tensor<i64>, %c: tensor<i1>, %x: tensor<4xf32>) {
  // expected-error @+1 {{a subgraph takes 2 inputs, not 3}}
  %0 = onnx.Loop %m, %c, %x {
  ^bb0(%i: tensor<i64>, %go: tensor<i1>):
    onnx.Yield %go, %x : tensor<i1>, tensor<4xf32>
  } {operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @scan_inputs(%x: tensor<4xf32>) {
  // expected-error @+1 {{num_scan_inputs (2) must be in 1 .. 1}}
  %0 = onnx.Scan %x {
  ^bb0(%s: tensor<f32>):
    onnx.Yield %s : tensor<f32>
  } {num_scan_inputs = 2 : i64} : (tensor<4xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @flag(%x: tensor<4xf32>) {
  // expected-error @+1 {{attribute 'keepdims' failed to satisfy constraint: 0 or 1}}
  %0 = onnx.ReduceSum %x {keepdims = 2 : i64, operandSegmentSizes = array<i32: 1, 0>} : (tensor<4xf32>) -> tensor<*xf32>
  return
}
