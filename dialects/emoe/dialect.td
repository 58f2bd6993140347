// The emoe dialect and the base class of its ops.
#ifndef EMOE_DIALECT_TD
#define EMOE_DIALECT_TD

include "mlir/IR/OpBase.td"

def Emoe_Dialect : Dialect {
  let name = "emoe";
  let cppNamespace = "::emoe";
  let summary = "A mixture-of-experts language model as the compiler thinks of it";
  let description = [{
    Few ops that carry meaning: one op per part of a layer. Tokens flow as `tensor<?xDxf32>` values, one row a
    token; weights are symbols (`emoe.weight`) whose bytes stay in the model's files. Passes add decisions as
    attributes: a weight's `layout` (quantise), its `placement` (partition-experts), and at last the `emoe.program`
    that the runtime executes (schedule).

    Symbols used in the descriptions: T tokens, D model width, E experts, K experts chosen per token, F expert
    width, V vocabulary, N rows and C columns of a weight.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

class Emoe_Op<string mnemonic, list<Trait> traits = []> : Op<Emoe_Dialect, mnemonic, traits>;
class Emoe_Attr<string name, string mnemonic_, list<Trait> traits = []> : AttrDef<Emoe_Dialect, name, traits> {
  let mnemonic = mnemonic_;
}

#endif  // EMOE_DIALECT_TD
