"""Fused operators against ONNX Runtime: GroupQueryAttention, MoE, QMoE and MatMulNBits with generated attributes, widths,
blocks, zero points, activations and routers. Each case is a decoder of one layer with one of each, whose logits must be
those of ONNX Runtime's CPU kernels; where these deviate from the operator's specification (ONNX_MOE.md 1.1, 1.2: QMoE's
router always normalises there) or lack something, no case asks for it. Seeded: `operators_test.py SEED` repeats one case,
`--cases N` (or EMOE_CASES=N) runs so many; ctest -L measure runs 330."""
import os
import random
import sys
import tempfile

from support import EMOEC, logits, need, run

np = need("numpy")
VOCABULARY, TOKENS, LAYERS = 64, 6, 1


class Builder:
    def __init__(self, seed):
        self.onnx = need("onnx")
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.nodes, self.weights, self.inputs, self.outputs, self.said = [], [], [], [], []
        self.twin, self.flags = None, []

    def weight(self, name, values):
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def floats(self, name, *shape, scale=None):
        scale = scale or shape[-1] ** -0.5
        return self.weight(name, (self.numbers.standard_normal(shape) * scale).astype(np.float32))

    def node(self, op, inputs, outputs, domain="", **attributes):
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **kept))
        return outputs[0]

    def choose(self, what, *choices):
        choice = self.random.choice(choices)
        self.said.append(f"{what} {choice}")
        return choice

    def codes(self, rows, columns, bits, block, prefix, asymmetric, shape=None):
        """Random codes, scales (some negative) and zero points in ONNX Runtime's packing."""
        per_byte, blocks = 8 // bits, -(-columns // block)
        stored = blocks * block if shape is None else columns
        codes = self.numbers.integers(0, 1 << bits, (rows, stored), dtype=np.uint8)
        if shape is None and stored > columns:
            codes[:, columns:] = 1 << (bits - 1)

        def pack(values):
            padded = np.pad(values, ((0, 0), (0, -values.shape[1] % per_byte)))
            parts = padded.reshape(rows, -1, per_byte)
            return sum(parts[:, :, i].astype(np.uint16) << (bits * i) for i in range(per_byte)).astype(np.uint8)
        spread = {2: 0.6, 4: 0.15, 8: 0.01}[bits] * columns ** -0.5 * 4
        scales = (self.numbers.uniform(0.5, 1, (rows, blocks)) * spread).astype(np.float32)
        scales *= np.where(self.numbers.uniform(size=scales.shape) < 0.2, -1, 1).astype(np.float32)
        zeros = pack(self.numbers.integers(1 << (bits - 2), 3 << (bits - 2), (rows, blocks), dtype=np.uint8)) if asymmetric else None
        return pack(codes), scales, zeros

    def product(self, name, x, rows, columns):
        """x times a matrix, quantised or not."""
        form = self.choose(name, "float", "2", "4", "8", "4")
        if form == "float":
            return self.node("MatMul", [x, self.floats(name + ".w", columns, rows, scale=columns ** -0.5)], [name])
        bits, block = int(form), self.choose("block", 16, 32, 64)
        asymmetric, bias = self.choose("zero points", True, False), self.choose("bias", False, False, True)
        packed, scales, zeros = self.codes(rows, columns, bits, block, name, asymmetric)
        blocks = -(-columns // block)
        inputs = [x, self.weight(name + ".q", packed.reshape(rows, blocks, -1)), self.weight(name + ".s", scales),
                  self.weight(name + ".z", zeros) if asymmetric else "", "", self.floats(name + ".b", rows) if bias else ""]
        while not inputs[-1]:
            inputs.pop()
        return self.node("MatMulNBits", inputs, [name], "com.microsoft", K=columns, N=rows, bits=bits, block_size=block,
                         accuracy_level=0)

    def build(self):
        heads = self.choose("heads", 2, 4)
        kv_heads = self.choose("kv heads", 1, 2, heads)
        head = self.choose("head size", 16, 32)
        hidden = self.choose("hidden", 32, 64, 96)
        experts, top = self.choose("experts", 4, 8), self.choose("top", 1, 2, 3)
        width = self.choose("expert width", 32, 64)
        onnx, make = self.onnx, self.onnx.helper
        f32, i64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
        self.inputs += [make.make_tensor_value_info("input_ids", i64, [1, "s"]),
                        make.make_tensor_value_info("attention_mask", i64, [1, "t"])]
        for part in ("key", "value"):
            self.inputs.append(make.make_tensor_value_info(f"past_key_values.0.{part}", f32, [1, kv_heads, "p", head]))
            self.outputs.append(make.make_tensor_value_info(f"present.0.{part}", f32, [1, kv_heads, "t", head]))
        self.weight("one", np.array([1], np.int64))
        self.weight("oneScalar", np.array(1, np.int64))
        x = self.node("Gather", [self.floats("embed", VOCABULARY, hidden, scale=1), "input_ids"], ["x"])
        n = self.node("SimplifiedLayerNormalization", [x, self.floats("g0", hidden, scale=1)], ["n"], axis=-1, epsilon=1e-6)
        sums = self.node("ReduceSum", ["attention_mask", "one"], ["sums"], keepdims=0)
        less = self.node("Sub", [sums, "one"], ["less"])
        last = self.node("Cast", [less], ["last"], to=onnx.TensorProto.INT32)
        total = self.node("Cast", [self.node("Gather", [self.node("Shape", ["attention_mask"], ["maskShape"]), "oneScalar"],
                                             ["total64"])], ["total"], to=onnx.TensorProto.INT32)
        if self.choose("packed", True, False):
            qkv = [self.product("qkv", n, (heads + 2 * kv_heads) * head, hidden), "", ""]
        else:
            qkv = [self.product("q", n, heads * head, hidden), self.product("k", n, kv_heads * head, hidden),
                   self.product("v", n, kv_heads * head, hidden)]
        rotary = self.choose("rotary", True, False)
        tables, interleaved = ["", ""], None
        if rotary:
            angles = np.arange(32)[:, None].astype(np.float32) * (10000.0 ** -(np.arange(head // 2) * 2 / head)).astype(np.float32)
            tables = [self.weight("cos", np.cos(angles)), self.weight("sin", np.sin(angles))]
            interleaved = int(self.choose("interleaved", True, False))
        sinks = self.choose("sinks", True, False)
        inputs = qkv + ["past_key_values.0.key", "past_key_values.0.value", last, total] + tables + ["", ""]
        inputs.append(self.floats("sinks", heads, scale=1) if sinks else "")
        while not inputs[-1]:
            inputs.pop()
        attended = self.node("GroupQueryAttention", inputs, ["attended", "present.0.key", "present.0.value"], "com.microsoft",
                             num_heads=heads, kv_num_heads=kv_heads, do_rotary=int(rotary), rotary_interleaved=interleaved,
                             local_window_size=self.choose("window", -1, 3), softcap=self.choose("softcap", 0.0, 5.0),
                             scale=self.choose("scale", 0.0, 0.3))
        projected = self.product("o", attended, hidden, heads * head)
        self.node("SkipSimplifiedLayerNormalization", [x, projected, self.floats("g1", hidden, scale=1)],
                  ["n2", "", "", "residual"], "com.microsoft", epsilon=1e-6)
        scores = self.node("MatMul", ["n2", self.floats("router", hidden, experts, scale=1)], ["scores"])
        if self.choose("router bias", True, False):
            scores = self.node("Add", [scores, self.floats("routerBias", experts, scale=1)], ["biased"])
        flat = self.node("Reshape", [scores, self.weight("flat", np.array([-1, experts], np.int64))], ["flatScores"])
        mixed = self.mixture("n2", flat, experts, top, hidden, width)
        h = self.node("Add", ["residual", mixed], ["h"])
        n3 = self.node("SimplifiedLayerNormalization", [h, self.floats("g2", hidden, scale=1)], ["n3"], axis=-1, epsilon=1e-6)
        self.product("logits", n3, VOCABULARY, hidden)
        self.outputs.insert(0, make.make_tensor_value_info("logits", f32, [1, "s", VOCABULARY]))
        graph = make.make_graph(self.nodes, "case", self.inputs, self.outputs, self.weights)
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", 21), make.make_opsetid("com.microsoft", 1)],
                                ir_version=10)
        self.past = np.zeros((1, kv_heads, 0, head), np.float32)
        return model

    def mixture(self, x, scores, experts, top, hidden, width):
        activation = self.choose("activation", "relu", "gelu", "silu", "swiglu")
        gated = activation == "swiglu"
        rows = 2 * width if gated else width
        attributes = dict(k=top, activation_type=activation, swiglu_fusion=1 if gated else None)
        if gated:
            attributes.update(activation_alpha=self.choose("alpha", 1.0, 1.702), activation_beta=self.choose("beta", 0.0, 1.0),
                              swiglu_limit=self.choose("limit", None, 0.5, 7.0))
        biases = [self.floats(f"fc{i}.b", experts, n) if self.choose("expert bias", True, False) else ""
                  for i, n in ((1, rows), (2, hidden))]
        bits = self.choose("expert bits", 0, 0, 2, 4, 8)
        if not bits:
            inputs = [x, scores, self.floats("fc1", experts, rows, hidden), biases[0], self.floats("fc2", experts, hidden, width),
                      biases[1]]
            while not inputs[-1]:
                inputs.pop()
            return self.node("MoE", inputs, ["mixed"], "com.microsoft", **attributes,
                             normalize_routing_weights=self.choose("normalise", 0, 1))
        block = self.choose("expert block", None, 16, 32)
        asymmetric = self.choose("expert zero points", True, False)
        parts = []
        for name, n, k in (("fc1", rows, hidden), ("fc2", hidden, width)):
            packed, scales, zeros = self.codes(experts * n, k, bits, block or k, name, asymmetric, shape=(experts, n, k))
            if asymmetric and block is None:  # one a row: packed along the rows
                flat = self.numbers.integers(1 << (bits - 2), 3 << (bits - 2), (experts, n), dtype=np.uint8)
                per_byte = 8 // bits
                groups = flat.reshape(experts, -1, per_byte)
                zeros = sum(groups[:, :, i].astype(np.uint16) << (bits * i) for i in range(per_byte)).astype(np.uint8)
            parts.append([self.weight(name, packed.reshape(experts, n, -1)),
                          self.weight(name + ".s", scales.reshape((experts, n) if block is None else (experts, n, -1))),
                          self.weight(name + ".z", zeros.reshape((experts, -1) if block is None else (experts, n, -1)))
                          if asymmetric else ""])
        # What the operator's specification says, as a float MoE: some of ONNX Runtime's kernels round activations to 8 bits.
        onnx, twin = self.onnx, []
        for name, n, k, zero in (("fc1", rows, hidden, parts[0][2]), ("fc2", hidden, width, parts[1][2])):
            stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.weights}
            per_byte, blocks = 8 // bits, k // (block or k)

            def unpack(values, count):
                parts = [(values[..., None] >> (bits * i)) & ((1 << bits) - 1) for i in range(per_byte)]
                return np.concatenate(parts, -1).reshape(*values.shape[:-1], -1)[..., :count].astype(np.float32)
            codes = unpack(stored[name], k).reshape(experts, n, blocks, -1)
            if not zero:
                zeros = float(1 << (bits - 1))
            elif block is None:
                zeros = unpack(stored[zero], n).reshape(experts, n, 1, 1)
            else:
                zeros = unpack(stored[zero], blocks).reshape(experts, n, blocks, 1)
            values = (codes - zeros) * stored[name + ".s"].reshape(experts, n, blocks, 1)
            twin.append(onnx.numpy_helper.from_array(values.reshape(experts, n, k).astype(np.float32), name + ".twin"))
        kept = {key: value for key, value in attributes.items() if value is not None}
        names = [x, scores, "fc1.twin", biases[0], "fc2.twin", biases[1]]
        while not names[-1]:
            names.pop()
        self.twin = twin, onnx.helper.make_node("MoE", names, ["mixed"], domain="com.microsoft", normalize_routing_weights=1,
                                                **kept)
        inputs = [x, scores, parts[0][0], parts[0][1], biases[0], parts[1][0], parts[1][1], biases[1], "", "", "", parts[0][2],
                  parts[1][2]]
        # ONNX Runtime's kernel normalises whatever the attribute says.
        deviates = self.choose("routing of ONNX Runtime", False, True)
        self.flags = ["--routing-semantics", "ort-cpu"] if deviates else []
        while not inputs[-1]:
            inputs.pop()
        return self.node("QMoE", inputs, ["mixed"], "com.microsoft", **attributes,
                         normalize_routing_weights=int(not deviates), expert_weight_bits=bits, block_size=block)


def check(seed, folder):
    ort = need("onnxruntime")
    builder = Builder(seed)
    model = builder.build()
    said = ", ".join(builder.said)
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, TOKENS)
    options = ort.SessionOptions()
    options.log_severity_level = 4

    def oracle(graph):
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = {"input_ids": tokens[None].astype(np.int64), "attention_mask": np.ones((1, TOKENS), np.int64),
                 "past_key_values.0.key": builder.past, "past_key_values.0.value": builder.past}
        return session.run(["logits"], feeds)[0][0]
    try:
        own = expected = oracle(model)
        if builder.twin:
            other = type(model)()
            other.CopyFrom(model)
            other.graph.initializer.extend(builder.twin[0])
            next(node for node in other.graph.node if node.op_type == "QMoE").CopyFrom(builder.twin[1])
            expected = oracle(other)
    except Exception as error:  # the oracle's kernels lack this combination
        return "no oracle: " + str(error)[:100].replace("\n", " ")
    path, out = os.path.join(folder, "model.onnx"), os.path.join(folder, "out.emoe")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    result = run(EMOEC, "compile", path, "-o", out, "--lossless", "--exact", "--target", "host", "-q", *builder.flags,
                 check=False)
    assert result.returncode == 0, f"case {seed} ({said}): {result.stderr.decode()[-600:]}"
    got = logits(out, tokens)
    worst, size = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    assert worst <= 1e-3 * max(1, size), f"case {seed} ({said}): largest difference {worst:.3g} of {size:.3g}"
    loose = float(np.abs(got - own).max())
    assert loose <= 0.03 * max(1, size), f"case {seed} ({said}): {loose:.3g} of {size:.3g} off the quantised kernel"
    return None


def main():
    arguments = sys.argv[1:]
    seeds = range(int(os.environ.get("EMOE_CASES", 30)))
    if arguments[:1] == ["--cases"]:
        seeds = range(int(arguments[1]))
    elif arguments:
        seeds = [int(seed) for seed in arguments]
    right, lacking, wrong = 0, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                why = check(seed, folder)
            except AssertionError as error:
                wrong.append(str(error))
                print(error, flush=True)
                continue
            right += why is None
            if why:
                lacking[why] = lacking.get(why, 0) + 1
    print(f"{right} of {len(list(seeds))} cases right, {len(wrong)} wrong, {sum(lacking.values())} without an oracle: {lacking}")
    assert not wrong
    assert right >= 0.9 * len(seeds), "too few cases have an oracle"


if __name__ == "__main__":
    sys.exit(main())
