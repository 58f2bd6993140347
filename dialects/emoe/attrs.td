// Attributes of the emoe dialect: where weight bytes are, how packed weights lie, rotary embedding.
#ifndef EMOE_ATTRS_TD
#define EMOE_ATTRS_TD

include "dialects/emoe/dialect.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"

class Emoe_Enum<string name, list<I32EnumAttrCase> cases> : I32EnumAttr<name, "", cases> {
  let cppNamespace = "::emoe";
  let genSpecializedAttr = 0;
}

def Emoe_FloatType : Emoe_Enum<"FloatType", [
    I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"F16", 1, "f16">, I32EnumAttrCase<"BF16", 2, "bf16">]>;
def Emoe_ZeroPoint : Emoe_Enum<"ZeroPoint", [
    I32EnumAttrCase<"Symmetric", 0, "symmetric">, I32EnumAttrCase<"PerGroup", 1, "per_group">]>;
def Emoe_Codebook : Emoe_Enum<"Codebook", [
    I32EnumAttrCase<"Integer", 0, "integer">, I32EnumAttrCase<"Ternary", 1, "ternary">,
    I32EnumAttrCase<"Mxfp4", 2, "mxfp4">, I32EnumAttrCase<"Centred", 3, "centred">]>;
def Emoe_NormKind : Emoe_Enum<"NormKind", [
    I32EnumAttrCase<"Rms", 0, "rms">, I32EnumAttrCase<"Layer", 1, "layer">]>;
def Emoe_Activation : Emoe_Enum<"Activation", [
    I32EnumAttrCase<"Silu", 0, "silu">, I32EnumAttrCase<"GeluTanh", 1, "gelu_tanh">,
    I32EnumAttrCase<"GeluErf", 2, "gelu_erf">, I32EnumAttrCase<"Relu", 3, "relu">,
    I32EnumAttrCase<"Relu2", 4, "relu2">, I32EnumAttrCase<"Sigmoid", 5, "sigmoid">,
    I32EnumAttrCase<"Tanh", 6, "tanh">]>;
def Emoe_ScoreFunction : Emoe_Enum<"ScoreFunction", [
    I32EnumAttrCase<"Softmax", 0, "softmax">, I32EnumAttrCase<"Sigmoid", 1, "sigmoid">,
    I32EnumAttrCase<"None", 2, "none">, I32EnumAttrCase<"SparseMixer", 3, "sparse_mixer">]>;
def Emoe_RotaryStyle : Emoe_Enum<"RotaryStyle", [
    I32EnumAttrCase<"Half", 0, "half">, I32EnumAttrCase<"Interleaved", 1, "interleaved">]>;

class Emoe_EnumAttr<EnumAttrInfo info, string mnemonic> : EnumAttr<Emoe_Dialect, info, mnemonic>;
def Emoe_NormKindAttr : Emoe_EnumAttr<Emoe_NormKind, "norm_kind">;
def Emoe_ActivationAttr : Emoe_EnumAttr<Emoe_Activation, "activation">;
def Emoe_ScoreFunctionAttr : Emoe_EnumAttr<Emoe_ScoreFunction, "score">;
def Emoe_RotaryStyleAttr : Emoe_EnumAttr<Emoe_RotaryStyle, "rotary_style">;

def Emoe_SourceAttr : Emoe_Attr<"Source", "source"> {
  let summary = "Where a weight's values are";
  let description = [{
    A strided view of a file: element [n, c] is at byte `offset + (n * strides[0] + c * strides[1]) * width`, where
    width is the element type's size (sub-byte types: packed low bits first, strides in elements, offset in bytes).
    Strides express transposition ([1, N]), slices of stacked experts and interleaved gate/up rows. `file` is
    relative to the model's folder, as the model's external-data entry spells it, or `<model>` for the model file
    itself, or `<decoded:NAME>` for values that no file holds as plain bytes; the WeightStore resolves it.

    Example: `#emoe.source<"model.onnx.data", 4096, f16, [128, 1]>`
  }];
  let parameters = (ins "::mlir::StringAttr":$file, "int64_t":$offset, "::mlir::Type":$element,
                        ArrayRefParameter<"int64_t">:$strides);
  let assemblyFormat = "`<` $file `,` $offset `,` $element `,` `[` $strides `]` `>`";
  let genVerifyDecl = 1;
}

def Emoe_LayoutAttr : Emoe_Attr<"Layout", "layout"> {
  let summary = "How packed weights lie in the bundle (schema/FORMAT.md, weight layouts)";
  let description = [{
    `bits` 32 or 16: values as `type` (f32; f16 or bf16). Fewer: codes with a scale of `type` per `group` columns of a
    row. `codebook` says what codes stand for: integer (8, 4 bits) includes 0; centred (3, 2 bits) is symmetrical around
    0 and has no 0; ternary (2 bits, stored as 5 codes a byte) is -1, 0, 1. `panel`: rows interleaved into the lanes of a
    panel; 1 keeps plain row-major order (norm weights).

    Example: `#emoe.layout<bits = 4, type = f16, group = 32, zero_point = symmetric, codebook = integer, panel = 16>`
  }];
  let parameters = (ins "unsigned":$bits, EnumParameter<Emoe_FloatType>:$type, "unsigned":$group,
                        EnumParameter<Emoe_ZeroPoint>:$zero_point, EnumParameter<Emoe_Codebook>:$codebook,
                        "unsigned":$panel);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    // Codes and scales, not floats.
    bool hasScales() const { return getBits() < 16; }
    // A layout with scales that the bundle format has (schema/FORMAT.md) and that kernels read.
    bool isPacked() const;
  }];
}

#endif  // EMOE_ATTRS_TD
