"""Lossless bundles give the reference's logits and greedy tokens, for every export of the two trained models."""
import json
import os
import sys

from support import SHIPPED, compile_model, logits, need, safetensors, shared, to_float32

np = need("numpy")

TOLERANCE = 5e-4     # largest |logit - reference|: float32 sums in another order
TOP2_GAP = 1e-3      # below it, rounding may choose the other token
ROUTER_GAP = 1e-4    # below it, rounding may choose the other expert


def router_gaps(model, tokens):
    """Smallest gap, over layers, between the last chosen and the next router score at each position; from ONNX Runtime
    on the export itself, whose TopK inputs are made outputs."""
    onnx, ort = need("onnx", "onnxruntime")
    graph_model = to_float32(onnx.load(model))  # in float16 the gaps themselves are rounded away
    graph = graph_model.graph
    scores = [node.input[0] for node in graph.node if node.op_type == "TopK"]
    for name in scores:
        graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(graph_model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        if value.name == "input_ids":
            feeds[value.name] = np.array([tokens], np.int64)
        elif value.name == "position_ids":
            feeds[value.name] = np.arange(len(tokens), dtype=np.int64)[None]
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones((1, len(tokens)), np.int64)
        else:
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    gaps = np.full(len(tokens), np.inf)
    top_k = json.load(open(os.path.join(os.path.dirname(model), "config.json")))["num_experts_per_tok"]
    for score in session.run(scores, feeds):
        ordered = -np.sort(-score.reshape(len(tokens), -1).astype(np.float64), axis=1)
        gaps = np.minimum(gaps, ordered[:, top_k - 1] - ordered[:, top_k])
    return gaps


def check(name, model, reference_folder):
    bundle = compile_model(model, "--lossless")
    reference = safetensors(os.path.join(reference_folder, "ref.safetensors"))
    tokens, expected = reference["input_ids"][0], reference["logits"][0]
    got = logits(bundle, tokens)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    # A position behind a close call of a router need not agree; it counts as compared where it does.
    end = len(tokens)
    if np.abs(got - expected).max() > TOLERANCE:
        end = next((i for i, gap in enumerate(router_gaps(model, tokens)) if gap < ROUTER_GAP), end)
    worst = float(np.abs(got[:end] - expected[:end]).max())
    print(f"{name}: {end} of {len(tokens)} positions compared, largest |logit - reference| {worst:.2e}")
    assert end > len(tokens) // 2, "most positions must be comparable"
    assert worst <= TOLERANCE, worst

    compared = total = 0
    for case in json.load(open(os.path.join(reference_folder, "ref.json"))):
        prompt, greedy = case["prompt_ids"], case["greedy_ids"]
        rows = logits(bundle, prompt + greedy)[len(prompt) - 1:]
        equal = [int(row.argmax()) == token for row, token in zip(rows, greedy)]
        if not all(equal):
            first = equal.index(False)
            best = np.sort(rows[first])[-2:]
            close = router_gaps(model, prompt + greedy)[:len(prompt) + first].min()
            assert close < ROUTER_GAP or best[1] - best[0] < TOP2_GAP, (name, case["prompt"], first, close, best)
            equal = equal[:first]
        compared += len(equal)
        total += len(greedy)
    print(f"{name}: {compared} of {total} greedy tokens compared, all equal")
    assert compared > total // 2, "most tokens must be comparable"


def main():
    check("bookmoe-5m hf5 (shipped)", os.path.join(SHIPPED, "model.onnx"), SHIPPED)
    shared_models = shared("models")
    for model, export in (("bookmoe-5m", "optimum"), ("bookmoe-28m", "hf5")):
        folder = os.path.join(shared_models, model)
        check(f"{model} {export}", os.path.join(folder, export, "model.onnx"), folder)


if __name__ == "__main__":
    sys.exit(main())
