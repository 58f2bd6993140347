"""Models of public shapes with seeded weights, in the form that transformers 5 exports (batched experts, float16), streamed
to disk; and the same weights as GGUF for llama.cpp.

    generate.py olmoe-1b-7b --layers 8 --out DIR [--gguf] [--embedding-scale 1] [--seed 1]

Weights of matrices are drawn from N(0, 1 / columns); the embedding's are scaled: with 1 the residual stream is soon that of
the layers, and routing is local; with 128 it stays that of the token, and routing is near uniform. A float16 matrix is cut
from one long sequence of random numbers at a seeded place, so that gigabytes are written at the disk's speed.
"""
import argparse
import json
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

SHAPES = {
    "olmoe-1b-7b": dict(arch="olmoe", layers=16, hidden=2048, heads=16, kv_heads=16, head=128, experts=64, top_k=8, width=1024,
                        vocab=50304, theta=10000.0, eps=1e-5, renorm=False),
    "qwen3-30b-a3b": dict(arch="qwen3_moe", layers=48, hidden=2048, heads=32, kv_heads=4, head=128, experts=128, top_k=8,
                          width=768, vocab=151936, theta=1e6, eps=1e-6, renorm=True),
}
POOL = 1 << 24  # random numbers


class Weights:
    """Float16 matrices by name, always the same for a seed."""

    def __init__(self, shape, seed, embedding_scale):
        self.shape, self.seed, self.scale = shape, seed, embedding_scale
        self.pool = np.random.default_rng(seed).standard_normal(POOL + 4096, np.float32)
        self.scaled = {}

    def matrix(self, number, rows, columns, deviation=None):
        deviation = deviation or columns ** -0.5
        if deviation not in self.scaled:
            values = (self.pool * deviation).astype(np.float16)
            self.scaled[deviation] = np.concatenate([values, values])
        place = (number * 2654435761 + self.seed * 40503) % POOL
        pool, count = self.scaled[deviation], rows * columns
        parts, left = [], count
        while left > 0:
            take = min(left, POOL)
            parts.append(pool[place:place + take])
            left -= take
        return np.concatenate(parts).reshape(rows, columns) if len(parts) > 1 else parts[0].reshape(rows, columns)

    def expert_shapes(self):
        s = self.shape
        return (("gate", s["width"], s["hidden"]), ("up", s["width"], s["hidden"]), ("down", s["hidden"], s["width"]))

    def expert(self, layer, expert, part):
        _, rows, columns = self.expert_shapes()[part]
        return self.matrix(1000 + layer * 10000 + 10 + 3 * expert + part, rows, columns)

    def shape_of(self, name):
        s = self.shape
        return {"embed": (s["vocab"], s["hidden"]), "lm_head": (s["vocab"], s["hidden"]),
                "q": (s["heads"] * s["head"], s["hidden"]), "k": (s["kv_heads"] * s["head"], s["hidden"]),
                "v": (s["kv_heads"] * s["head"], s["hidden"]), "o": (s["hidden"], s["heads"] * s["head"]),
                "router": (s["experts"], s["hidden"])}[name.split(".")[-1]]

    def named(self, name):
        """embed, lm_head, or LAYER.q, .k, .v, .o, .router."""
        rows, columns = self.shape_of(name)
        if name == "embed":
            return self.matrix(0, rows, columns, self.scale * columns ** -0.5)
        if name == "lm_head":
            return self.matrix(1, rows, columns)
        layer, part = name.split(".")
        return self.matrix(1000 + int(layer) * 10000 + ("q", "k", "v", "o", "router").index(part), rows, columns)


class Graph:
    def __init__(self):
        self.nodes, self.initializers, self.count = [], {}, 0

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind.lower()}_{self.count}_{i}" for i in range(outputs)]
        self.count += 1
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"node_{names[0]}", **attributes))
        return names[0] if outputs == 1 else names

    def ints(self, *values):
        name = "ints_" + "_".join(map(str, values))
        self.initializers[name] = onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def scalar(self, name, value, dtype=np.float16):
        self.initializers[name] = onnx.numpy_helper.from_array(np.array(value, dtype), name)
        return name

    def rename(self, value, name):
        """The last node's result gets a name of its own."""
        self.nodes[-1].output[0] = name
        return name

    def norm(self, x, weight, eps):
        x = self.op("Cast", x, to=TensorProto.FLOAT)
        mean = self.op("ReduceMean", self.op("Pow", x, self.scalar("two", 2.0, np.float32)), self.ints(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.scalar("eps", eps, np.float32)))
        y = self.op("Mul", x, self.op("Reciprocal", root))
        return self.op("Mul", weight, self.op("Cast", y, to=TensorProto.FLOAT16))


def build(s):
    """(graph, names of the initializers that hold matrices, in the order of Weights.tensors, with their shapes)."""
    g, weights = Graph(), {}

    def vector(name, count):
        g.initializers[name] = onnx.numpy_helper.from_array(np.ones(count, np.float16), name)
        return name

    def matrix(name, shape):
        weights[name] = shape
        return name

    d, heads, kv, head = s["hidden"], s["heads"], s["kv_heads"], s["head"]
    tokens = g.op("Squeeze", g.op("Shape", "input_ids", start=1, end=2))
    past = g.op("Squeeze", g.op("Shape", "past_key_values.0.key", start=2, end=3))
    total = g.op("Add", past, tokens)
    zero, one = g.scalar("zero", 0, np.int64), g.scalar("one", 1, np.int64)
    rows = g.op("Add", g.op("Range", zero, tokens, one), past)
    columns = g.op("Range", zero, total, one)
    rows = g.op("Unsqueeze", g.op("Unsqueeze", rows, g.ints(0, 1)), g.ints(3))
    columns = g.op("Unsqueeze", g.op("Unsqueeze", columns, g.ints(0, 1)), g.ints(2))
    seen = g.op("LessOrEqual", columns, rows)
    hidden_mask = g.op("Mul", g.op("Cast", g.op("Not", seen), to=TensorProto.FLOAT16), g.scalar("least", -65504.0))
    inverse = (1.0 / s["theta"] ** (np.arange(0, head, 2) / head)).astype(np.float32)
    g.initializers["inv_freq"] = onnx.numpy_helper.from_array(inverse, "inv_freq")
    angle = g.op("Mul", g.op("Cast", g.op("Unsqueeze", "position_ids", g.ints(2)), to=TensorProto.FLOAT), "inv_freq")
    angle = g.op("Concat", angle, angle, axis=-1)
    cos = g.op("Unsqueeze", g.op("Cast", g.op("Cos", angle), to=TensorProto.FLOAT16), g.ints(1))
    sin = g.op("Unsqueeze", g.op("Cast", g.op("Sin", angle), to=TensorProto.FLOAT16), g.ints(1))

    def rotate(x):
        low = g.op("Slice", x, g.ints(0), g.ints(head // 2), g.ints(3), g.ints(1))
        high = g.op("Slice", x, g.ints(head // 2), g.ints(2 ** 63 - 1), g.ints(3), g.ints(1))
        turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
        return g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin))

    def in_heads(x, count):
        return g.op("Reshape", x, g.ints(1, -1, count, head), allowzero=1)

    x = g.op("Gather", matrix("embed", (s["vocab"], d)), "input_ids", axis=0)
    inputs, outputs = [], []
    for layer in range(s["layers"]):
        y = g.norm(x, vector(f"{layer}.input_norm", d), s["eps"])
        q, k, v = (g.op("MatMul", y, matrix(f"{layer}.{name}", (d, n * head)))
                   for name, n in (("q", heads), ("k", kv), ("v", kv)))
        per_head = s["arch"] == "qwen3_moe"
        if not per_head:
            q, k = (g.norm(t, vector(f"{layer}.{n}_norm", c * head), s["eps"]) for t, n, c in ((q, "q", heads), (k, "k", kv)))
        q, k, v = in_heads(q, heads), in_heads(k, kv), in_heads(v, kv)
        if per_head:
            q, k = (g.norm(t, vector(f"{layer}.{n}_norm", head), s["eps"]) for t, n in ((q, "q"), (k, "k")))
        q, k, v = (g.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, k, v))
        q, k = rotate(q), rotate(k)
        inputs += [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        outputs += [f"present.{layer}.key", f"present.{layer}.value"]
        g.op("Concat", inputs[-2], k, axis=-2)
        k = g.rename(k, outputs[-2])
        g.op("Concat", inputs[-1], v, axis=-2)
        v = g.rename(v, outputs[-1])
        if kv != heads:
            shape = g.op("Concat", g.ints(1), g.ints(kv), g.ints(heads // kv), g.op("Reshape", total, g.ints(-1)), g.ints(head),
                         axis=0)
            k, v = (g.op("Reshape", g.op("Expand", g.op("Unsqueeze", t, g.ints(2)), shape), g.ints(1, heads, -1, head),
                         allowzero=1) for t in (k, v))
        scale = g.scalar("scale", head ** -0.25)
        scores = g.op("MatMul", g.op("Mul", q, scale), g.op("Mul", g.op("Transpose", k, perm=[0, 1, 3, 2]), scale))
        mixed = g.op("MatMul", g.op("Softmax", g.op("Add", scores, hidden_mask), axis=-1), v)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(1, -1, heads * head), allowzero=1)
        x = g.op("Add", x, g.op("MatMul", mixed, matrix(f"{layer}.o", (heads * head, d))))
        y = g.op("Reshape", g.norm(x, vector(f"{layer}.post_norm", d), s["eps"]), g.ints(-1, d), allowzero=1)
        logits = g.op("Gemm", y, matrix(f"{layer}.router", (s["experts"], d)), transB=1)
        chances = g.op("Softmax", g.op("Cast", logits, to=TensorProto.FLOAT), axis=-1)
        weight, chosen = g.op("TopK", chances, g.ints(s["top_k"]), axis=-1, largest=1, sorted=1, outputs=2)
        if s["renorm"]:
            weight = g.op("Div", weight, g.op("ReduceSum", weight, g.ints(-1), keepdims=1))
        weight = g.op("Cast", weight, to=TensorProto.FLOAT16)
        repeated = g.op("Reshape", g.op("Tile", g.op("Unsqueeze", y, g.ints(1)), g.ints(1, s["top_k"], 1)), g.ints(-1, d))
        weight = g.op("Reshape", weight, g.ints(-1), allowzero=1)
        chosen = g.op("Unsqueeze", g.op("Reshape", chosen, g.ints(-1), allowzero=1), g.ints(-1))
        both = g.op("MatMul", g.op("GatherND", matrix(f"{layer}.gate_up", (s["experts"], 2 * s["width"], d)), chosen),
                    g.op("Unsqueeze", repeated, g.ints(-1)))
        gate, up = g.op("Split", g.op("Squeeze", both, g.ints(-1)), axis=1, num_outputs=2, outputs=2)
        h = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        down = g.op("Squeeze", g.op("MatMul", g.op("GatherND", matrix(f"{layer}.down", (s["experts"], d, s["width"])), chosen),
                                    g.op("Unsqueeze", h, g.ints(-1))), g.ints(-1))
        pairs = g.op("Reshape", g.op("Mul", down, g.op("Unsqueeze", weight, g.ints(-1))), g.ints(-1, s["top_k"], d), allowzero=1)
        x = g.op("Add", x, g.op("Reshape", g.op("ReduceSum", pairs, g.ints(1), keepdims=0), g.ints(1, -1, d), allowzero=1))
    y = g.norm(x, vector("norm", d), s["eps"])
    g.op("MatMul", y, matrix("lm_head", (d, s["vocab"])))
    g.rename(None, "logits")
    return g, weights, inputs, outputs


class DataFile:
    """External data, each tensor at a multiple of 4096."""

    def __init__(self, path):
        self.file, self.name, self.places = open(path, "wb"), os.path.basename(path), {}

    def begin(self, name):
        self.file.write(bytes(-self.file.tell() % 4096))
        self.places[name] = [self.file.tell(), 0]

    def write(self, name, array):
        self.places[name][1] += self.file.write(np.ascontiguousarray(array).data)


def write_onnx(s, weights, folder):
    g, matrices, inputs, outputs = build(s)
    os.makedirs(folder, exist_ok=True)
    data = DataFile(os.path.join(folder, "model.onnx.data"))
    for name in ("embed", "lm_head"):
        data.begin(name)
        data.write(name, weights.named(name).T if name == "lm_head" else weights.named(name))
    for layer in range(s["layers"]):
        for part in ("q", "k", "v", "o", "router"):
            name = f"{layer}.{part}"
            data.begin(name)
            data.write(name, weights.named(name) if part == "router" else weights.named(name).T)
        data.begin(f"{layer}.gate_up")
        for expert in range(s["experts"]):
            for part in (0, 1):
                data.write(f"{layer}.gate_up", weights.expert(layer, expert, part))
        data.begin(f"{layer}.down")
        for expert in range(s["experts"]):
            data.write(f"{layer}.down", weights.expert(layer, expert, 2))
    data.file.close()
    initializers = list(g.initializers.values())
    for name, shape in matrices.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=shape, data_location=TensorProto.EXTERNAL)
        assert data.places[name][1] == 2 * int(np.prod(shape)), name
        for key, value in (("location", data.name), ("offset", data.places[name][0]), ("length", data.places[name][1])):
            tensor.external_data.add(key=key, value=str(value))
        initializers.append(tensor)
    f16 = TensorProto.FLOAT16
    kv = [1, s["kv_heads"], "past", s["head"]]
    graph = helper.make_graph(
        g.nodes, "main_graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"]),
         helper.make_tensor_value_info("position_ids", TensorProto.INT64, [1, "tokens"])] +
        [helper.make_tensor_value_info(name, f16, kv) for name in inputs],
        [helper.make_tensor_value_info("logits", f16, [1, "tokens", s["vocab"]])] +
        [helper.make_tensor_value_info(name, f16, [1, s["kv_heads"], "total", s["head"]]) for name in outputs], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({"model_type": s["arch"], "num_hidden_layers": s["layers"], "hidden_size": s["hidden"],
                   "num_attention_heads": s["heads"], "num_key_value_heads": s["kv_heads"], "head_dim": s["head"],
                   "num_experts": s["experts"], "num_experts_per_tok": s["top_k"], "moe_intermediate_size": s["width"],
                   "intermediate_size": s["width"], "vocab_size": s["vocab"], "rope_theta": s["theta"], "rms_norm_eps": s["eps"],
                   "norm_topk_prob": s["renorm"], "max_position_embeddings": 4096, "hidden_act": "silu",
                   "tie_word_embeddings": False}, file, indent=1)


def write_gguf(s, weights, path):
    import gguf
    arch = {"olmoe": "olmoe", "qwen3_moe": "qwen3moe"}[s["arch"]]
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(s["layers"])
    w.add_context_length(4096)
    w.add_embedding_length(s["hidden"])
    w.add_feed_forward_length(s["width"])
    w.add_expert_feed_forward_length(s["width"])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv_heads"])
    w.add_key_length(s["head"])
    w.add_value_length(s["head"])
    w.add_rope_freq_base(s["theta"])
    w.add_layer_norm_rms_eps(s["eps"])
    w.add_expert_count(s["experts"])
    w.add_expert_used_count(s["top_k"])
    w.add_vocab_size(s["vocab"])
    w.add_tokenizer_model("no_vocab")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    per_head = s["arch"] == "qwen3_moe"

    def ones(count):
        return lambda: np.ones(count, np.float32)

    def stacked(layer, part):
        return lambda: np.stack([weights.expert(layer, e, part) for e in range(s["experts"])])

    # (name, shape, type, how to make it): one tensor at a time is in memory.
    tensors = [("token_embd.weight", (s["vocab"], s["hidden"]), np.float16, lambda: weights.named("embed"))]
    for layer in range(s["layers"]):
        at = f"blk.{layer}."
        for part, name in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
            tensors.append((f"{at}{name}.weight", weights.shape_of(f"{layer}.{part}"), np.float16,
                            lambda key=f"{layer}.{part}": weights.named(key)))
        tensors.append((f"{at}ffn_gate_inp.weight", (s["experts"], s["hidden"]), np.float32,
                        lambda key=f"{layer}.router": weights.named(key).astype(np.float32)))
        for norm, count in (("attn_norm", s["hidden"]), ("ffn_norm", s["hidden"]),
                            ("attn_q_norm", s["head"] * (1 if per_head else s["heads"])),
                            ("attn_k_norm", s["head"] * (1 if per_head else s["kv_heads"]))):
            tensors.append((f"{at}{norm}.weight", (count,), np.float32, ones(count)))
        for part, (name, rows, columns) in enumerate(weights.expert_shapes()):
            tensors.append((f"{at}ffn_{name}_exps.weight", (s["experts"], rows, columns), np.float16, stacked(layer, part)))
    tensors.append(("output_norm.weight", (s["hidden"],), np.float32, ones(s["hidden"])))
    tensors.append(("output.weight", (s["vocab"], s["hidden"]), np.float16, lambda: weights.named("lm_head")))
    for name, shape, kind, _ in tensors:
        w.add_tensor_info(name, shape, np.dtype(kind), int(np.prod(shape)) * np.dtype(kind).itemsize)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for _, _, _, make in tensors:
        w.write_tensor_data(make())
    w.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("--layers", type=int)
    parser.add_argument("--out", required=True)
    parser.add_argument("--gguf", action="store_true", help="model.gguf (float16) beside it")
    parser.add_argument("--embedding-scale", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="an eighth of each width, for tests")
    args = parser.parse_args()
    shape = dict(SHAPES[args.shape])
    shape["layers"] = args.layers or shape["layers"]
    if args.tiny:
        shape.update(hidden=256, heads=shape["heads"] // 8, kv_heads=max(1, shape["kv_heads"] // 8), width=128, vocab=512)
    weights = Weights(shape, args.seed, args.embedding_scale)
    write_onnx(shape, weights, args.out)
    if args.gguf:
        write_gguf(shape, weights, os.path.join(args.out, "model.gguf"))


if __name__ == "__main__":
    sys.exit(main())
