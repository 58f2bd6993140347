// Ops of the emoe dialect that stand inside generated kernels.
#ifndef EMOE_KERNEL_OPS_TD
#define EMOE_KERNEL_OPS_TD

include "dialects/emoe/attrs.td"
include "mlir/Dialect/LLVMIR/LLVMOpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Emoe_Lanes : VectorOfLengthAndType<[16], [F32]>;

def Emoe_TileProductOp : Emoe_Op<"tile_product"> {
  let summary = "One panel of packed weights times a few rows of activations";
  let description = [{
    `weights` points to a panel (16 outputs, all `columns`) in `layout` (schema/FORMAT.md, weight layouts), `rows` to
    rows of activations (schema/kernel_abi.h): f32 rows, or q8 rows if `q8` is there. Result m is the vector of the
    panel's 16 outputs for row m. A row's result does not depend on how many rows the op has:

    - bits 32, 16: over ascending columns c, sum = fma(w[c], x[c], sum).
    - weights with scales by q8 rows: over ascending groups g of 32 columns, sum = fma(float(d), w_scale[g] * x_scale[g],
      sum), where d is the exact integer sum of w_q[c] * x_q[c] over the 32 columns.
    - weights with scales by f32 rows: over ascending groups of 32 columns, d = fma(float(w_q[c]), x[c], d) from 0 over
      ascending columns, then sum = fma(d, w_scale[g], sum).

    w_scale[g] is the scale of the weights' group that has the columns, and w_q a weight in units of it; of centred layouts,
    which are halves, w_scale is half the scale and w_q = 2 * code - (2^bits - 1). Groups beyond the columns are left out.

    fma is fused wherever the target can, else a multiply and an add. lower-tile-products turns the op into loops: by
    the generic lowering, or for q8 rows by the one that the target's integer dot products allow.

    Example: `%y = emoe.tile_product %w [%x : !llvm.ptr] #q4 columns 64 q8 : !llvm.ptr -> vector<16xf32>`
  }];
  let arguments = (ins Arg<LLVM_AnyPointer, "the panel", [MemRead]>:$weights,
                       Arg<Variadic<LLVM_AnyPointer>, "rows", [MemRead]>:$rows,
                       Emoe_LayoutAttr:$layout, I64Attr:$columns, UnitAttr:$q8);
  let results = (outs Variadic<Emoe_Lanes>:$sums);
  let assemblyFormat = [{
    $weights `[` $rows `:` type($rows) `]` $layout `columns` $columns (`q8` $q8^)? attr-dict `:` type($weights) `->`
    type($sums)
  }];
  let hasVerifier = 1;
}

#endif  // EMOE_KERNEL_OPS_TD
