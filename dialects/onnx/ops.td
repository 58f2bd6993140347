// Ops of the onnx dialect that ONNX does not have: tensors as symbols, constants, bridges of raising.
#ifndef EMOE_ONNX_OPS_TD
#define EMOE_ONNX_OPS_TD

include "dialects/emoe/attrs.td"
include "dialects/onnx/compute_ops.td"
include "dialects/onnx/contrib_ops.td"
include "dialects/onnx/control_ops.td"
include "dialects/onnx/elementwise_ops.td"
include "dialects/onnx/shape_ops.td"
include "mlir/IR/SymbolInterfaces.td"

//===----------------------------------------------------------------------===//
// Tensors of the file
//===----------------------------------------------------------------------===//

def Onnx_TensorOp : Op<Onnx_Dialect, "tensor", [Symbol]> {
  let summary = "Name a tensor whose bytes stay where they are";
  let description = [{
    A symbol, never data. `source` gives the place and a stride in elements per dimension (row-major as imported);
    a rank-0 tensor has none.

    Example: `onnx.tensor @experts.down : tensor<16x256x128xf16> #emoe.source<"model.onnx.data", 4096, f16,
    [32768, 128, 1]>`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyStaticShapeTensor>:$type, Emoe_SourceAttr:$source);
  let assemblyFormat = "$sym_name `:` $type $source attr-dict";
  let hasVerifier = 1;
}

def Onnx_InitializerOp : Op<Onnx_Dialect, "initializer", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The value of a tensor of the file";
  let description = [{
    Example: `%w = onnx.initializer @experts.down : tensor<16x256x128xf16>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$name);
  let results = (outs Onnx_Tensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
}

def Onnx_ConstantOp : Op<Onnx_Dialect, "constant", [Pure, ConstantLike, AllTypesMatch<["value", "result"]>]> {
  let summary = "A small constant: integers, booleans and scalars";
  let description = [{
    Example: `%axes = onnx.constant dense<[1, 2]> : tensor<2xi64>`
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Onnx_Tensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// Bridges between ONNX tensors and rows of the emoe dialect
//===----------------------------------------------------------------------===//

def Onnx_ToRowsOp : Op<Onnx_Dialect, "to_rows", [Pure]> {
  let summary = "One row a token";
  let description = [{
    [T, D] or [1, T, D] -> [T, D]; [1, heads, T, d] -> [T, heads * d], head by head. Elements become float32.

    Example: `%rows = onnx.to_rows %x : tensor<1x?x128xf16> -> tensor<?x128xf32>`
  }];
  let arguments = (ins Onnx_Tensor:$input);
  let results = (outs 2DTensorOf<[F32]>:$rows);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($rows)";
  let hasVerifier = 1;
}

def Onnx_FromRowsOp : Op<Onnx_Dialect, "from_rows", [Pure]> {
  let summary = "The inverse of to_rows; the result's type says which form";
  let description = [{
    Example: `%x = onnx.from_rows %rows : tensor<?x128xf32> -> tensor<1x4x?x32xf32>`
  }];
  let arguments = (ins 2DTensorOf<[F32]>:$rows);
  let results = (outs Onnx_Tensor:$output);
  let assemblyFormat = "$rows attr-dict `:` type($rows) `->` type($output)";
  let hasVerifier = 1;
}

#endif  // EMOE_ONNX_OPS_TD
