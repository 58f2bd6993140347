// Ops of the onnx dialect that move, choose or make elements.
#ifndef EMOE_ONNX_SHAPE_OPS_TD
#define EMOE_ONNX_SHAPE_OPS_TD

include "dialects/onnx/dialect.td"

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

def Onnx_ShapeOp : Onnx_Op<"Shape", "Extents [start, end) of the input, as i64"> {
  let elements = ["i64"];
  let arguments = (ins Onnx_Tensor:$data, Onnx_Int_<"0">:$start, Onnx_OptInt:$end);
  let results = (outs Onnx_Tensor:$shape);
}
def Onnx_SizeOp : Onnx_Op<"Size", "Number of elements, as an i64 scalar"> {
  let elements = ["i64"];
  let arguments = (ins Onnx_Tensor:$data);
  let results = (outs Onnx_Tensor:$size);
}
def Onnx_ReshapeOp : Onnx_Op<"Reshape", "The same elements under another shape"> {
  let description = [{
    `shape` (i64 [rank]): -1 is inferred, 0 copies the input's extent (with allowzero = 1 it means zero).
  }];
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$shape, Onnx_Flag_<"0">:$allowzero);
  let results = (outs Onnx_Tensor:$reshaped);
}
def Onnx_FlattenOp : Onnx_Op<"Flatten", "To 2-D: extents before `axis` by extents from it"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Int_<"1">:$axis);
}
def Onnx_SqueezeOp : Onnx_Op<"Squeeze", "Drop the axes (i64 list) of extent 1; all of them if `axes` is absent"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Opt:$axes);
  let results = (outs Onnx_Tensor:$squeezed);
}
def Onnx_UnsqueezeOp : Onnx_Op<"Unsqueeze", "Insert axes (i64 list, positions in the result) of extent 1"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$axes);
  let results = (outs Onnx_Tensor:$expanded);
}
def Onnx_TransposeOp : Onnx_Op<"Transpose", "Result axis i is input axis perm[i]; without `perm` axes are reversed"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_OptInts:$perm);
  let results = (outs Onnx_Tensor:$transposed);
  let hasVerifier = 1;
}
def Onnx_ExpandOp : Onnx_Op<"Expand", "Broadcast the input with `shape` (both ways: an extent of 1 in `shape` keeps the input's)"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$shape);
}
def Onnx_TileOp : Onnx_Op<"Tile", "Repeat the input repeats[i] times along axis i"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$repeats);
}
def Onnx_ConcatOp : Onnx_Op<"Concat", "Join the inputs along `axis`"> {
  let arguments = (ins Onnx_Many:$inputs, Onnx_Int:$axis);
  let results = (outs Onnx_Tensor:$concat_result);
  let hasVerifier = 1;
}
def Onnx_SplitOp : Onnx_Op<"Split", "Cut the input along `axis` into parts"> {
  let description = [{
    Extents of the parts are `split` (i64 list) or, without it, equal (the last may be smaller) for `num_outputs`
    parts. The importer sets `num_outputs` whenever `split` is absent, whatever the opset.
  }];
  let arguments = (ins Onnx_Tensor:$input, Onnx_Opt:$split, Onnx_Int_<"0">:$axis, Onnx_OptInt:$num_outputs);
  let results = (outs Onnx_Many:$outputs);
  let hasVerifier = 1;
}
def Onnx_SliceOp : Onnx_Op<"Slice", "Elements starts, starts + steps, ... before ends, along axes", [AttrSizedOperandSegments]> {
  let description = [{
    All are lists of i64 (or i32). Negative starts and ends count from the end; both are clamped to the extent.
    `axes` defaults to 0 .. n-1, `steps` to ones; a negative step walks backwards.
  }];
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$starts, Onnx_Tensor:$ends, Onnx_Opt:$axes, Onnx_Opt:$steps);
}
def Onnx_PadOp : Onnx_Op<"Pad", "Grow the axes by pads = [begins..., ends...]; negative pads crop", [AttrSizedOperandSegments]> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$pads, Onnx_Opt:$constant_value, Onnx_Opt:$axes,
                       Onnx_Str_<"constant">:$mode);
}
def Onnx_TriluOp : Onnx_Op<"Trilu", "Keep the upper (1) or lower (0) triangle of the last two axes, from diagonal k"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Opt:$k, Onnx_Flag_<"1">:$upper);
}

//===----------------------------------------------------------------------===//
// Gather and scatter
//===----------------------------------------------------------------------===//

def Onnx_GatherOp : Onnx_Op<"Gather", "data[..., indices, ...] along `axis`; negative indices count from the end"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Int_<"0">:$axis);
}
def Onnx_GatherElementsOp : Onnx_Op<"GatherElements", "out[i][j] = data[i][indices[i][j]] for axis 1, and so on"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Int_<"0">:$axis);
}
def Onnx_GatherNDOp : Onnx_Op<"GatherND", "The slices of data that the last axis of indices names"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Int_<"0">:$batch_dims);
}
class Onnx_Scatter<string name, string summary_> : Onnx_Op<name, summary_> {
  let description = [{ `reduction`: none (overwrite), add, mul, max or min. }];
  let hasVerifier = 1;
}
def Onnx_ScatterElementsOp : Onnx_Scatter<"ScatterElements", "data with data[i][indices[i][j]] = updates[i][j] for axis 1"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Tensor:$updates, Onnx_Int_<"0">:$axis,
                       Onnx_Str_<"none">:$reduction);
}
def Onnx_ScatterNDOp : Onnx_Scatter<"ScatterND", "data with the slices that the last axis of indices names updated"> {
  let arguments = (ins Onnx_Tensor:$data, Onnx_Tensor:$indices, Onnx_Tensor:$updates, Onnx_Str_<"none">:$reduction);
}
def Onnx_OneHotOp : Onnx_Op<"OneHot", "values[1] at index, values[0] elsewhere, along a new axis of extent `depth`"> {
  let elements = ["2"];
  let arguments = (ins Onnx_Tensor:$indices, Onnx_Tensor:$depth, Onnx_Tensor:$values, Onnx_Int_<"-1">:$axis);
}
def Onnx_NonZeroOp : Onnx_Op<"NonZero", "Indices of the non-zero elements, i64 [rank, count], row-major order"> {
  let elements = ["i64"];
  let arguments = (ins Onnx_Tensor:$X);
  let results = (outs Onnx_Tensor:$Y);
}
def Onnx_CompressOp : Onnx_Op<"Compress", "Slices along `axis` (or elements, without it) where the condition holds"> {
  let arguments = (ins Onnx_Tensor:$input, Onnx_Tensor:$condition, Onnx_OptInt:$axis);
}
def Onnx_TopKOp : Onnx_Op<"TopK", "The K largest (or smallest) along `axis`, and where they were"> {
  let elements = ["0", "i64"];
  let description = [{ `K` is an i64 tensor of one element. Ties: the lower index first. Indices are i64. }];
  let arguments = (ins Onnx_Tensor:$X, Onnx_Tensor:$K, Onnx_Int_<"-1">:$axis, Onnx_Flag_<"1">:$largest,
                       Onnx_Flag_<"1">:$sorted);
  let results = (outs Onnx_Tensor:$Values, Onnx_Tensor:$Indices);
}
def Onnx_UniqueOp : Onnx_Op<"Unique", "The distinct elements, or slices along `axis`"> {
  let elements = ["0", "i64", "i64", "i64"];
  let arguments = (ins Onnx_Tensor:$X, Onnx_OptInt:$axis, Onnx_Flag_<"1">:$sorted);
  let results = (outs Onnx_Tensor:$Y, Onnx_Tensor:$indices, Onnx_Tensor:$inverse_indices, Onnx_Tensor:$counts);
}

//===----------------------------------------------------------------------===//
// Makers
//===----------------------------------------------------------------------===//

def Onnx_RangeOp : Onnx_Op<"Range", "start, start + delta, ... before limit; scalars"> {
  let arguments = (ins Onnx_Tensor:$start, Onnx_Tensor:$limit, Onnx_Tensor:$delta);
}
def Onnx_ConstantOfShapeOp : Onnx_Op<"ConstantOfShape", "A tensor of the given shape filled with one value (f32 0 by default)"> {
  let elements = ["@value|f32"];
  let arguments = (ins Onnx_Tensor:$input, OptionalAttr<ElementsAttr>:$value);
}
def Onnx_EyeLikeOp : Onnx_Op<"EyeLike", "Ones on diagonal k, zeros elsewhere, in the input's 2-D shape"> {
  let elements = ["@dtype|0"];
  let arguments = (ins Onnx_Tensor:$input, OptionalAttr<TypeAttr>:$dtype, Onnx_Int_<"0">:$k);
}

#endif  // EMOE_ONNX_SHAPE_OPS_TD
