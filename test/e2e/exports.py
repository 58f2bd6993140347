"""Exports that no tool wrote: a decoder of two layers from seeded choices of sizes, spellings, rotary scalings, routers
(ONNX_MOE.md section 3) and forms of experts (P0 to P5, P7). What exporters do differently is a choice here; a case names the
choices that it took."""
import math
import os
import random

from support import need

np = need("numpy")
VOCABULARY = 64
ROUTERS = {
    # scores, what is done with the chosen
    "mixtral": ("softmax", "sum"), "olmoe": ("softmax", "raw"), "granite": ("none", "softmax"),
    "gpt-oss": ("bias", "softmax"), "ernie": ("softmax+", "clamp"), "lfm2": ("sigmoid+", "1e-6"),
    "deepseek-v3": ("groups", "1e-20"), "deepseek-v2": ("softmax", "scale"), "glm": ("sigmoid+", "1e-20"),
    "gemma": ("softmax", "experts"), "nemotron": ("sigmoid+", "1e-20"), "llama-4": ("none", "sigmoid"),
}


def reads(node):
    """Names that the node and its subgraphs read; those of subgraphs' own values are of no other node."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names |= reads(inner)
        names |= {value.name for value in attribute.g.output}
    return names


class Graph:
    """Nodes and weights with names of their own; weights of more than a page lie in a file beside."""

    def __init__(self, seed, holes=False):
        self.onnx = need("onnx")
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.nodes, self.weights, self.said, self.chunks = [], [], {}, []
        self.known, self.offset, self.holes = {}, 0, holes

    def choose(self, what, *choices):
        self.said[what] = self.random.choice(choices) if what not in self.said else self.said[what]
        return self.said[what]

    def name(self, text):
        self.known[text] = self.known.get(text, 0) + 1
        return f"{text}_{self.known[text]}"

    def constant(self, values, dtype=None):
        values = np.asarray(values, dtype or (np.int64 if np.asarray(values).dtype.kind in "iu" else np.float32))
        key = ("constant", values.tobytes(), values.shape, str(values.dtype))
        if key not in self.known:
            self.known[key] = f"c{len(self.weights)}"
            self.weights.append(self.onnx.numpy_helper.from_array(values, self.known[key]))
        return self.known[key]

    def floats(self, *shape, scale=None):
        scale = scale if scale is not None else shape[-1] ** -0.5
        name = f"w{len(self.weights)}"
        if not self.holes:
            values = (self.numbers.standard_normal(shape) * scale).astype(np.float32)
            self.weights.append(self.onnx.numpy_helper.from_array(values, name))
            return name
        tensor = self.onnx.TensorProto(name=name, data_type=self.onnx.TensorProto.FLOAT, dims=shape,
                                       data_location=self.onnx.TensorProto.EXTERNAL)
        size = 4 * math.prod(shape)
        for key, value in (("location", "holes.data"), ("offset", self.offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self.offset += -(-size // 4096) * 4096
        self.weights.append(tensor)
        return name

    def values(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values.astype(np.float32)), name))
        return name

    def op(self, kind, *inputs, outputs=1, domain="", names=None, **attributes):
        names = names or [self.name(kind.lower()) for _ in range(outputs)]
        kept = {key: value for key, value in attributes.items() if value is not None}
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, name=names[0], domain=domain, **kept))
        return names[0] if outputs == 1 and len(names) == 1 else names

    def ms(self, kind, *inputs, **attributes):
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)


class Decoder(Graph):
    def __init__(self, seed, holes=False, **fixed):
        super().__init__(seed, holes)
        self.said.update(fixed)
        choose = self.choose
        self.layers = choose("layers", 2)
        self.hidden = choose("hidden", 48, 64, 80)
        self.kv_heads = choose("kv heads", 1, 2, 3)
        self.heads = self.kv_heads * choose("group", 1, 2, 3)
        self.attention_form = choose("attention", "decomposed", "decomposed", "gqa", "standard")
        # ONNX Runtime's GroupQueryAttention takes no others.
        self.head = choose("head size", *((16, 32, 48) if self.attention_form == "gqa" else (8, 12, 16, 20, 24, 40)))
        self.experts = choose("experts", 3, 5, 6, 8, 12)
        self.top = choose("top", *range(1, min(4, self.experts) + 1))
        self.width = choose("expert width", 16, 24, 40)
        self.rotary_form = choose("rotary", "positions", "positions", "matmul", "table", "none")
        self.scaling = choose("scaling", "none", "linear", "ntk", "yarn", "llama3", "longrope")
        self.style = choose("style", "half", "half", "interleaved") if self.attention_form != "standard" else "half"
        self.norm_form = choose("norm", "pow", "mul", "simplified", "layer")
        self.router = choose("router", *(name for name in ROUTERS if name != "llama-4"))
        self.form = choose("experts' form", "P0", "P1", "P2", "P3", "P3nd", "P3right", "P4")
        if self.router in ("ernie", "lfm2", "deepseek-v3", "glm", "gemma", "nemotron") and self.form == "P0":
            self.form = self.said["experts' form"] = "P3"
        if seed % 8 == 3 and "experts' form" not in fixed:
            self.form = self.said["experts' form"] = "P5"
        if seed % 8 == 7 and "experts' form" not in fixed:  # Llama 4's router and experts belong together
            self.form, self.router, self.top = "P7", "llama-4", 1
            self.said.update({"experts' form": "P7", "router": "llama-4", "top": 1, "expert bias": False})
        if self.router == "deepseek-v3":
            self.experts, self.top = 8, min(self.top, 4)
            self.said.update(experts=8, top=self.top)

    # ---- parts ----
    def linear(self, x, columns, rows, bias=False):
        scale = columns ** -0.5
        form = self.choose("linear", "matmul", "transposed")
        if form == "matmul":
            y = self.op("MatMul", x, self.floats(columns, rows, scale=scale))
        else:
            y = self.op("MatMul", x, self.op("Transpose", self.floats(rows, columns, scale=scale), perm=[1, 0]))
        return self.op("Add", y, self.floats(rows, scale=0.3)) if bias else y

    def norm(self, x, width, scale=None):
        gamma = scale or self.floats(width, scale=1)
        if self.norm_form == "simplified":
            return self.op("SimplifiedLayerNormalization", x, gamma, axis=-1, epsilon=1e-6)
        if self.norm_form == "layer" and scale is None:
            return self.op("LayerNormalization", x, gamma, self.floats(width, scale=0.2), axis=-1, epsilon=1e-5)
        square = self.op("Mul", x, x) if self.norm_form == "mul" else self.op("Pow", x, self.constant(2.0))
        mean = self.op("ReduceMean", square, self.constant([-1]), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(1e-6)))
        if self.norm_form == "mul":
            return self.op("Mul", self.op("Div", x, root), gamma)
        return self.op("Mul", gamma, self.op("Mul", x, self.op("Reciprocal", root)))

    def frequencies(self, rotated):
        """As transformers' modeling_rope_utils; and the factor of cosines and sines."""
        base, half, original = 10000.0, rotated // 2, 16
        own = base ** -(np.arange(half) * 2.0 / rotated)
        if self.scaling == "linear":
            return own / 4, 1.0
        if self.scaling == "ntk":
            return (base * 4 ** (rotated / max(rotated - 2, 1))) ** -(np.arange(half) * 2.0 / rotated), 1.0
        if self.scaling == "yarn":
            def at(turns):
                return rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
            low, high = max(math.floor(at(32)), 0), min(math.ceil(at(1)), rotated - 1)
            ramp = np.clip((np.arange(half) - low) / max(high - low, 0.001), 0, 1)
            return own / 8 * ramp + own * (1 - ramp), 0.1 * math.log(8) + 1
        if self.scaling == "llama3":
            waves = 2 * math.pi / own
            smooth = np.clip((original / waves - 1) / (4 - 1), 0, 1)
            return own / 8 * (1 - smooth) + own * smooth, 1.0
        if self.scaling == "longrope":
            return own / (1 + np.arange(half) * 0.37), math.sqrt(1 + math.log(4) / math.log(original))
        return own, 1.0

    def prepare(self):
        """Inputs, positions, masks."""
        make, i64, f32 = self.onnx.helper.make_tensor_value_info, self.onnx.TensorProto.INT64, self.onnx.TensorProto.FLOAT
        self.inputs, self.outputs = [make("input_ids", i64, [1, "s"])], []
        masked = self.attention_form == "gqa" or self.choose("mask", "input", "made") == "input"
        if masked:
            self.inputs.append(make("attention_mask", i64, [1, "t"]))
        given = self.choose("positions", "input", "made") == "input"
        if given:
            self.inputs.append(make("position_ids", i64, [1, "s"]))
        for layer in range(self.layers):
            for part in ("key", "value"):
                self.inputs.append(make(f"past_key_values.{layer}.{part}", f32, [1, self.kv_heads, "p", self.head]))
                self.outputs.append(make(f"present.{layer}.{part}", f32, [1, self.kv_heads, "t", self.head]))
        if self.choose("inputs", "in order", "keys first") == "keys first":
            self.inputs.sort(key=lambda value: (".value" in value.name, ".key" in value.name))
        self.rotated = self.head if self.choose("partial", False, False, True) is False else self.head // 4 * 2
        if self.attention_form != "decomposed":
            self.rotated = self.said["partial"] = self.head if self.attention_form == "gqa" else self.rotated
        if self.rotated < 2:
            self.rotated = self.head
        self.length = self.op("Gather", self.op("Shape", "input_ids"), self.constant(1), axis=0)
        self.past = self.op("Gather", self.op("Shape", "past_key_values.0.key"), self.constant(2), axis=0)
        self.total = self.op("Add", self.past, self.length)
        if given:
            self.positions = "position_ids"
        else:
            own = self.op("Range", self.past, self.total, self.constant(1))
            self.positions = self.op("Unsqueeze", own, self.constant([0]))
        if masked:
            counted = self.op("Sub", self.op("ReduceSum", "attention_mask", self.constant([1]), keepdims=0), self.constant([1]))
            self.last = self.op("Cast", counted, to=self.onnx.TensorProto.INT32)
            whole = self.op("Gather", self.op("Shape", "attention_mask"), self.constant(1), axis=0)
            self.total32 = self.op("Cast", whole, to=self.onnx.TensorProto.INT32)
        self.window = self.choose("window", 0, 0, 3)
        frequencies, self.factor = self.frequencies(self.rotated)
        if self.rotary_form == "none":
            return
        if self.attention_form == "gqa" or self.rotary_form == "table":
            angles = np.arange(2 * VOCABULARY)[:, None] * frequencies[None]
            self.tables = (self.values(np.cos(angles) * self.factor), self.values(np.sin(angles) * self.factor))
        inverse = self.values(frequencies)
        if self.attention_form == "gqa":
            return
        if self.rotary_form == "table":
            waves = [self.op("Gather", table, self.positions, axis=0) for table in self.tables]
        else:
            floats = self.op("Cast", self.positions, to=f32)
            if self.rotary_form == "positions":
                angle = self.op("Mul", self.op("Unsqueeze", floats, self.constant([2])), inverse)
            else:
                column = self.op("Unsqueeze", inverse, self.constant([0, 2]))
                angle = self.op("Transpose", self.op("MatMul", column, self.op("Unsqueeze", floats, self.constant([1]))),
                                perm=[0, 2, 1])
            waves = [angle, angle]
        if self.style == "half":
            waves = [self.op("Concat", wave, wave, axis=-1) for wave in waves]
        else:
            waves = [self.op("Reshape", self.op("Tile", self.op("Unsqueeze", wave, self.constant([3])), self.constant([1, 1, 1, 2])),
                             self.constant([1, -1, self.rotated])) for wave in waves]
        if self.rotary_form != "table":
            waves = [self.op(kind, wave) for kind, wave in zip(("Cos", "Sin"), waves)]
            if self.factor != 1:
                waves = [self.op("Mul", wave, self.constant(self.factor)) for wave in waves]
        self.waves = [self.op("Unsqueeze", wave, self.constant([1])) for wave in waves]

    def rotate(self, x, heads):
        """x is [1, heads, S, head]."""
        if self.rotary_form == "none":
            return x
        last, half = self.constant([3]), self.rotated // 2
        rest = None
        if self.rotated != self.head:
            x, rest = self.op("Split", x, self.constant([self.rotated, self.head - self.rotated]), axis=3, outputs=2)
        step = self.constant([1])
        if self.style == "half":
            low = self.op("Slice", x, self.constant([0]), self.constant([half]), last, step)
            high = self.op("Slice", x, self.constant([half]), self.constant([2 ** 63 - 1]), last, step)
            turned = self.op("Concat", self.op("Neg", high), low, axis=-1)
        else:
            two, end = self.constant([2]), self.constant([2 ** 63 - 1])
            even = self.op("Slice", x, self.constant([0]), end, last, two)
            odd = self.op("Slice", x, self.constant([1]), end, last, two)
            pair = [self.op("Unsqueeze", part, self.constant([-1])) for part in (self.op("Neg", odd), even)]
            turned = self.op("Reshape", self.op("Concat", *pair, axis=-1), self.constant([1, heads, -1, self.rotated]))
        cosine, sine = self.waves
        y = self.op("Add", self.op("Mul", x, cosine), self.op("Mul", turned, sine))
        return self.op("Concat", y, rest, axis=-1) if rest else y

    def bias(self):
        """0 where a query may look, very small elsewhere: [1, 1, S, T]."""
        if not hasattr(self, "masking"):
            queries = self.op("Unsqueeze", self.op("Range", self.past, self.total, self.constant(1)), self.constant([1]))
            keys = self.op("Unsqueeze", self.op("Range", self.constant(0), self.total, self.constant(1)), self.constant([0]))
            seen = self.op("LessOrEqual", keys, queries)
            if self.window:
                near = self.op("Greater", keys, self.op("Sub", queries, self.constant(self.window)))
                seen = self.op("And", seen, near)
            seen = self.op("Unsqueeze", seen, self.constant([0, 1]))
            lowest = self.constant(float(np.finfo(np.float32).min))
            self.masking = self.op("Where", seen, self.constant(0.0), lowest)
        return self.masking

    def attention(self, x, layer):
        biased = self.choose("attention bias", False, True)
        q = self.linear(x, self.hidden, self.heads * self.head, biased)
        k = self.linear(x, self.hidden, self.kv_heads * self.head, biased)
        v = self.linear(x, self.hidden, self.kv_heads * self.head, biased)
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        scale = self.choose("scale", None, 0.2)
        softcap = self.choose("softcap", 0.0, 0.0, 5.0)
        sinks = self.choose("sinks", False, False, True)
        sinks = sinks and self.heads > 1  # one number is no row of sinks
        normed = self.choose("qk norm", "none", "none", "head", "full")
        if normed == "full":
            q, k = self.norm(q, self.heads * self.head), self.norm(k, self.kv_heads * self.head)

        def cut(rows, heads):
            return self.op("Reshape", rows, self.constant([1, -1, heads, self.head]))
        if normed == "head":
            q = self.norm(cut(q, self.heads), self.head, self.floats(self.head, scale=1))
            k = self.norm(cut(k, self.kv_heads), self.head, self.floats(self.head, scale=1))
        if self.attention_form == "gqa":
            if normed == "head":
                q, k = (self.op("Reshape", rows, self.constant([1, -1, n * self.head]))
                        for rows, n in ((q, self.heads), (k, self.kv_heads)))
            tables = list(self.tables) if self.rotary_form != "none" else ["", ""]
            attended = self.ms("GroupQueryAttention", q, k, v, *past, self.last, self.total32, *tables, "", "",
                               self.floats(self.heads, scale=1) if sinks else "", names=[self.name("gqa")] + present,
                               num_heads=self.heads, kv_num_heads=self.kv_heads, do_rotary=int(self.rotary_form != "none"),
                               rotary_interleaved=int(self.style == "interleaved"), softcap=softcap,
                               local_window_size=self.window or -1, scale=scale or 0.0)[0]
            return self.linear(attended, self.heads * self.head, self.hidden, biased)
        q, k = (rows if normed == "head" else cut(rows, n) for rows, n in ((q, self.heads), (k, self.kv_heads)))
        q, k, v = (self.op("Transpose", rows, perm=[0, 2, 1, 3]) for rows in (q, k, cut(v, self.kv_heads)))
        q, k = self.rotate(q, self.heads), self.rotate(k, self.kv_heads)
        scale = scale or self.head ** -0.5
        if self.attention_form == "standard":
            attended = self.op("Attention", q, k, v, self.bias(), *past, names=[self.name("attended")] + present, scale=scale,
                               softcap=softcap)[0]
        else:
            k = self.op("Concat", past[0], k, axis=2, names=[present[0]])
            v = self.op("Concat", past[1], v, axis=2, names=[present[1]])
            if self.heads != self.kv_heads:
                times, total = self.heads // self.kv_heads, self.op("Unsqueeze", self.total, self.constant([0]))
                extents = self.op("Concat", self.constant([1, self.kv_heads, times]), total, self.constant([self.head]), axis=0)
                k, v = (self.op("Reshape", self.op("Expand", self.op("Unsqueeze", rows, self.constant([2])), extents),
                                self.constant([1, self.heads, -1, self.head])) for rows in (k, v))
            where = self.choose("scaled", "scores", "queries", "both", "divided")
            kt = self.op("Transpose", k, perm=[0, 1, 3, 2])
            if where == "queries":
                q = self.op("Mul", q, self.constant(scale))
            elif where == "both":
                q, kt = self.op("Mul", q, self.constant(scale ** 0.5)), self.op("Mul", kt, self.constant(scale ** 0.5))
            scores = self.op("MatMul", q, kt)
            if where == "scores":
                scores = self.op("Mul", scores, self.constant(scale))
            elif where == "divided":
                scores = self.op("Div", scores, self.constant(1 / scale))
            if softcap:
                capped = self.op("Tanh", self.op("Div", scores, self.constant(softcap)))
                scores = self.op("Mul", capped, self.constant(softcap))
            scores = self.op("Add", scores, self.bias())
            if sinks:
                extents = self.op("Concat", self.constant([1, self.heads]), self.op("Unsqueeze", self.length, self.constant([0])),
                                  self.constant([1]), axis=0)
                column = self.op("Expand", self.floats(1, self.heads, 1, 1, scale=1), extents)
                scores = self.op("Concat", scores, column, axis=-1)
                shares = self.op("Slice", self.op("Softmax", scores, axis=-1), self.constant([0]), self.constant([-1]),
                                 self.constant([3]), self.constant([1]))
            else:
                shares = self.op("Softmax", scores, axis=-1)
            attended = self.op("MatMul", shares, v)
        rows = self.op("Reshape", self.op("Transpose", attended, perm=[0, 2, 1, 3]), self.constant([1, -1, self.heads * self.head]))
        return self.linear(rows, self.heads * self.head, self.hidden, biased)

    def build(self):
        from exports_mixture import mixture, shared_expert
        self.prepare()
        embedding = self.floats(VOCABULARY, self.hidden, scale=1)
        x = self.op("Gather", embedding, "input_ids", axis=0)
        if self.choose("embedding scale", False, False, True):
            x = self.op("Mul", x, self.constant(self.hidden ** 0.5))
        residual = self.choose("residual scale", 1.0, 1.0, 0.22)

        def add(rows, part):
            return self.op("Add", rows, self.op("Mul", part, self.constant(residual)) if residual != 1 else part)
        shared = self.choose("shared expert", "none", "none", "plain", "gated")
        dense = self.choose("dense layer first", False, False, True)
        for layer in range(self.layers):
            x = add(x, self.attention(self.norm(x, self.hidden), layer))
            n = self.norm(x, self.hidden)
            if dense and layer == 0:
                x = add(x, shared_expert(self, n, "plain"))
                continue
            mixed = mixture(self, n)
            if shared != "none":
                mixed = self.op("Add", mixed, shared_expert(self, n, shared))
            x = add(x, mixed)
        x = self.norm(x, self.hidden)
        if self.choose("tied", True, False):
            logits = self.op("MatMul", x, self.op("Transpose", embedding, perm=[1, 0]))
        else:
            logits = self.linear(x, self.hidden, VOCABULARY)
        tail = self.choose("tail", "none", "none", "scale", "softcap")
        if tail == "scale":
            logits = self.op("Div", logits, self.constant(3.0))
        elif tail == "softcap":
            logits = self.op("Mul", self.op("Tanh", self.op("Div", logits, self.constant(8.0))), self.constant(8.0))
        self.op("Identity", logits, names=["logits"])
        make = self.onnx.helper
        self.outputs.insert(0, make.make_tensor_value_info("logits", self.onnx.TensorProto.FLOAT, [1, "s", VOCABULARY]))
        self.order()
        graph = make.make_graph(self.nodes, "export", self.inputs, self.outputs, self.weights)
        return make.make_model(graph, opset_imports=[make.make_opsetid("", 23), make.make_opsetid("com.microsoft", 1)],
                               ir_version=10)

    def order(self):
        """Another order of the nodes that the graph allows."""
        if self.choose("nodes", "in order", "shuffled") == "in order":
            return
        made = {name for node in self.nodes for name in node.output}
        waiting, ready, done = list(self.nodes), [], set()
        result = []
        users = {}
        missing = {}
        for index, node in enumerate(waiting):
            needs = {name for name in reads(node) if name in made}
            missing[index] = len(needs)
            for name in needs:
                users.setdefault(name, []).append(index)
            if not needs:
                ready.append(index)
        while ready:
            index = ready.pop(self.random.randrange(len(ready)))
            result.append(waiting[index])
            for name in waiting[index].output:
                for user in users.get(name, []) if name not in done else []:
                    missing[user] -= 1
                    if missing[user] == 0:
                        ready.append(user)
                done.add(name)
        self.nodes = result

    def subgraph(self, inputs, make):
        """A graph with the inputs [(element type, shape or None)] and what `make(names of inputs)` gives as outputs
        [(name, element type)]; it sees all values outside."""
        outside, self.nodes = self.nodes, []
        names = [self.name("inner") for _ in inputs]
        results = [(self.op("Identity", value), element) for value, element in make(*names)]
        nodes, self.nodes = self.nodes, outside
        value = self.onnx.helper.make_tensor_value_info
        return self.onnx.helper.make_graph(nodes, self.name("body"), [value(n, t, shape) for n, (t, shape) in zip(names, inputs)],
                                           [value(n, t, None) for n, t in results])

    def feeds(self, tokens):
        past = np.zeros((1, self.kv_heads, 0, self.head), np.float32)
        known = {"input_ids": tokens[None].astype(np.int64), "attention_mask": np.ones((1, len(tokens)), np.int64),
                 "position_ids": np.arange(len(tokens), dtype=np.int64)[None]}
        return {value.name: known.get(value.name, past) for value in self.inputs}

    def save(self, folder):
        model = self.build()
        path = os.path.join(folder, "model.onnx")
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
        if self.holes:
            with open(os.path.join(folder, "holes.data"), "wb") as file:
                file.truncate(max(self.offset, 1))
        return path
