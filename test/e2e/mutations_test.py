"""Damaged exports are refused, or mean what they say: graphs of the zoo with one edge, attribute, constant, shape or node
changed either compile to something whose logits are those of ONNX Runtime on the same changed graph, or are refused with
a reason. Seeded: `mutations_test.py SEED` repeats one case, `--cases N` (or EMOE_CASES=N) runs so many; ctest -L measure
runs 2,000."""
import json
import os
import random
import shutil
import sys
import tempfile

from support import EMOEC, logits, need, run, safetensors, shared

np = need("numpy")
MODELS = ("qwen3_moe-hf5-batched_mm", "mixtral-mobius-cpu", "gpt_oss-genai-fp32-cpu", "qwen3_moe-hf5-grouped_mm",
          "phimoe-hf5-batched_mm", "gemma4-hf5-batched_mm", "granitemoe-hf5-batched_mm", "qwen2_moe-hf5-batched_mm",
          "deepseek_v3-hf5-batched_mm", "lfm2_moe-hf5-batched_mm", "qwen3_moe-optimum", "gpt_oss-hf5-batched_mm",
          "qwen3_moe-mobius-cpu", "lfm2_moe-genai-fp32-cpu", "gpt_oss-mobius-cpu", "qwen3_moe-hf5-batched_mm-torchdynamo",
          "olmoe-hf5-batched_mm", "qwen3_moe-hf5-batched_mm-ort_cpu", "mixtral-hf5-batched_mm", "qwen3_5_moe-mobius-cpu",
          "qwen3_5_moe-genai-fp32-cpu", "gpt_oss-genai-fp32-dml-REPAIRED")
TOLERANCE = 2e-3
SIZES = {"batch": 1, "batch_size": 1, "past_sliding_length": 8}
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def mutate(onnx, graph, chooser):
    """Changes one thing; says what."""
    nodes = list(graph.node)
    constants = {tensor.name for tensor in graph.initializer}
    kind = chooser.choice(("edge", "attribute", "constant", "drop", "swap", "operator"))
    order = chooser.sample(range(len(nodes)), len(nodes))
    for index in order:
        node = nodes[index]
        inputs = [i for i, name in enumerate(node.input) if name]
        if kind == "edge" and inputs:
            at = chooser.choice(inputs)
            earlier = [name for before in nodes[max(0, index - 40):index] for name in before.output if name]
            earlier += [value.name for value in graph.input]
            if node.input[at] in constants:
                earlier = sorted(constants)
            other = chooser.choice(earlier or [node.input[at]])
            if other != node.input[at]:
                was, node.input[at] = node.input[at], other
                return f"input {at} of {node.op_type} {node.name}: {other} instead of {was}"
        elif kind == "attribute" and node.attribute:
            attribute = chooser.choice(list(node.attribute))
            if attribute.type == onnx.AttributeProto.INT:
                attribute.i += chooser.choice((-1, 1, 2))
            elif attribute.type == onnx.AttributeProto.FLOAT:
                attribute.f = attribute.f * chooser.choice((0.5, 2, -1)) + chooser.choice((0, 0.1))
            elif attribute.type == onnx.AttributeProto.INTS and len(attribute.ints) > 1:
                a, b = chooser.sample(range(len(attribute.ints)), 2)
                attribute.ints[a], attribute.ints[b] = attribute.ints[b], attribute.ints[a]
            else:
                continue
            return f"attribute {attribute.name} of {node.op_type} {node.name}"
        elif kind == "constant":
            small = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL and np.prod(t.dims) <= 64]
            tensors = small + [n.attribute[0].t for n in nodes if n.op_type == "Constant" and n.attribute[0].name == "value"]
            if not tensors:
                continue
            tensor = chooser.choice(tensors)
            values = onnx.numpy_helper.to_array(tensor).copy()
            if values.size == 0 or values.dtype == bool:
                continue
            flat = values.reshape(-1)
            at = chooser.randrange(flat.size)
            with np.errstate(all="ignore"):
                flat[at] = flat[at] + 1 if values.dtype.kind == "i" else flat[at] * 1.5 + 0.01
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
            return f"constant {name}[{at}]"
        elif kind == "drop" and inputs and len(node.output) == 1:
            source, gone = node.input[chooser.choice(inputs)], node.output[0]
            if any(value.name == gone for value in graph.output):
                continue
            for other in nodes:
                other.input[:] = [source if name == gone else name for name in other.input]
            graph.node.remove(node)
            return f"without {node.op_type} {node.name}"
        elif kind == "swap" and len(inputs) >= 2:
            a, b = chooser.sample(inputs, 2)
            if node.input[a] != node.input[b]:
                node.input[a], node.input[b] = node.input[b], node.input[a]
                return f"inputs {a} and {b} of {node.op_type} {node.name} swapped"
        elif kind == "operator":
            for group in (("Add", "Sub", "Mul", "Div"), ("Cos", "Sin"), ("Sigmoid", "Tanh", "Relu"), ("ReduceSum", "ReduceMax"),
                          ("Less", "LessOrEqual", "Greater"), ("Min", "Max")):
                if node.op_type in group:
                    was = node.op_type
                    node.op_type = chooser.choice([op for op in group if op != was])
                    return f"{node.op_type} instead of {was} {node.name}"
    return None


def reference(ort, model, tokens):
    """ONNX Runtime's logits, or None if it refuses."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    sizes = dict(SIZES)
    config = os.path.join(os.path.dirname(model), "genai_config.json")
    if os.path.exists(config):
        with open(config) as file:
            sizes["kv_cache_dim"] = json.load(file)["model"]["decoder"]["head_size"]
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        feeds = {}
        for value in session.get_inputs():
            if value.name == "input_ids":
                feeds[value.name] = tokens[None].astype(np.int64)
            elif "mask" in value.name:
                feeds[value.name] = np.ones((1, len(tokens)), np.int64)
            elif "position" in value.name:
                positions = np.arange(len(tokens), dtype=np.int64)
                feeds[value.name] = np.broadcast_to(positions, value.shape[:-2] + [1, len(tokens)])
            else:  # an empty past, a state of zeros
                shape = [int(dim) if str(dim).isdigit() else sizes.get(dim, 0) for dim in value.shape]
                feeds[value.name] = np.zeros(shape, TYPES[value.type])
        return session.run(["logits"], feeds)[0][0]
    except Exception:
        return None


def check(seed, folder, tally):
    onnx, ort = need("onnx", "onnxruntime")
    chooser = random.Random(seed)
    name = MODELS[seed % len(MODELS)]
    source = shared("zoo", name)
    target = os.path.join(folder, name)
    if not os.path.exists(target):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("tokenizer*", "*.safetensors"))
    model = onnx.load(os.path.join(source, "model.onnx"), load_external_data=False)
    said = mutate(onnx, model.graph, chooser)
    if said is None:
        return
    path, out = os.path.join(target, "model.onnx"), os.path.join(folder, "out.emoe")
    del model.graph.value_info[:]
    onnx.save(model, path)
    case = f"case {seed} ({name}, {said})"
    result = run(EMOEC, "compile", path, "-o", out, "--lossless", "--exact", "--target", "host", "-q", check=False)
    assert result.returncode in (0, 1, 3, 6), f"{case}: exit code {result.returncode}"
    if result.returncode:
        assert b"error:" in result.stderr, f"{case}: refused without a reason"
        tally["refused"] += 1
        return
    tokens = safetensors(os.path.join(source, "ref.safetensors"))["input_ids"][0]
    expected = reference(ort, path, tokens)
    if expected is None:
        # Nothing to compare with; the change may be in what the model does not need.
        tally["not judged"] += 1
        print(f"{case}: compiled, but ONNX Runtime refuses it")
        return
    got = logits(out, tokens)
    worst, size = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    assert np.isfinite(worst) and worst <= TOLERANCE * max(1, size), f"{case}: a wrong model, {worst:.3g} of {size:.3g} off"
    tally["equal"] += 1


def main():
    arguments = sys.argv[1:]
    seeds = range(int(os.environ.get("EMOE_CASES", 60)))
    if arguments[:1] == ["--cases"]:
        seeds = range(int(arguments[1]))
    elif arguments:
        seeds = [int(seed) for seed in arguments]
    tally, wrong = {"refused": 0, "equal": 0, "not judged": 0}, []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                check(seed, folder, tally)
            except AssertionError as error:
                wrong.append(str(error))
                print(error, flush=True)
    print(f"{len(seeds)} changed graphs: {tally}, {len(wrong)} wrong")
    assert not wrong


if __name__ == "__main__":
    sys.exit(main())
