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
class Onnx_Int_<string value> : DefaultValuedAttr<Onnx_Int, value>;
class Onnx_Float_<string value> : DefaultValuedAttr<Onnx_Float, value>;
class Onnx_Str_<string value> : DefaultValuedStrAttr<StrAttr, value>;
defvar Onnx_OptInt = OptionalAttr<Onnx_Int>;
defvar Onnx_OptFloat = OptionalAttr<Onnx_Float>;
defvar Onnx_OptInts = OptionalAttr<DenseI64ArrayAttr>;

defvar Onnx_Tensor = AnyTensor;
defvar Onnx_Opt = Optional<AnyTensor>;
defvar Onnx_Many = Variadic<AnyTensor>;

// How many inputs and outputs an op has, for code that handles every op alike (import).
def Onnx_SignatureInterface : OpInterface<"SignatureInterface"> {
  let cppNamespace = "::emoe::onnx";
  let methods = [StaticInterfaceMethod<
      "One letter an input: `i` required, `o` optional, `v` variadic; a `>`; one letter an output, `i` or `v`.",
      "::llvm::StringRef", "getSignature", (ins)>];
}

// Letters of a dag of inputs or outputs, attributes left out.
class Onnx_Letters<dag list_> {
  string value = !foldl("", !foreach(i, !range(!size(list_)), !getdagarg<Constraint>(list_, i)), text, item,
    text # !if(!isa<Attr>(item), "", !if(!isa<Optional>(item), "o", !if(!isa<Variadic>(item), "v", "i"))));
}

// An op that computes its results from its operands alone.
class Onnx_Op<string mnemonic, string summary_, list<Trait> traits = []>
    : Op<Onnx_Dialect, mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Onnx_SignatureInterface>], traits)> {
  let summary = summary_;
  let results = (outs Onnx_Tensor:$output);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let extraClassDefinition = "::llvm::StringRef $cppClass::getSignature() { return \"" # Onnx_Letters<arguments>.value
                             # ">" # Onnx_Letters<results>.value # "\"; }";
}

#endif  // EMOE_ONNX_DIALECT_TD
