// Ops of the emoe dialect: weights, the parts of a decoder, and the routing and experts of a mixture.
#ifndef EMOE_OPS_TD
#define EMOE_OPS_TD

include "dialects/emoe/attrs.td"
include "dialects/emoe/kernel_ops.td"
include "dialects/emoe/program_ops.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"

def Emoe_Rows : 2DTensorOf<[F32]>;            // [T, width]
def Emoe_Ids : 1DTensorOf<[I32]>;             // [T]
def Emoe_ExpertIds : 2DTensorOf<[I32]>;       // [T, K]

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def Emoe_WeightOp : Emoe_Op<"weight", [Symbol]> {
  let summary = "Name a weight matrix [N, C] (or a vector, as [1, C]) whose bytes stay where they are";
  let description = [{
    A symbol, never data. `source` says where the values are; `layout` (set by quantise) how they will lie in the
    bundle; `placement` (set by partition-experts) is `resident` or `[layer, expert]`. A matrix is in the order of
    torch's nn.Linear: N outputs by C inputs, y = x * W^T.

    Example: `emoe.weight @layer0.q_proj [128, 128] #emoe.source<"model.onnx.data", 0, f16, [128, 1]>`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DenseI64ArrayAttr:$shape, Emoe_SourceAttr:$source,
                       OptionalAttr<Emoe_LayoutAttr>:$layout, OptionalAttr<AnyAttr>:$placement);
  let assemblyFormat = "$sym_name $shape $source attr-dict";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Parts of a decoder
//===----------------------------------------------------------------------===//

class Emoe_Pure<string mnemonic, list<Trait> traits = []> : Emoe_Op<mnemonic, !listconcat([Pure], traits)>;
defvar Emoe_NamesWeights = DeclareOpInterfaceMethods<SymbolUserOpInterface>;  // checks that they exist and fit

def Emoe_EmbeddingOp : Emoe_Pure<"embedding", [Emoe_NamesWeights]> {
  let summary = "Look tokens up in an embedding table";
  let description = [{ y[t] = scale * W[ids[t]]; ids [T], W [V, D] -> y [T, D]. }];
  let arguments = (ins Emoe_Ids:$ids, FlatSymbolRefAttr:$weight, DefaultValuedAttr<F32Attr, "1.0f">:$scale);
  let results = (outs Emoe_Rows:$result);
  let hasVerifier = 1;
  let assemblyFormat = "$ids $weight attr-dict `:` functional-type(operands, results)";
}

def Emoe_NormOp : Emoe_Pure<"norm", [Emoe_NamesWeights, AllTypesMatch<["input", "result"]>]> {
  let summary = "Normalise rows, or equal parts of rows, by their mean square (rms) or their variance (layer)";
  let description = [{
    rms: y = x / sqrt(mean(x^2) + epsilon) * W; layer: y = (x - mean(x)) / sqrt(var(x) + epsilon) * W + B.
    A row [D] is cut into `heads` parts, each normalised alone with the same W [1, D/heads] (QK-norm).
  }];
  let arguments = (ins Emoe_Rows:$input, FlatSymbolRefAttr:$weight, OptionalAttr<FlatSymbolRefAttr>:$bias,
                       Emoe_NormKindAttr:$kind, F32Attr:$epsilon, DefaultValuedAttr<I64Attr, "1">:$heads);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$kind $input $weight attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Emoe_LinearOp : Emoe_Pure<"linear", [Emoe_NamesWeights]> {
  let summary = "Multiply rows by a weight matrix";
  let description = [{ y = x * W^T (+ B); x [T, C], W [N, C], B [1, N] -> y [T, N]. }];
  let arguments = (ins Emoe_Rows:$input, FlatSymbolRefAttr:$weight, OptionalAttr<FlatSymbolRefAttr>:$bias);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$input $weight attr-dict `:` functional-type(operands, results)";
}

def Emoe_RotaryOp : Emoe_Pure<"rotary", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Rotate pairs of each head's elements by the token's position (rotary embedding, arXiv 2104.09864)";
  let description = [{
    For pair i of a head at position p: angle a = p * inv_freq[i] (rounded to float32), (x, y) ->
    m * (x cos a - y sin a, y cos a + x sin a) with m = `magnitude`. Pairs are (i, i + R/2) for `half`,
    (2i, 2i+1) for `interleaved`, R = 2 * size of inv_freq <= head size; elements from R on pass through.
    Positions are the tokens' own: the session's position plus the row.
  }];
  let arguments = (ins Emoe_Rows:$input, I64Attr:$heads, Emoe_RotaryStyleAttr:$style,
                       DenseF32ArrayAttr:$inv_freq, DefaultValuedAttr<F32Attr, "1.0f">:$magnitude);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$style $input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Emoe_AttentionOp : Emoe_Op<"attention", [Emoe_NamesWeights]> {
  let summary = "Append keys and values to a layer's cache and attend causally over it";
  let description = [{
    q [T, heads * head_dim], k and v [T, kv_heads * head_dim] -> [T, heads * head_dim]. Query head h uses key head
    h / (heads / kv_heads). A token at position p sees positions max(0, p - window + 1) .. p (`window` 0: all).
    Scores are q.k * scale, then softcap * tanh(s / softcap) if softcap > 0; `sinks` [1, heads] adds exp(sink) to
    the softmax's denominator. `layer` numbers the cache.
  }];
  let arguments = (ins Emoe_Rows:$query, Emoe_Rows:$key, Emoe_Rows:$value, I64Attr:$layer, I64Attr:$heads,
                       I64Attr:$kv_heads, I64Attr:$head_dim, F32Attr:$scale,
                       DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       OptionalAttr<FlatSymbolRefAttr>:$sinks);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$query `,` $key `,` $value attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Emoe_AddOp : Emoe_Pure<"add", [Commutative, AllTypesMatch<["lhs", "rhs", "result"]>]> {
  let summary = "Add rows elementwise";
  let arguments = (ins Emoe_Rows:$lhs, Emoe_Rows:$rhs);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}

def Emoe_MulOp : Emoe_Pure<"mul", [Commutative, AllTypesMatch<["lhs", "rhs", "result"]>]> {
  let summary = "Multiply rows elementwise";
  let arguments = (ins Emoe_Rows:$lhs, Emoe_Rows:$rhs);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}

def Emoe_ActivateOp : Emoe_Pure<"activate", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Apply an activation function elementwise";
  let arguments = (ins Emoe_ActivationAttr:$activation, Emoe_Rows:$input);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$activation $input attr-dict `:` type($input)";
}

//===----------------------------------------------------------------------===//
// Routing and experts
//===----------------------------------------------------------------------===//

def Emoe_RouteOp : Emoe_Pure<"route", [Emoe_NamesWeights]> {
  let summary = "Choose each token's experts and their weights from router logits";
  let description = [{
    Scores s = score(logits) over all E experts (softmax in float32, sigmoid, or the logits themselves). The `top_k`
    experts with the largest s + selection_bias are chosen, ties by the lowest index. Their weights are s at the
    chosen experts; `softmax_after` softmaxes them over the chosen; `renormalise` divides them by their sum +
    `epsilon`; then `scale` multiplies them. The results list a token's experts by ascending expert index.

    Example: `%ids, %w = emoe.route softmax %logits {top_k = 2, renormalise} : (tensor<?x16xf32>) ->
    (tensor<?x2xi32>, tensor<?x2xf32>)`
  }];
  let arguments = (ins Emoe_ScoreFunctionAttr:$score, Emoe_Rows:$logits, I64Attr:$top_k,
                       OptionalAttr<FlatSymbolRefAttr>:$selection_bias, UnitAttr:$softmax_after,
                       UnitAttr:$renormalise, DefaultValuedAttr<F32Attr, "0.0f">:$epsilon,
                       DefaultValuedAttr<F32Attr, "1.0f">:$scale);
  let results = (outs Emoe_ExpertIds:$ids, Emoe_Rows:$weights);
  let assemblyFormat = "$score $logits attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Emoe_MoeOp : Emoe_Pure<"moe", [Emoe_NamesWeights]> {
  let summary = "Send each token through its chosen experts and add their weighted results";
  let description = [{
    y[t] = sum over j of weights[t, j] * expert(ids[t, j])(x[t]), summed by ascending expert index.
    Gated expert: down(act(gate x) * (up x)); not gated (no `gate`): down(act(up x)). gate, up [F, D], down [D, F];
    each attribute lists E symbols, entry e belonging to expert e. `layer` numbers the mixture layers from 0.
  }];
  let arguments = (ins Emoe_Rows:$input, Emoe_ExpertIds:$ids, Emoe_Rows:$weights, I64Attr:$layer,
                       Emoe_ActivationAttr:$activation, OptionalAttr<ArrayAttr>:$gate, ArrayAttr:$up,
                       ArrayAttr:$down);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$activation $input `,` $ids `,` $weights attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif  // EMOE_OPS_TD
