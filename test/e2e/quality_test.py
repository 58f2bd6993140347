"""What quantisation costs: perplexity of width 8 within 0.5 % and 4 within 1 % of lossless, of 3 and 2 bits and
ternary on prose within LOW_BITS; width 4 within 0.02 % (--exact) and 0.2 % of ONNX Runtime computing with the values that
an independent reader takes from the bundle."""
import json
import os
import sys

from bundle_reader import Bundle
from support import EMOE_RT, SHIPPED, compile_model, need, run, shared, to_float32

np = need("numpy")

# Measured, rounding to nearest in groups of 128: +1.24, +8.56 and +19.32 %.
LOW_BITS = (("3", 0.03), ("2", 0.12), ("ternary", 0.25))
WINDOW = 512  # text tokens in a window; the first token heads it and is not scored


def perplexity(bundle, *texts):
    result = json.loads(run(EMOE_RT, "eval", bundle, *[f for t in texts for f in ("--text", t)], "--json").stdout)
    return result["perplexity"], result["tokens"]


def dequantised_model(model, weights, bundle, config):
    """The export with its weights replaced by what the bundle's kernels compute with, as float32."""
    onnx = need("onnx")
    from onnx import numpy_helper
    reader = Bundle(bundle)
    tensors = reader.tensors()
    graph_model = onnx.load(model)
    graph = graph_model.graph
    by_name = {i.name: i for i in graph.initializer}
    hidden, model_width = config["moe_intermediate_size"], config["hidden_size"]
    experts = {}
    replaced = {}
    names = {"self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj",
             "self_attn.o_proj": "o_proj", "mlp.gate": "router"}
    for checkpoint, place in weights.items():
        initializer = place["initializer"]
        if initializer not in replaced:
            replaced[initializer] = numpy_helper.to_array(by_name[initializer]).astype(np.float32).copy()
        parts = checkpoint.split(".")
        if ".experts." in checkpoint:
            layer, expert, which = int(parts[2]), int(parts[5]), parts[6]
            if (layer, expert) not in experts:
                experts[layer, expert] = reader.expert(layer, expert, hidden, model_width)
            values = experts[layer, expert][["gate_proj", "up_proj", "down_proj"].index(which)]
        elif checkpoint == "model.embed_tokens.weight":
            values = tensors["embed"]
        elif checkpoint.startswith("model.layers.") and ".".join(parts[3:-1]) in names:
            values = tensors[f"layer{parts[2]}.{names['.'.join(parts[3:-1])]}"]
        else:
            continue
        target = replaced[initializer]
        if "index" in place:
            target = target[place["index"]]
        if "rows" in place:
            target = target[place["rows"][0]:place["rows"][1]]
        target[...] = values.T if place.get("transposed") else values
    for name, value in replaced.items():
        by_name[name].CopyFrom(numpy_helper.from_array(value, name))
    return to_float32(graph_model)


def oracle_perplexity(graph_model, ids, first_token):
    ort = need("onnxruntime")
    session = ort.InferenceSession(graph_model.SerializeToString(), providers=["CPUExecutionProvider"])
    total, count = 0.0, 0
    for start in range(0, len(ids), WINDOW):
        window = [first_token] + ids[start:start + WINDOW]
        feeds = {}
        for value in session.get_inputs():
            if value.name == "input_ids":
                feeds[value.name] = np.array([window], np.int64)
            elif value.name == "position_ids":
                feeds[value.name] = np.arange(len(window), dtype=np.int64)[None]
            else:
                feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        rows = session.run(["logits"], feeds)[0][0].astype(np.float64)
        rows = rows[:-1] - rows[:-1].max(axis=1, keepdims=True)
        logprob = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        total -= logprob[np.arange(len(window) - 1), window[1:]].sum()
        count += len(window) - 1
    return float(np.exp(total / count)), count


def main():
    folder = shared("models", "bookmoe-5m")
    model = os.path.join(SHIPPED, "model.onnx")
    config = json.load(open(os.path.join(SHIPPED, "config.json")))
    weights = json.load(open(os.path.join(folder, "weights.json")))
    texts = [shared("data", f"eval_{kind}.txt") for kind in ("prose", "cpp", "python")]
    lossless, tokens = perplexity(compile_model(model, "--lossless"), *texts)
    print(f"bookmoe-5m: lossless perplexity {lossless:.4f} over {tokens} tokens")
    for flags, limit in ((("--bits", "8"), 0.005), ((), 0.01), (("--exact",), 0.01), (("--kv-bits", "16"), 0.01)):
        value, count = perplexity(compile_model(model, *flags), *texts)
        print(f"  {' '.join(flags) or 'default (4 bits)'}: {value:.4f}, {100 * (value / lossless - 1):+.3f} %")
        assert count == tokens and abs(value / lossless - 1) <= limit, (flags, value)

    # Few bits on the kind of text that the model knows: what it does not know, coarse weights may well predict better.
    prose = os.path.join(SHIPPED, "eval_prose.txt")
    lossless, _ = perplexity(compile_model(model, "--lossless"), prose)
    for bits, limit in LOW_BITS:
        value, _ = perplexity(compile_model(model, "--bits", bits), prose)
        print(f"  {bits} bits, prose: {value:.4f} against {lossless:.4f}, {100 * (value / lossless - 1):+.3f} %")
        assert 0 <= value / lossless - 1 <= limit, (bits, value)

    ids = [int(t) for t in run(EMOE_RT, "tokenize", compile_model(model), "--no-bos",
                               stdin=open(prose, "rb").read()).stdout.split()]
    for flags, limit in ((("--exact",), 0.0002), ((), 0.002)):
        bundle = compile_model(model, *flags)
        value, count = perplexity(bundle, prose)
        oracle, oracle_count = oracle_perplexity(dequantised_model(model, weights, bundle, config), ids, 0)
        print(f"  against ONNX Runtime on the bundle's values, {' '.join(flags) or 'default'}: {value:.5f} against "
              f"{oracle:.5f}, {100 * (value / oracle - 1):+.4f} % over {count} tokens")
        assert count == oracle_count, (count, oracle_count)
        assert abs(value / oracle - 1) <= limit


if __name__ == "__main__":
    sys.exit(main())
