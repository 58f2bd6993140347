// Ops of the emoe dialect that hold the compiler's decisions: records, kernels, buffers and the program.
#ifndef EMOE_PROGRAM_OPS_TD
#define EMOE_PROGRAM_OPS_TD

include "dialects/emoe/attrs.td"
include "mlir/IR/SymbolInterfaces.td"

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def Emoe_ExpertPart : Emoe_Enum<"ExpertPart", [
    I32EnumAttrCase<"Gate", 0, "gate">, I32EnumAttrCase<"Up", 1, "up">, I32EnumAttrCase<"Down", 2, "down">,
    I32EnumAttrCase<"GateBias", 3, "gate_bias">, I32EnumAttrCase<"UpBias", 4, "up_bias">,
    I32EnumAttrCase<"DownBias", 5, "down_bias">]>;

def Emoe_RecordAttr : Emoe_Attr<"Record", "record"> {
  let summary = "Placement of an expert's weight: which part of the record of (layer, expert)";
  let parameters = (ins "int64_t":$layer, "int64_t":$expert, EnumParameter<Emoe_ExpertPart>:$part);
  let assemblyFormat = "`<` $layer `,` $expert `,` $part `>`";
}

def Emoe_VariantAttr : Emoe_Attr<"Variant", "variant"> {
  let summary = "How experts of a layer lie in their records (schema/FORMAT.md, expert records)";
  let parameters = (ins Emoe_LayoutAttr:$layout, "int64_t":$down_offset, "int64_t":$bytes,
                        ArrayRefParameter<"int64_t">:$chunk_ends);
  let assemblyFormat = "`<` $layout `,` `down_offset` `=` $down_offset `,` `bytes` `=` $bytes `,` `chunk_ends` `=` `[` $chunk_ends `]` `>`";
}

def Emoe_OperandKind : Emoe_Enum<"OperandKind", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"TokenIds", 1, "token_ids">,
    I32EnumAttrCase<"Buffer", 2, "buffer">, I32EnumAttrCase<"KvKeys", 4, "keys">,
    I32EnumAttrCase<"KvValues", 5, "values">, I32EnumAttrCase<"State", 6, "state">]>;

def Emoe_OperandAttr : Emoe_Attr<"Operand", "operand"> {
  let summary = "An operand of a step that is not a weight: a buffer, a cache, a recurrent state, the token ids, or none";
  let parameters = (ins EnumParameter<Emoe_OperandKind>:$kind, "int64_t":$index);
  let assemblyFormat = "`<` $kind `,` $index `>`";
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

def Emoe_RecordsOp : Emoe_Op<"records"> {
  let summary = "State how the experts of a mixture layer are stored (made by partition-experts)";
  let description = [{ `variant_of[e]` is the index of expert e's variant. }];
  let arguments = (ins I64Attr:$layer, ArrayAttr:$variants, DenseI32ArrayAttr:$variant_of);
  let assemblyFormat = "$layer $variants $variant_of attr-dict";
  let hasVerifier = 1;
}

def Emoe_TableOp : Emoe_Op<"table", [Symbol]> {
  let summary = "Name a vector of constants that the program reads (rotary frequencies)";
  let arguments = (ins SymbolNameAttr:$sym_name, DenseF32ArrayAttr:$values);
  let assemblyFormat = "$sym_name $values attr-dict";
}

def Emoe_KernelOp : Emoe_Op<"kernel", [Symbol]> {
  let summary = "Name a kernel; its specification says what codegen generates (compiler/codegen/kernel.h)";
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$spec);
  let assemblyFormat = "$sym_name $spec attr-dict";
}

def Emoe_BufferOp : Emoe_Op<"buffer"> {
  let summary = "An activation buffer: bytes = fixed + per_token * rows; buffers of one slot share memory";
  let description = [{ Buffers are numbered in the order in which they stand in the program. `wanted`: it holds only
    the rows whose logits the caller wants; `source`: the rows of an encoder's input. }];
  let arguments = (ins I64Attr:$index, I64Attr:$fixed, I64Attr:$per_token, I64Attr:$slot, UnitAttr:$wanted,
                       UnitAttr:$source);
  let assemblyFormat = [{
    $index `fixed` $fixed `per_token` $per_token `slot` $slot (`wanted` $wanted^)? (`source` $source^)? attr-dict
  }];
}

def Emoe_CallOp : Emoe_Op<"call"> {
  let summary = "Step: run a kernel on all tiles; operands are weights (symbols) or #emoe.operand";
  let description = [{ `source`: it runs once for an encoder's whole input, not for each chunk. }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, ArrayAttr:$operands, UnitAttr:$wanted, UnitAttr:$source);
  let assemblyFormat = "$kernel $operands (`wanted` $wanted^)? (`source` $source^)? attr-dict";
}

def Emoe_RunExpertsOp : Emoe_Op<"run_experts"> {
  let summary = "Step: run the experts that the chunk's tokens chose";
  let description = [{ Operands: input f32 rows, input q8 rows, expert ids, hidden rows, pair rows. Kernels: for each
    variant of the layer's records, [gate_up, down]. With a `capacity`, a sixth operand is the experts'
    weights, which are cleared for tokens that an expert does not take any more. `ranked`: as of emoe.route. If
    `weight_scale` is positive, the weights that are left are divided by the larger of their sum and `weight_floor`, and
    multiplied by `weight_scale`. `source` as of a call. }];
  let arguments = (ins I64Attr:$layer, I64Attr:$top_k, ArrayAttr:$kernels, ArrayAttr:$operands,
                       DefaultValuedAttr<I64Attr, "0">:$capacity, UnitAttr:$ranked,
                       DefaultValuedAttr<F32Attr, "0.0f">:$weight_floor,
                       DefaultValuedAttr<F32Attr, "0.0f">:$weight_scale, UnitAttr:$source);
  let assemblyFormat = "$layer `top_k` $top_k $kernels $operands (`source` $source^)? attr-dict";
}

def Emoe_LookAheadOp : Emoe_Op<"look_ahead"> {
  let summary = "Step: give the next mixture layer's router the hidden state that this one routes (Fate, 2502.12224)";
  let description = [{
    `layer` is looked ahead to; the experts of the layer before have not run yet. `norm` runs on the first of `operands`
    (input rows, weight, normed rows, and a bias if it has one), then `router` on `router_operands` (normed rows, weight,
    scores, and a bias if it has one). Experts are ranked by `score` of the scores plus `selection_bias`. Only the
    predictor reads the result, so the step may be left out.
  }];
  let arguments = (ins I64Attr:$layer, FlatSymbolRefAttr:$norm, ArrayAttr:$operands, FlatSymbolRefAttr:$router,
                       ArrayAttr:$router_operands, Emoe_ScoreFunctionAttr:$score,
                       OptionalAttr<FlatSymbolRefAttr>:$selection_bias);
  let assemblyFormat = "$layer $norm $operands $router $router_operands $score ($selection_bias^)? attr-dict";
  let hasVerifier = 1;
}

def Emoe_ProgramOp : Emoe_Op<"program", [NoTerminator, SingleBlock, NoRegionArguments]> {
  let summary = "The straight-line program that the runtime executes for each chunk (made by schedule)";
  let description = [{ Holds emoe.buffer ops, then steps in order. `caches` lists [kv_heads, head_dim] of each
    attention layer, flattened, `states` the bytes of each recurrent state; `logits` is the index of the buffer with
    the result. }];
  let arguments = (ins DenseI64ArrayAttr:$caches, OptionalAttr<DenseI64ArrayAttr>:$states, I64Attr:$logits);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`caches` $caches (`states` $states^)? `logits` $logits attr-dict-with-keyword $body";
}

#endif  // EMOE_PROGRAM_OPS_TD
