// The onnx dialect and the base classes of its ops.
#ifndef EMOE_ONNX_DIALECT_TD
#define EMOE_ONNX_DIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::emoe::onnx";
  let summary = "What an ONNX file says, op by op";
  let description = [{
    Import-only: the frontend makes these ops and raising consumes them; nothing is written back to ONNX.

    - An op's mnemonic is its ONNX name (`onnx.MatMul`); ops of another domain carry it (`onnx.com.microsoft.MoE`).
    - Operands, attributes and defaults have ONNX's names and meaning in their newest form: what an older opset wrote
      as an attribute (`axes` of ReduceSum, `min` of Clip) is an operand here.
    - Absent optional inputs are absent operands. Every output of a fixed list is a result; one that the file does not
      name has no uses.
    - Types are tensors, unranked where the file does not say. Integers keep their signedness: `i64` is int64,
      `ui8` uint8, `i1` bool.
    - Data is never in the IR: large tensors are `onnx.tensor` symbols, small integers `onnx.constant`.
  }];
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::emoe::EmoeDialect", "::mlir::func::FuncDialect"];
}

class Onnx_Type<string name, string mnemonic_> : TypeDef<Onnx_Dialect, name> { let mnemonic = mnemonic_; }
def Onnx_Float4E2M1 : Onnx_Type<"Float4E2M1", "f4E2M1"> {
  let summary = "4-bit float: sign, 2 exponent bits (bias 1), 1 mantissa bit; no infinities, no NaN (OCP MX 1.0)";
}
def Onnx_Float8E8M0 : Onnx_Type<"Float8E8M0", "f8E8M0"> {
  let summary = "8-bit power of two: 2^(x - 127), 255 is NaN; a scale of MX blocks (OCP MX 1.0)";
}
def Onnx_String : Onnx_Type<"String", "string"> { let summary = "A string element; no op that we compile reads one"; }

// Attributes whose accessors return what C++ computes with.
def Onnx_Int : TypedSignlessIntegerAttrBase<I64, "int64_t", "ONNX int attribute">;
def Onnx_Float : FloatAttrBase<F32, "ONNX float attribute"> {
  let returnType = "float";
  let convertFromStorage = "$_self.getValue().convertToFloat()";
}
// 0 or 1. ONNX Runtime takes other numbers for true here and for false there, so there are none.
def Onnx_Bit : ConfinedAttr<Onnx_Int, [IntNonNegative, IntMaxValue<1>]> { let summary = "0 or 1"; }
class Onnx_Flag_<string value> : DefaultValuedAttr<Onnx_Bit, value>;
class Onnx_Int_<string value> : DefaultValuedAttr<Onnx_Int, value>;
class Onnx_Float_<string value> : DefaultValuedAttr<Onnx_Float, value>;
class Onnx_Str_<string value> : DefaultValuedStrAttr<StrAttr, value>;
defvar Onnx_OptInt = OptionalAttr<Onnx_Int>;
defvar Onnx_OptFloat = OptionalAttr<Onnx_Float>;
defvar Onnx_OptStr = OptionalAttr<StrAttr>;
defvar Onnx_OptInts = OptionalAttr<DenseI64ArrayAttr>;

defvar Onnx_Tensor = AnyTensor;
defvar Onnx_Opt = Optional<AnyTensor>;
defvar Onnx_Many = Variadic<AnyTensor>;

// What code that handles every op alike (import) must know of an op.
def Onnx_SignatureInterface : OpInterface<"SignatureInterface"> {
  let cppNamespace = "::emoe::onnx";
  let description = [{
    A signature lists inputs, `>`, outputs, each followed by a space. Input: `name:i` required, `name:o` optional,
    `name:v` variadic. Output: `name:rule`, or `name:*rule` for a variadic one; the rule gives the element type, the
    first alternative of `|` that applies: a digit (as that input's), `@attr` (the attribute's type) or a type.
    Example: `X:i K:i >Values:0 Indices:i64 `.
  }];
  let methods = [StaticInterfaceMethod<"The op's signature", "::llvm::StringRef", "getSignature", (ins)>];
}

class Onnx_Inputs<dag list_> {
  string value = !foldl("", !range(!size(list_)), text, i,
    text # !if(!isa<Attr>(!getdagarg<Constraint>(list_, i)), "", !getdagname(list_, i) #
               !if(!isa<Optional>(!getdagarg<Constraint>(list_, i)), ":o ",
                   !if(!isa<Variadic>(!getdagarg<Constraint>(list_, i)), ":v ", ":i "))));
}
class Onnx_Outputs<dag list_, list<string> rules> {
  string value = !foldl("", !range(!size(list_)), text, i,
    text # !getdagname(list_, i) # !if(!isa<Variadic>(!getdagarg<Constraint>(list_, i)), ":*", ":")
         # !if(!lt(i, !size(rules)), rules[i], "0") # " ");
}

class Onnx_OpBase<string mnemonic, string summary_, list<Trait> traits>
    : Op<Onnx_Dialect, mnemonic, !listconcat([DeclareOpInterfaceMethods<Onnx_SignatureInterface>], traits)> {
  let summary = summary_;
  let results = (outs Onnx_Tensor:$output);
  list<string> elements = [];  // rules of the outputs' element types; by default the first input's
  let extraClassDefinition = "::llvm::StringRef $cppClass::getSignature() { return \"" # Onnx_Inputs<arguments>.value
                             # ">" # Onnx_Outputs<results, elements>.value # "\"; }\n";
}

// An op that computes its results from its operands alone.
class Onnx_Op<string mnemonic, string summary_, list<Trait> traits = []>
    : Onnx_OpBase<mnemonic, summary_, !listconcat([Pure], traits)> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif  // EMOE_ONNX_DIALECT_TD
