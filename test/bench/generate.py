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
    "gpt-oss-20b": dict(arch="gpt_oss", layers=24, hidden=2880, heads=64, kv_heads=8, head=64, experts=32, top_k=4, width=2880,
                        vocab=201088, theta=150000.0, eps=1e-5, renorm=False, window=128),
    "granite-1b-a400m": dict(arch="granitemoe", layers=24, hidden=1024, heads=16, kv_heads=8, head=64, experts=32, top_k=8,
                             width=512, vocab=49155, theta=10000.0, eps=1e-6, renorm=False, embedding_factor=12.0,
                             attention_scale=0.015625, residual_factor=0.22, logits_divisor=6.0, tied=True),
}
YARN = dict(factor=32.0, context=4096, fast=32.0, slow=1.0)  # of gpt-oss
LIMIT, ALPHA = 7.0, 1.702  # of its experts
POOL = 1 << 24  # random numbers


class Weights:
    """Float16 matrices by name, always the same for a seed."""

    SMALL = ("q_bias", "k_bias", "v_bias", "o_bias", "router_bias", "sinks", "gate_bias", "up_bias", "down_bias")

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
        return {"q_bias": (1, s["heads"] * s["head"]), "k_bias": (1, s["kv_heads"] * s["head"]),
                "v_bias": (1, s["kv_heads"] * s["head"]), "o_bias": (1, s["hidden"]), "router_bias": (1, s["experts"]),
                "sinks": (1, s["heads"]), "gate_bias": (s["experts"], s["width"]), "up_bias": (s["experts"], s["width"]),
                "down_bias": (s["experts"], s["hidden"]), "embed": (s["vocab"], s["hidden"]), "lm_head": (s["vocab"], s["hidden"]),
                "q": (s["heads"] * s["head"], s["hidden"]), "k": (s["kv_heads"] * s["head"], s["hidden"]),
                "v": (s["kv_heads"] * s["head"], s["hidden"]), "o": (s["hidden"], s["heads"] * s["head"]),
                "router": (s["experts"], s["hidden"])}[name.split(".")[-1]]

    def named(self, name):
        """embed, lm_head, or LAYER.q, .k, .v, .o, .router, and with biases LAYER.sinks, LAYER.q_bias and so on, .gate_bias [expert,
        row], .up_bias, .down_bias."""
        rows, columns = self.shape_of(name)
        if name == "lm_head" and self.shape.get("tied"):
            name = "embed"
        if name == "embed":
            return self.matrix(0, rows, columns, self.scale * columns ** -0.5)
        if name == "lm_head":
            return self.matrix(1, rows, columns)
        layer, part = name.split(".")
        base = 1000 + int(layer) * 10000
        if part in self.SMALL:
            values = self.matrix(base + 9000 + self.SMALL.index(part), rows, columns, 0.1)
            return values if part in ("gate_bias", "up_bias", "down_bias") else values[0]
        return self.matrix(base + ("q", "k", "v", "o", "router").index(part), rows, columns)


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


def frequencies(s):
    """Of the rotary embedding, float32 [head / 2], and the factor of its cosines and sines."""
    pairs = np.arange(0, s["head"], 2, dtype=np.float64)
    inverse = s["theta"] ** (-pairs / s["head"])
    if s["arch"] != "gpt_oss":
        return inverse.astype(np.float32), 1.0

    def turning(turns):
        """The pair of columns that turns so often in the context of YARN's first training (arXiv 2309.00071)."""
        return s["head"] * np.log(YARN["context"] / (turns * 2 * np.pi)) / (2 * np.log(s["theta"]))

    low, high = max(turning(YARN["fast"]), 0), min(turning(YARN["slow"]), s["head"] - 1)
    slow = np.clip((pairs / 2 - low) / (high - low), 0, 1)
    return (inverse * (1 - slow) + inverse / YARN["factor"] * slow).astype(np.float32), 0.1 * np.log(YARN["factor"]) + 1


class Model:
    """A decoder as a graph. Matrices are left to `matrices`, in which their shapes are."""

    def __init__(self, s, weights):
        self.s, self.weights, self.g = s, weights, Graph()
        self.matrices, self.inputs, self.outputs = {}, [], []
        self.gpt = s["arch"] == "gpt_oss"
        g, head = self.g, s["head"]
        tokens = g.op("Squeeze", g.op("Shape", "input_ids", start=1, end=2))
        past = g.op("Squeeze", g.op("Shape", "input.past_key_values.layers.0.keys", start=2, end=3))
        self.total = g.op("Add", past, tokens)
        zero, one = g.scalar("zero", 0, np.int64), g.scalar("one", 1, np.int64)
        rows = g.op("Add", g.op("Range", zero, tokens, one), past)
        columns = g.op("Range", zero, self.total, one)
        rows = g.op("Unsqueeze", g.op("Unsqueeze", rows, g.ints(0, 1)), g.ints(3))
        columns = g.op("Unsqueeze", g.op("Unsqueeze", columns, g.ints(0, 1)), g.ints(2))
        seen = g.op("LessOrEqual", columns, rows)
        if self.gpt:
            near = g.op("Greater", columns, g.op("Sub", rows, g.scalar("window", s["window"], np.int64)))
            near = g.op("And", g.op("And", g.scalar("true", True, np.bool_), near), seen)
            shape = g.op("Concat", g.ints(1), g.ints(1), g.op("Reshape", tokens, g.ints(-1)), g.op("Reshape", self.total, g.ints(-1)),
                         axis=0)
            nothing, least = g.scalar("nothing", 0.0), g.scalar("least", -65504.0)
            self.masks = [g.op("Where", g.op("Expand", m, shape), nothing, least) for m in (near, seen)]
        else:
            mask = g.op("Mul", g.op("Cast", g.op("Not", seen), to=TensorProto.FLOAT16), g.scalar("least", -65504.0))
            self.masks = [mask, mask]
        inverse, factor = frequencies(s)
        g.initializers["inv_freq"] = onnx.numpy_helper.from_array(inverse, "inv_freq")
        angle = g.op("Mul", g.op("Cast", g.op("Unsqueeze", "position_ids", g.ints(2)), to=TensorProto.FLOAT), "inv_freq")
        angle = angle if self.gpt else g.op("Concat", angle, angle, axis=-1)
        turns = [g.op("Cos", angle), g.op("Sin", angle)]
        if self.gpt:
            turns = [g.op("Mul", t, g.scalar("turn_factor", factor, np.float32)) for t in turns]
        self.cos, self.sin = (g.op("Unsqueeze", g.op("Cast", t, to=TensorProto.FLOAT16), g.ints(1)) for t in turns)

    def vector(self, name, count):
        self.g.initializers[name] = onnx.numpy_helper.from_array(np.ones(count, np.float16), name)
        return name

    def small(self, name, values=None, shape=None):
        values = self.weights.named(name) if values is None else values
        self.g.initializers[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(values.reshape(shape or values.shape)), name)
        return name

    def matrix(self, name, shape):
        self.matrices[name] = shape
        return name

    def linear(self, x, layer, part, rows, columns):
        y = self.g.op("MatMul", x, self.matrix(f"{layer}.{part}", (columns, rows)))
        return self.g.op("Add", y, self.small(f"{layer}.{part}_bias")) if self.gpt else y

    def rotate(self, x):
        g, half = self.g, self.s["head"] // 2
        if self.gpt:
            low, high = g.op("Split", x, axis=3, num_outputs=2, outputs=2)
            return g.op("Concat", g.op("Sub", g.op("Mul", low, self.cos), g.op("Mul", high, self.sin)),
                        g.op("Add", g.op("Mul", high, self.cos), g.op("Mul", low, self.sin)), axis=-1)
        low = g.op("Slice", x, g.ints(0), g.ints(half), g.ints(3), g.ints(1))
        high = g.op("Slice", x, g.ints(half), g.ints(2 ** 63 - 1), g.ints(3), g.ints(1))
        turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
        return g.op("Add", g.op("Mul", x, self.cos), g.op("Mul", turned, self.sin))

    def residual(self, x, y):
        if "residual_factor" in self.s:
            y = self.g.op("Mul", y, self.g.scalar("residual_factor", self.s["residual_factor"]))
        return self.g.op("Add", x, y)

    def attention(self, x, layer):
        s, g = self.s, self.g
        d, heads, kv, head = s["hidden"], s["heads"], s["kv_heads"], s["head"]
        y = g.norm(x, self.vector(f"{layer}.input_norm", d), s["eps"])
        q, k, v = (self.linear(y, layer, name, n * head, d) for name, n in (("q", heads), ("k", kv), ("v", kv)))
        if s["arch"] == "olmoe":
            q, k = (g.norm(t, self.vector(f"{layer}.{n}_norm", c * head), s["eps"]) for t, n, c in ((q, "q", heads), (k, "k", kv)))
        q, k, v = (g.op("Reshape", t, g.ints(1, -1, n, head), allowzero=1) for t, n in ((q, heads), (k, kv), (v, kv)))
        if s["arch"] == "qwen3_moe":
            q, k = (g.norm(t, self.vector(f"{layer}.{n}_norm", head), s["eps"]) for t, n in ((q, "q"), (k, "k")))
        q, k, v = (g.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, k, v))
        q, k = self.rotate(q), self.rotate(k)
        names = [f"put.past_key_values.layers.{layer}.{which}" for which in ("keys", "values")]
        for name, tensor in zip(names, (k, v)):
            self.inputs.append("in" + name)
            self.outputs.append("out" + name)
            g.op("Concat", "in" + name, tensor, axis=-2)
            g.rename(None, "out" + name)
        k, v = ("out" + name for name in names)
        if kv != heads:
            shape = g.op("Concat", g.ints(1), g.ints(kv), g.ints(heads // kv), g.op("Reshape", self.total, g.ints(-1)),
                         g.ints(head), axis=0)
            k, v = (g.op("Reshape", g.op("Expand", g.op("Unsqueeze", t, g.ints(2)), shape), g.ints(1, heads, -1, head),
                         allowzero=1) for t in (k, v))
        k, mask = g.op("Transpose", k, perm=[0, 1, 3, 2]), self.masks[layer % 2]
        if self.gpt:
            scores = g.op("Add", g.op("Mul", g.op("MatMul", q, k), g.scalar("scale", head ** -0.5)), mask)
            sinks = self.small(f"{layer}.sinks", shape=(1, heads, 1, 1))
            rows = g.op("Concat", g.ints(1), g.ints(1), g.op("Shape", "input_ids", start=1, end=2), g.ints(1), axis=0)
            scores = g.op("Concat", scores, g.op("Expand", sinks, rows), axis=-1)
            scores = g.op("Softmax", g.op("Sub", scores, g.op("ReduceMax", scores, g.ints(-1), keepdims=1)), axis=-1)
            chances = g.op("Slice", scores, g.ints(0), g.ints(-1), g.ints(3), g.ints(1))
        else:
            scale = g.scalar("scale", s.get("attention_scale", head ** -0.5) ** 0.5)
            scores = g.op("MatMul", g.op("Mul", q, scale), g.op("Mul", k, scale))
            chances = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
        mixed = g.op("MatMul", chances, v)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(1, -1, heads * head), allowzero=1)
        return self.residual(x, self.linear(mixed, layer, "o", d, heads * head))

    def route(self, y, layer):
        """(weights, chosen experts), [tokens, top_k] each."""
        s, g = self.s, self.g
        router = self.matrix(f"{layer}.router", (s["experts"], s["hidden"]))
        if self.gpt:
            logits = g.op("Gemm", y, router, self.small(f"{layer}.router_bias"), transB=1)
            best, chosen = g.op("TopK", logits, g.ints(s["top_k"]), axis=-1, largest=1, sorted=1, outputs=2)
            return g.op("Softmax", best, axis=1), chosen
        logits = g.op("Cast", g.op("Gemm", y, router, transB=1), to=TensorProto.FLOAT)
        if s["arch"] == "granitemoe":
            best, chosen = g.op("TopK", logits, g.ints(s["top_k"]), axis=-1, largest=1, sorted=1, outputs=2)
            return g.op("Cast", g.op("Softmax", best, axis=-1), to=TensorProto.FLOAT16), chosen
        weight, chosen = g.op("TopK", g.op("Softmax", logits, axis=-1), g.ints(s["top_k"]), axis=-1, largest=1, sorted=1,
                              outputs=2)
        if s["renorm"]:
            weight = g.op("Div", weight, g.op("ReduceSum", weight, g.ints(-1), keepdims=1))
        return g.op("Cast", weight, to=TensorProto.FLOAT16), chosen

    def expert_product(self, x, layer, part, rows, columns, chosen):
        """Of [pairs, columns] with each pair's expert; gpt-oss has its matrices the other way round, and biases."""
        g, experts = self.g, self.s["experts"]
        if not self.gpt:
            matrix = g.op("GatherND", self.matrix(f"{layer}.{part}", (experts, rows, columns)), chosen)
            return g.op("Squeeze", g.op("MatMul", matrix, g.op("Unsqueeze", x, g.ints(-1))), g.ints(-1))
        matrix = g.op("GatherND", self.matrix(f"{layer}.{part}", (experts, columns, rows)), chosen)
        values = self.weights.named(f"{layer}.down_bias") if part == "down" else np.stack(
            [self.weights.named(f"{layer}.{w}_bias") for w in ("gate", "up")], -1).reshape(experts, rows)
        bias = g.op("GatherND", self.small(f"{layer}.{part}_bias", values), chosen)
        y = g.op("Add", g.op("Squeeze", g.op("MatMul", g.op("Unsqueeze", x, g.ints(1)), matrix), g.ints(1)), bias)
        return g.op("Squeeze", g.op("Unsqueeze", y, g.ints(1)), g.ints(1))

    def mixture(self, x, layer):
        s, g = self.s, self.g
        d, width, top_k = s["hidden"], s["width"], s["top_k"]
        y = g.op("Reshape", g.norm(x, self.vector(f"{layer}.post_norm", d), s["eps"]), g.ints(-1, d), allowzero=1)
        weight, chosen = self.route(y, layer)
        repeated = g.op("Reshape", g.op("Tile", g.op("Unsqueeze", y, g.ints(1)), g.ints(1, top_k, 1)), g.ints(-1, d))
        weight = g.op("Reshape", weight, g.ints(-1), allowzero=1)
        chosen = g.op("Unsqueeze", g.op("Reshape", chosen, g.ints(-1), allowzero=1), g.ints(-1))
        both = self.expert_product(repeated, layer, "gate_up", 2 * width, d, chosen)
        if self.gpt:
            gate, up = (g.op("Slice", both, g.ints(first), g.ints(2 ** 63 - 1), g.ints(1), g.ints(2)) for first in (0, 1))
            limit, lowest = g.scalar("limit", LIMIT), g.scalar("lowest", -LIMIT)
            gate, up = g.op("Clip", gate, "", limit), g.op("Clip", up, lowest, limit)
            gate = g.op("Mul", gate, g.op("Sigmoid", g.op("Mul", gate, g.scalar("alpha", ALPHA))))
            h = g.op("Mul", g.op("Add", up, g.scalar("unit", 1.0)), gate)
        else:
            gate, up = g.op("Split", both, axis=1, num_outputs=2, outputs=2)
            h = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        down = self.expert_product(h, layer, "down", d, width, chosen)
        pairs = g.op("Reshape", g.op("Mul", down, g.op("Unsqueeze", weight, g.ints(-1))), g.ints(-1, top_k, d), allowzero=1)
        return self.residual(x, g.op("Reshape", g.op("ReduceSum", pairs, g.ints(1), keepdims=0), g.ints(1, -1, d), allowzero=1))

    def build(self):
        s, g = self.s, self.g
        x = g.op("Gather", self.matrix("embed", (s["vocab"], s["hidden"])), "input_ids", axis=0)
        if "embedding_factor" in s:
            x = g.op("Mul", x, g.scalar("embedding_factor", s["embedding_factor"]))
        for layer in range(s["layers"]):
            x = self.mixture(self.attention(x, layer), layer)
        y = g.norm(x, self.vector("norm", s["hidden"]), s["eps"])
        head = g.op("Transpose", "embed", perm=[1, 0]) if s.get("tied") else self.matrix("lm_head", (s["hidden"], s["vocab"]))
        y = g.op("MatMul", y, head)
        if "logits_divisor" in s:
            g.op("Div", y, g.scalar("logits_divisor", s["logits_divisor"]))
        g.rename(None, "logits")


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
    model = Model(s, weights)
    model.build()
    g, matrices, inputs, outputs = model.g, model.matrices, model.inputs, model.outputs
    os.makedirs(folder, exist_ok=True)
    data = DataFile(os.path.join(folder, "model.onnx.data"))
    for name in ("embed",) if s.get("tied") else ("embed", "lm_head"):
        data.begin(name)
        data.write(name, weights.named(name).T if name == "lm_head" else weights.named(name))
    for layer in range(s["layers"]):
        for part in ("q", "k", "v", "o", "router"):
            name = f"{layer}.{part}"
            data.begin(name)
            data.write(name, weights.named(name) if part == "router" else weights.named(name).T)
        data.begin(f"{layer}.gate_up")
        for expert in range(s["experts"]):
            gate, up = (weights.expert(layer, expert, part) for part in (0, 1))
            if s["arch"] == "gpt_oss":
                data.write(f"{layer}.gate_up", np.stack([gate.T, up.T], -1))
            else:
                data.write(f"{layer}.gate_up", gate)
                data.write(f"{layer}.gate_up", up)
        data.begin(f"{layer}.down")
        for expert in range(s["experts"]):
            down = weights.expert(layer, expert, 2)
            data.write(f"{layer}.down", down.T if s["arch"] == "gpt_oss" else down)
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
                   "num_local_experts" if s["arch"] in ("gpt_oss", "granitemoe") else "num_experts": s["experts"], "num_experts_per_tok": s["top_k"], "moe_intermediate_size": s["width"],
                   "intermediate_size": s["width"], "vocab_size": s["vocab"], "rope_theta": s["theta"], "rms_norm_eps": s["eps"],
                   "norm_topk_prob": s["renorm"], "max_position_embeddings": 4096, "hidden_act": "silu",
                   "tie_word_embeddings": s.get("tied", False),
                   **({"sliding_window": s["window"], "swiglu_limit": LIMIT} if "window" in s else {})}, file, indent=1)


def write_gguf(s, weights, path):
    import gguf
    arch = {"olmoe": "olmoe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss", "granitemoe": "granitemoe"}[s["arch"]]
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
    w.add_rope_dimension_count(s["head"])
    if s["arch"] == "gpt_oss":
        w.add_sliding_window(s["window"])
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(YARN["factor"])
        w.add_rope_scaling_orig_ctx_len(YARN["context"])
    if s["arch"] == "granitemoe":
        w.add_embedding_scale(s["embedding_factor"])
        w.add_attention_scale(s["attention_scale"])
        w.add_residual_scale(s["residual_factor"])
        w.add_logit_scale(s["logits_divisor"])
    w.add_tokenizer_model("no_vocab")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    norms = [("attn_norm", s["hidden"]), ("post_attention_norm" if s["arch"] == "gpt_oss" else "ffn_norm", s["hidden"])]
    if s["arch"] in ("olmoe", "qwen3_moe"):
        wide = s["arch"] == "olmoe"
        norms += [("attn_q_norm", s["head"] * (s["heads"] if wide else 1)),
                  ("attn_k_norm", s["head"] * (s["kv_heads"] if wide else 1))]

    def ones(count):
        return lambda: np.ones(count, np.float32)

    def named(key):
        value = weights.named(key)
        if s["arch"] == "granitemoe" and key.split(".")[-1] in ("q", "k"):
            # There llama.cpp turns neighbouring columns; the halves become neighbours.
            heads = s["heads"] if key.endswith("q") else s["kv_heads"]
            value = value.reshape(heads, 2, s["head"] // 2, -1).swapaxes(1, 2).reshape(value.shape)
        return value

    def stacked(layer, part):
        return lambda: np.stack([weights.expert(layer, e, part) for e in range(s["experts"])])

    # (name, shape, type, how to make it): one tensor at a time is in memory.
    tensors = [("token_embd.weight", (s["vocab"], s["hidden"]), np.float16, lambda: weights.named("embed"))]

    def add(name, key, kind, one_row=False):
        shape = weights.shape_of(key)
        tensors.append((name, shape[1:] if one_row else shape, kind, lambda: named(key).astype(kind)))

    for layer in range(s["layers"]):
        at = f"blk.{layer}."
        names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "router": "ffn_gate_inp"}
        for part, name in names.items():
            add(f"{at}{name}.weight", f"{layer}.{part}", np.float32 if part == "router" else np.float16)
        for norm, count in norms:
            tensors.append((f"{at}{norm}.weight", (count,), np.float32, ones(count)))
        for part, (name, rows, columns) in enumerate(weights.expert_shapes()):
            tensors.append((f"{at}ffn_{name}_exps.weight", (s["experts"], rows, columns), np.float16, stacked(layer, part)))
        if s["arch"] == "gpt_oss":
            for part, name in names.items():
                add(f"{at}{name}.bias", f"{layer}.{part}_bias", np.float32, one_row=True)
            for part in ("gate", "up", "down"):
                add(f"{at}ffn_{part}_exps.bias", f"{layer}.{part}_bias", np.float32)
            add(f"{at}attn_sinks.weight", f"{layer}.sinks", np.float32, one_row=True)
    tensors.append(("output_norm.weight", (s["hidden"],), np.float32, ones(s["hidden"])))
    if not s.get("tied"):
        add("output.weight", "lm_head", np.float16)
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
