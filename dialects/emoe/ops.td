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

def Emoe_NumberTokensOp : Emoe_Op<"number_tokens", [AllTypesMatch<["ids", "result"]>]> {
  let summary = "Number the tokens of a sequence, without its padding";
  let description = [{
    ids [T] -> numbers [T]: `first`, `first` + 1 ... for the tokens of a sequence that are not `padding`, and `first` - 1
    for those that are; at most `limit` - 1. They look up embeddings of positions. `state` is the recurrent state, one
    number, that counts from call to call; without one every call is a sequence (an encoder's).

    Example: `%n = emoe.number_tokens %ids {padding = 1, first = 2, limit = 1026, state = 0} : tensor<?xi32>`
  }];
  let arguments = (ins Emoe_Ids:$ids, I64Attr:$padding, I64Attr:$first, I64Attr:$limit, OptionalAttr<I64Attr>:$state);
  let results = (outs Emoe_Ids:$result);
  let assemblyFormat = "$ids attr-dict `:` type($ids)";
  let hasVerifier = 1;
}

def Emoe_NormOp : Emoe_Pure<"norm", [Emoe_NamesWeights, AllTypesMatch<["input", "result"]>]> {
  let summary = "Normalise rows, or equal parts of rows, by their mean square (rms) or their variance (layer)";
  let description = [{
    rms: y = x / sqrt(mean(x^2) + epsilon) * (W + offset); layer: y = (x - mean(x)) / sqrt(var(x) + epsilon) * W + B.
    A row [D] is cut into `heads` parts, each normalised alone with the same W [1, D/heads] (QK-norm).
  }];
  let arguments = (ins Emoe_Rows:$input, FlatSymbolRefAttr:$weight, OptionalAttr<FlatSymbolRefAttr>:$bias,
                       Emoe_NormKindAttr:$kind, F32Attr:$epsilon, DefaultValuedAttr<I64Attr, "1">:$heads,
                       DefaultValuedAttr<F32Attr, "0.0f">:$offset);
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
    Positions are the tokens' own: the session's position plus the row. m cos a and m sin a are rounded to `digits`
    binary digits, as a model's table of them is (24: float32, 11: float16, 8: bfloat16).
  }];
  let arguments = (ins Emoe_Rows:$input, I64Attr:$heads, Emoe_RotaryStyleAttr:$style,
                       DenseF32ArrayAttr:$inv_freq, DefaultValuedAttr<F32Attr, "1.0f">:$magnitude,
                       DefaultValuedAttr<I64Attr, "24">:$digits);
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
    `bidirectional`: every query sees all rows of `key`, which may be rows of another sequence (cross-attention); nothing
    of earlier calls is kept. `position_bias` is added to scores: a table [heads, D] of which entry
    `bias_before` + d belongs to a key d positions after the query (before it: d < 0); d beyond the table's ends counts
    as the end (relative position bias, arXiv 1910.10683).
  }];
  let arguments = (ins Emoe_Rows:$query, Emoe_Rows:$key, Emoe_Rows:$value, I64Attr:$layer, I64Attr:$heads,
                       I64Attr:$kv_heads, I64Attr:$head_dim, F32Attr:$scale,
                       DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       OptionalAttr<FlatSymbolRefAttr>:$sinks, UnitAttr:$bidirectional,
                       OptionalAttr<DenseF32ArrayAttr>:$position_bias, DefaultValuedAttr<I64Attr, "0">:$bias_before);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$query `,` $key `,` $value attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Emoe_ShortConvOp : Emoe_Op<"short_conv", [Emoe_NamesWeights, AllTypesMatch<["input", "result"]>]> {
  let summary = "Convolve each channel with its own few weights over the last tokens";
  let description = [{
    The causal depthwise convolution of hybrid decoders (LFM2's short convolution; the convolution before a gated delta
    net; Conv1d of torch with groups = channels). x [T, D], W [K, D], B [1, D], K >= 2 taps:
    y[t, c] = B[c] + sum over j < K of W[j, c] * x[t - (K - 1) + j, c], summed by ascending j.
    Rows before the first are the last K - 1 rows of the call before, zeros at the start of a sequence: recurrent state
    number `state` of the session, [K - 1, D] with the oldest row first.

    Example: `%y = emoe.short_conv %x @layer0.conv {state = 0} : tensor<?x64xf32>`
  }];
  let arguments = (ins Emoe_Rows:$input, FlatSymbolRefAttr:$weight, OptionalAttr<FlatSymbolRefAttr>:$bias,
                       I64Attr:$state);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$input $weight attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Emoe_DeltaNetOp : Emoe_Op<"delta_net", [Emoe_NamesWeights]> {
  let summary = "Attend by a state that each token decays and corrects (gated delta net, arXiv 2412.06464)";
  let description = [{
    q and k [T, key_heads * d], v [T, heads * e], a and b [T, heads] -> [T, heads * e]. Head h uses query and key head
    h / (heads / key_heads). `normalise` divides each head's q and k by sqrt(sum of squares + epsilon), and makes zeros of them
    where that is zero. With f = W[h] (`log_decay`: -exp(W[h])) of `decay` [1, heads], which is not positive,
    g = exp(f * softplus(a + decay_bias[h])), r = sigmoid(b), and S [d, e] the head's part of the state, each token does
    S = g * S + r * k (v - k^T (g * S)), y = scale * q^T S.
    S is recurrent state number `state` of the session, [heads, d, e], zeros at the start of a sequence.

    Example: `%y = emoe.delta_net %q, %k, %v, %a, %b @layer0.decay {heads = 4, key_heads = 2, scale = 0.25 : f32, state = 1,
    normalise} : (...) -> tensor<?x64xf32>`
  }];
  let arguments = (ins Emoe_Rows:$query, Emoe_Rows:$key, Emoe_Rows:$value, Emoe_Rows:$decay_input, Emoe_Rows:$rate_input,
                       FlatSymbolRefAttr:$decay, OptionalAttr<FlatSymbolRefAttr>:$decay_bias, UnitAttr:$log_decay,
                       I64Attr:$heads, I64Attr:$key_heads, F32Attr:$scale, UnitAttr:$normalise,
                       DefaultValuedAttr<F32Attr, "0.0f">:$epsilon, I64Attr:$state);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = [{ $query `,` $key `,` $value `,` $decay_input `,` $rate_input $decay attr-dict `:`
                          functional-type(operands, results) }];
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

def Emoe_ScaleOp : Emoe_Pure<"scale", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Multiply rows by a number";
  let description = [{ y = factor * x. }];
  let arguments = (ins Emoe_Rows:$input, F32Attr:$factor);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$input $factor attr-dict `:` type($input)";
}

def Emoe_ScaleRowsOp : Emoe_Pure<"scale_rows", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Multiply each row by a number of its own";
  let description = [{ y[t, i] = x[t, i] * factor[t, 0]; factor [T, 1]: the gate of a shared expert. }];
  let arguments = (ins Emoe_Rows:$input, Emoe_Rows:$factor);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$input `,` $factor attr-dict `:` type($input) `,` type($factor)";
  let hasVerifier = 1;
}

def Emoe_SliceHeadsOp : Emoe_Pure<"slice_heads"> {
  let summary = "Take some columns of each head";
  let description = [{
    A row [D] is cut into `heads` parts; of each, columns `start` to `start` + width / heads, where `width` is the
    result's. The parts lie one after the other again. Columns beyond the end of a part are zeros (padding).

    Example: `%rope = emoe.slice_heads %q {heads = 4, start = 32} : (tensor<?x192xf32>) -> tensor<?x64xf32>`
  }];
  let arguments = (ins Emoe_Rows:$input, I64Attr:$heads, I64Attr:$start);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Emoe_ConcatHeadsOp : Emoe_Pure<"concat_heads"> {
  let summary = "Put two rows side by side, head by head";
  let description = [{
    Each of `heads` parts of the result is a part of `lhs` followed by a part of `rhs`. `rhs` has `rhs_heads` parts:
    as many as `lhs`, or one, which every head gets (the shared rotary part of multi-head latent attention).

    Example: `%k = emoe.concat_heads %nope, %rope {heads = 4, rhs_heads = 1} : (tensor<?x128xf32>, tensor<?x16xf32>) ->
    tensor<?x192xf32>`
  }];
  let arguments = (ins Emoe_Rows:$lhs, Emoe_Rows:$rhs, I64Attr:$heads, I64Attr:$rhs_heads);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
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
    `epsilon`; then `scale` multiplies them, and each by its expert's `expert_scale` [1, E]. The results list a token's
    experts by ascending expert index.
    Groups: the experts are cut into `groups` runs of equal size. A group's score is the sum of its `group_top` largest
    s + selection_bias; only the `top_groups` groups with the largest scores count (ties by the lowest index): in the
    others the choice sees `group_fill` instead.
    sparse_mixer (Phi-MoE): top_k rounds, each of which takes the largest logit m of the experts not yet taken. Its
    weight is its softmax over those experts of this round whose logit l has (m - l) / max(|l|, m) <= `threshold`.
    `capacity` (0: none): an expert takes so many tokens of a sequence, the first ones; the weight of any other is 0
    (Switch Transformers, arXiv 2101.03961). `ranked`: second choices come after all first ones; an expert takes the second
    choices that find room beside the first choices of the whole sequence, or, where the sequence comes in chunks, of the
    tokens so far (NLLB-MoE, arXiv 2207.04672). `renormalise_kept`: the weights that are left are divided by their sum, or
    by `epsilon` if that is larger, before `scale` multiplies them.

    Example: `%ids, %w = emoe.route softmax %logits {top_k = 2, renormalise} : (tensor<?x16xf32>) ->
    (tensor<?x2xi32>, tensor<?x2xf32>)`
  }];
  let arguments = (ins Emoe_ScoreFunctionAttr:$score, Emoe_Rows:$logits, I64Attr:$top_k,
                       OptionalAttr<FlatSymbolRefAttr>:$selection_bias, UnitAttr:$softmax_after,
                       UnitAttr:$renormalise, DefaultValuedAttr<F32Attr, "0.0f">:$epsilon,
                       DefaultValuedAttr<F32Attr, "1.0f">:$scale,
                       OptionalAttr<FlatSymbolRefAttr>:$expert_scale,
                       DefaultValuedAttr<I64Attr, "1">:$groups, DefaultValuedAttr<I64Attr, "1">:$top_groups,
                       DefaultValuedAttr<I64Attr, "1">:$group_top, DefaultValuedAttr<F32Attr, "0.0f">:$group_fill,
                       DefaultValuedAttr<F32Attr, "0.0f">:$threshold, DefaultValuedAttr<I64Attr, "0">:$capacity,
                       UnitAttr:$ranked, UnitAttr:$renormalise_kept);
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
    Biases [1, F], [1, F], [1, D] are added to each product. For a gated expert, with g = gate x + bias, u = up x + bias:
    act(min(g, limit)) * (clamp(u, -limit, limit) + offset) if `limit` > 0; silu is g * sigmoid(alpha * g).
  }];
  let arguments = (ins Emoe_Rows:$input, Emoe_ExpertIds:$ids, Emoe_Rows:$weights, I64Attr:$layer,
                       Emoe_ActivationAttr:$activation, OptionalAttr<ArrayAttr>:$gate, ArrayAttr:$up,
                       ArrayAttr:$down, OptionalAttr<ArrayAttr>:$gate_bias, OptionalAttr<ArrayAttr>:$up_bias,
                       OptionalAttr<ArrayAttr>:$down_bias, DefaultValuedAttr<F32Attr, "1.0f">:$alpha,
                       DefaultValuedAttr<F32Attr, "0.0f">:$offset, DefaultValuedAttr<F32Attr, "0.0f">:$limit);
  let results = (outs Emoe_Rows:$result);
  let assemblyFormat = "$activation $input `,` $ids `,` $weights attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif  // EMOE_OPS_TD
