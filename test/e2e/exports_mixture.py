"""Routers and experts of the exports that no tool wrote (exports.py)."""
from exports import ROUTERS
from support import need

np = need("numpy")


def activation(g, kind, x):
    if kind == "silu":
        return g.op("Mul", x, g.op("Sigmoid", x))
    if kind == "gelu":
        return g.op("Gelu", x, approximate="none")
    if kind == "gelu_tanh":
        return g.op("Gelu", x, approximate="tanh")
    relu = g.op("Relu", x)
    return g.op("Mul", relu, relu) if kind == "relu2" else relu


def shared_expert(g, x, form):
    width = g.choose("shared width", 24, 40)
    gate = g.linear(x, g.hidden, width)
    y = g.linear(g.op("Mul", activation(g, "silu", gate), g.linear(x, g.hidden, width)), width, g.hidden)
    if form == "gated":
        y = g.op("Mul", g.op("Sigmoid", g.linear(x, g.hidden, 1)), y)
    return y


def route(g, flat):
    """Weights and ids [S, k] of the chosen experts."""
    scoring, weighing = ROUTERS[g.router]
    experts, top = g.experts, g.top
    logits = g.op("Gemm", flat, g.floats(experts, g.hidden, scale=1.2 * g.hidden ** -0.5 * 2), "", transB=1)
    if scoring == "bias":
        logits = g.op("Add", logits, g.floats(experts, scale=1))
    if scoring.startswith("softmax"):
        scores = g.op("Softmax", logits, axis=-1)
    elif scoring.startswith("sigmoid") or scoring == "groups":
        scores = g.op("Sigmoid", logits)
    else:
        scores = logits
    k = g.constant([top])
    if scoring.endswith("+") or scoring == "groups":
        choosing = g.op("Add", scores, g.floats(experts, scale=0.1))
        if scoring == "groups":
            choosing = in_groups(g, choosing)
        ids = g.op("TopK", choosing, k, outputs=2, axis=-1)[1]
        weights = g.op("GatherElements", scores, ids, axis=1)
    else:
        weights, ids = g.op("TopK", scores, k, outputs=2, axis=-1)
    if weighing == "softmax":
        weights = g.op("Softmax", weights, axis=-1)
    elif weighing == "sigmoid":
        weights = g.op("Sigmoid", weights)
    elif weighing != "raw" and weighing != "scale":
        total = g.op("ReduceSum", weights, g.constant([-1]), keepdims=1)
        if weighing == "clamp":
            total = g.op("Clip", total, g.constant(1e-12))
        elif weighing.startswith("1e"):
            total = g.op("Add", total, g.constant(float(weighing)))
        weights = g.op("Div", weights, total)
    if weighing == "experts":
        weights = g.op("Mul", weights, g.op("Gather", g.values(np.linspace(0.5, 1.5, experts)), ids, axis=0))
    if weighing == "scale" or g.router in ("deepseek-v3", "glm", "nemotron"):
        weights = g.op("Mul", weights, g.constant(2.5))
    return weights, ids


def in_groups(g, scores):
    groups, keep = 4, 2
    cut = g.op("Reshape", scores, g.constant([-1, groups, g.experts // groups]))
    best = g.op("TopK", cut, g.constant([2]), outputs=2, axis=-1)[0]
    sums = g.op("ReduceSum", best, g.constant([-1]), keepdims=0)
    chosen = g.op("TopK", sums, g.constant([keep]), outputs=2, axis=-1)[1]
    zeros = g.op("Expand", g.constant(0.0), g.op("Shape", sums))
    ones = g.op("Expand", g.constant(1.0), g.op("Shape", chosen))
    mask = g.op("Unsqueeze", g.op("ScatterElements", zeros, chosen, ones, axis=1), g.constant([-1]))
    mask = g.op("Reshape", g.op("Expand", mask, g.constant([1, groups, g.experts // groups])), g.constant([-1, g.experts]))
    kept = g.op("Cast", mask, to=g.onnx.TensorProto.BOOL)
    return g.op("Where", kept, scores, g.constant(g.choose("masked by", 0.0, float("-inf"))))


def mixture(g, x):
    """x and the result are [1, S, hidden]."""
    g.choose("activation", "silu", "silu", "gelu", "gelu_tanh", "relu")
    g.choose("gated", True, True, True, False)
    if not g.said["gated"]:
        g.choose("squared", False, True)
    g.choose("expert bias", False, False, True)
    flat = g.op("Reshape", x, g.constant([-1, g.hidden]))
    if g.form == "P0":
        return fused(g, x, flat)
    if g.form == "P7":
        return g.op("Reshape", scaled(g, x, flat), g.constant([1, -1, g.hidden]))
    weights, ids = route(g, flat)
    rows = {"P1": dense, "P2": loop, "P4": grouped, "P5": controlled}.get(g.form, gathered)(g, flat, weights, ids)
    return g.op("Reshape", rows, g.constant([1, -1, g.hidden]))


def form(g):
    kind = g.said["activation"]
    return "relu2" if kind == "relu" and g.said.get("squared") else kind


def fused(g, x, flat):
    """com.microsoft MoE: what ONNX Runtime's CPU kernel computes."""
    scoring, weighing = ROUTERS[g.router]
    logits = g.op("MatMul", flat, g.floats(g.hidden, g.experts, scale=2 * g.hidden ** -0.5))
    if scoring == "bias":
        logits = g.op("Add", logits, g.floats(g.experts, scale=1))
    gated = g.said["gated"]
    kind = "swiglu" if gated else {"gelu_tanh": "gelu"}.get(g.said["activation"], g.said["activation"])
    rows = g.width * 2 if gated else g.width
    biased = g.said["expert bias"]
    mixed = g.ms("MoE", x, logits, g.floats(g.experts, rows, g.hidden), g.floats(g.experts, rows, scale=0.3) if biased else "",
                 g.floats(g.experts, g.hidden, g.width), g.floats(g.experts, g.hidden, scale=0.3) if biased else "",
                 activation_type=kind, k=g.top, normalize_routing_weights=int(weighing not in ("raw", "scale")),
                 swiglu_fusion=1 if gated else None, activation_alpha=g.choose("alpha", 1.0, 1.702) if gated else None,
                 activation_beta=g.choose("beta", 0.0, 1.0) if gated else None,
                 swiglu_limit=g.choose("limit", None, 2.0) if gated else None)
    return g.op("Mul", mixed, g.constant(2.5)) if weighing == "scale" else mixed


def one(g, x):
    """One expert's rows, with weights of its own."""
    biased = g.said["expert bias"]

    def product(rows, columns, outputs):
        return g.linear(rows, columns, outputs, biased)
    if not g.said["gated"]:
        return product(activation(g, form(g), product(x, g.hidden, g.width)), g.width, g.hidden)
    joined = g.choose("gate and up", "apart", "gate first", "up first")
    if joined == "apart":
        gate, up = product(x, g.hidden, g.width), product(x, g.hidden, g.width)
    else:
        parts = g.op("Split", product(x, g.hidden, 2 * g.width), outputs=2, axis=-1, num_outputs=2)
        gate, up = parts if joined == "gate first" else parts[::-1]
    return product(g.op("Mul", activation(g, form(g), gate), up), g.width, g.hidden)


def dense(g, x, weights, ids):
    """P1: every expert on every token, times its weight where it was chosen."""
    total = None
    for expert in range(g.experts):
        y = one(g, x)
        mask = g.op("Cast", g.op("Equal", ids, g.constant(expert)), to=g.onnx.TensorProto.FLOAT)
        kept = int(g.choose("sums kept", True, False))
        share = g.op("ReduceSum", g.op("Mul", weights, mask), g.constant([-1]), keepdims=kept)
        share = share if kept else g.op("Unsqueeze", share, g.constant([-1]))
        part = g.op("Mul", y, share)
        total = g.op("Add", total, part) if total else part
    return total


def loop(g, x, weights, ids):
    """P2: the tokens of one expert after the other."""
    choice = g.op("Transpose", g.op("OneHot", ids, g.constant([g.experts]), g.constant([0, 1])), perm=[2, 1, 0])
    total = g.op("ConstantOfShape", g.op("Shape", x))
    for expert in range(g.experts):
        own = g.op("Gather", choice, g.constant(expert), axis=0)
        pairs = g.op("NonZero", own)
        slots, tokens = g.op("Split", pairs, outputs=2, axis=0, num_outputs=2)
        slots, tokens = (g.op("Squeeze", part, g.constant([0])) for part in (slots, tokens))
        y = one(g, g.op("Gather", x, tokens, axis=0))
        pair = g.op("Concat", *(g.op("Unsqueeze", part, g.constant([-1])) for part in (tokens, slots)), axis=-1)
        share = g.op("Unsqueeze", g.op("GatherND", weights, pair), g.constant([-1]))
        at = g.op("Unsqueeze", tokens, g.constant([-1]))
        total = g.op("ScatterND", total, at, g.op("Mul", y, share), reduction="add")
    return total


def controlled(g, x, weights, ids):
    """P5: a Loop or a Scan over experts, whose matrices are stacked; perhaps an If skips those that no token chose."""
    types = g.onnx.TensorProto
    choice = g.op("Transpose", g.op("OneHot", ids, g.constant([g.experts]), g.constant([0, 1])), perm=[2, 1, 0])
    zeros = g.op("ConstantOfShape", g.op("Shape", x))
    shapes = [(g.hidden, g.width)] * (2 if g.said["gated"] else 1) + [(g.width, g.hidden)]
    stacks = [g.floats(g.experts, *shape, scale=shape[0] ** -0.5) for shape in shapes]
    biases = [g.floats(g.experts, shape[1], scale=0.3) for shape in shapes] if g.said["expert bias"] else []
    skips = g.choose("skips", "by length", "by sum", "never")

    def expert(own, total, parts):
        matrices, added = parts[:len(shapes)], parts[len(shapes):]

        def product(rows, index):
            y = g.op("MatMul", rows, matrices[index])
            return g.op("Add", y, added[index]) if added else y

        def work():
            slots, tokens = g.op("Split", pairs or g.op("NonZero", own), outputs=2, axis=0, num_outputs=2)
            slots, tokens = (g.op("Squeeze", part, g.constant([0])) for part in (slots, tokens))
            rows = g.op("Gather", x, tokens, axis=0)
            active = activation(g, form(g), product(rows, 0))
            y = product(g.op("Mul", active, product(rows, 1)) if g.said["gated"] else active, len(shapes) - 1)
            pair = g.op("Concat", *(g.op("Unsqueeze", part, g.constant([-1])) for part in (tokens, slots)), axis=-1)
            share = g.op("Unsqueeze", g.op("GatherND", weights, pair), g.constant([-1]))
            at = g.op("Unsqueeze", tokens, g.constant([-1]))
            return [(g.op("ScatterND", total, at, g.op("Mul", y, share), reduction="add"), types.FLOAT)]
        pairs = g.op("NonZero", own) if skips != "by sum" else None
        if skips == "never":
            return work()[0][0]
        if skips == "by sum":
            count = g.op("ReduceSum", own, keepdims=0)
        else:
            count = g.op("Gather", g.op("Shape", pairs), g.constant(1), axis=0)
        then, other = g.subgraph([], work), g.subgraph([], lambda: [(total, types.FLOAT)])
        return g.op("If", g.op("Greater", count, g.constant(0)), then_branch=then, else_branch=other)
    if g.choose("control", "Loop", "Scan") == "Loop":
        def body(i, going, total):
            parts = [g.op("Gather", stack, i, axis=0) for stack in (choice, *stacks, *biases)]
            return [(going, types.BOOL), (expert(parts[0], total, parts[1:]), types.FLOAT)]
        inner = g.subgraph([(types.INT64, []), (types.BOOL, []), (types.FLOAT, None)], body)
        return g.op("Loop", g.constant(g.experts), g.constant(True, np.bool_), zeros, body=inner)
    parts = [choice, *stacks, *biases]
    inner = g.subgraph([(types.FLOAT, None), (types.INT64, None)] + [(types.FLOAT, None)] * (len(parts) - 1),
                       lambda total, own, *rest: [(expert(own, total, rest), types.FLOAT)])
    return g.op("Scan", zeros, *parts, body=inner, num_scan_inputs=len(parts))


def gathered(g, x, weights, ids):
    """P3: the chosen experts' matrices of all tokens."""
    top, right = g.top, g.form == "P3right"
    pairs = g.op("Reshape", ids, g.constant([-1]))
    single = g.op("Unsqueeze", x, g.constant([1]))
    rows = g.op("Reshape", g.op("Tile", single, g.constant([1, top, 1])), g.constant([-1, g.hidden]))

    def pick(weight):
        if g.form == "P3nd":
            return g.op("GatherND", weight, g.op("Unsqueeze", pairs, g.constant([-1])))
        return g.op("Gather", weight, pairs, axis=0)

    def product(rows, columns, outputs):
        if right:
            picked = pick(g.floats(g.experts, columns, outputs, scale=columns ** -0.5))
            y = g.op("MatMul", g.op("Unsqueeze", rows, g.constant([1])), picked)
            y = g.op("Squeeze", y, g.constant([1]))
        else:
            picked = pick(g.floats(g.experts, outputs, columns))
            y = g.op("MatMul", picked, g.op("Unsqueeze", rows, g.constant([-1])))
            y = g.op("Squeeze", y, g.constant([-1]))
        return g.op("Add", y, pick(g.floats(g.experts, outputs, scale=0.3))) if g.said["expert bias"] else y
    if not g.said["gated"]:
        active = activation(g, form(g), product(rows, g.hidden, g.width))
    else:
        both = product(rows, g.hidden, 2 * g.width)
        order = g.choose("gate|up", "gate first", "up first", "interleaved")
        if order == "interleaved":
            end, axis, two = g.constant([2 ** 63 - 1]), g.constant([1]), g.constant([2])
            gate, up = (g.op("Slice", both, g.constant([at]), end, axis, two) for at in (0, 1))
        else:
            gate, up = g.op("Split", both, outputs=2, axis=1, num_outputs=2)[::1 if order == "gate first" else -1]
        clamped = g.choose("clamped", False, False, True)
        if clamped and form(g) == "silu":
            gate, up = g.op("Clip", gate, "", g.constant(2.0)), g.op("Clip", up, g.constant(-2.0), g.constant(2.0))
            glu = g.op("Mul", gate, g.op("Sigmoid", g.op("Mul", gate, g.constant(1.702))))
            active = g.op("Mul", g.op("Add", up, g.constant(1.0)), glu)
        else:
            active = g.op("Mul", activation(g, form(g), gate), up)
    y = product(active, g.width, g.hidden)
    y = g.op("Mul", y, g.op("Unsqueeze", g.op("Reshape", weights, g.constant([-1])), g.constant([-1])))
    return g.op("ReduceSum", g.op("Reshape", y, g.constant([-1, top, g.hidden])), g.constant([1]), keepdims=0)


def scaled(g, x, flat):
    """P7 as transformers' Llama 4: all experts get all tokens, times the sigmoid of their score, zero if not chosen."""
    experts = g.experts
    logits = g.op("Gemm", flat, g.floats(experts, g.hidden, scale=2 * g.hidden ** -0.5), "", transB=1)
    values, ids = g.op("TopK", logits, g.constant([1]), outputs=2, axis=-1)
    none = g.op("Expand", g.constant(float("-inf")), g.op("Shape", logits))
    only = g.op("ScatterElements", none, ids, values, axis=1)
    order = g.choose("scores", "sigmoid first", "turned first")
    scores = g.op("Transpose", g.op("Sigmoid", only), perm=[1, 0]) if order == "sigmoid first" else \
        g.op("Sigmoid", g.op("Transpose", only, perm=[1, 0]))
    if g.choose("copies", "tiled", "expanded") == "tiled":
        rows = g.op("Tile", flat, g.constant([experts, 1]))
        rows = g.op("Mul", rows, g.op("Reshape", scores, g.constant([-1, 1])))
        rows = g.op("Reshape", rows, g.constant([experts, -1, g.hidden]))
    else:
        rows = g.op("Mul", g.op("Unsqueeze", scores, g.constant([-1])), g.op("Expand", x, g.constant([experts, 1, 1])))

    def product(rows, columns, outputs):
        return g.op("MatMul", rows, g.floats(experts, columns, outputs, scale=columns ** -0.5))
    if not g.said["gated"]:
        active = activation(g, form(g), product(rows, g.hidden, g.width))
    else:
        gate, up = g.op("Split", product(rows, g.hidden, 2 * g.width), outputs=2, axis=-1, num_outputs=2)
        active = g.op("Mul", up, activation(g, form(g), gate))
    y = product(active, g.width, g.hidden)
    if g.said["copies"] == "tiled":
        y = g.op("Reshape", g.op("Reshape", y, g.constant([-1, g.hidden])), g.constant([experts, -1, g.hidden]))
    return g.op("ReduceSum", y, g.constant([0]), keepdims=0)


def grouped(g, x, weights, ids):
    """P4 as transformers' grouped_mm is exported: pairs sorted by expert, a product for each expert's run."""
    top, experts = g.top, g.experts
    one_, last = g.constant(1), g.constant([-1])
    pairs = g.op("Reshape", ids, last)
    count = g.op("Reshape", g.op("Gather", g.op("Shape", pairs), g.constant(-1), axis=0), g.constant([1]))
    order_ids, order = g.op("TopK", pairs, count, outputs=2, axis=-1, largest=0, sorted=1)
    k = g.constant(top)
    negative = g.op("Equal", g.op("Less", order, g.constant(0)), g.constant(True, np.bool_))
    rest = g.op("Cast", g.op("Mod", order, k, fmod=0), to=g.onnx.TensorProto.BOOL)
    less = g.op("Cast", g.op("And", negative, rest), to=g.onnx.TensorProto.INT64)
    tokens = g.op("Sub", g.op("Div", order, k), less)
    sorted_x = g.op("GatherND", x, g.op("Unsqueeze", tokens, last))
    at = g.op("Unsqueeze", order, last)
    sorted_w = g.op("GatherND", g.op("Reshape", weights, last), at)
    f = g.onnx.TensorProto
    bins = g.op("Div", g.op("Reshape", g.op("Cast", order_ids, to=f.FLOAT), last), g.constant((experts - 1) / experts))
    bins = g.op("Clip", g.op("Cast", bins, to=f.INT64), g.constant(0), g.constant(experts - 1))
    ones = g.op("Expand", g.constant(1.0), g.op("Shape", bins))
    counts = g.op("ScatterElements", g.constant(np.zeros(experts, np.float32)), bins, ones, axis=0, reduction="add")
    ends = g.op("Cast", g.op("CumSum", g.op("Cast", counts, to=f.INT32), g.constant(0)), to=f.INT64)
    ends = [g.op("Squeeze", end, g.constant([0])) for end in
            g.op("Split", ends, outputs=experts, axis=0, num_outputs=experts)]
    runs = [g.op("Range", start, end, one_) for start, end in zip([g.constant(0)] + ends[:-1], ends)]

    def product(rows, columns, outputs):
        whole = g.floats(experts, columns, outputs, scale=columns ** -0.5)
        parts = g.op("Split", whole, outputs=experts, axis=0, num_outputs=experts)
        return g.op("Concat", *(g.op("MatMul", g.op("Gather", rows, run, axis=0), g.op("Squeeze", part, g.constant([0])))
                                for run, part in zip(runs, parts)), axis=0)
    gate, up = g.op("Split", product(sorted_x, g.hidden, 2 * g.width), outputs=2, axis=1, num_outputs=2)
    y = product(g.op("Mul", activation(g, "silu", gate), up), g.width, g.hidden)
    y = g.op("Mul", y, g.op("Unsqueeze", sorted_w, last))
    all_ = g.op("Range", g.constant(0), g.op("Mul", k, g.length), one_)
    back = g.op("ScatterND", g.op("Expand", g.constant(0), g.op("Shape", order)), at, all_)
    y = g.op("GatherND", y, g.op("Unsqueeze", back, last))
    return g.op("ReduceSum", g.op("Reshape", y, g.constant([-1, top, g.hidden])), g.constant([1]), keepdims=0)
