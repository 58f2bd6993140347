"""Lossless bundles give the reference's logits and greedy tokens, for every export of the two trained models."""
import json
import os
import sys

from support import SHIPPED, compile_model, logits, need, run, safetensors, shared, EMOE_RT

np = need("numpy")

TOLERANCE = 5e-4     # largest |logit - reference|: float32 sums in another order
TOP2_GAP = 1e-3      # below it, rounding may choose the other token
ROUTER_GAP = 1e-4    # below it, rounding may choose the other expert


def router_gaps(model, tokens):
    """Smallest gap, over layers, between the last chosen and the next router score at each position; from ONNX Runtime
    on the export itself, whose TopK inputs are made outputs."""
    onnx, ort = need("onnx", "onnxruntime")
    graph_model = onnx.load(model)
    graph = graph_model.graph
    scores = [node.input[0] for node in graph.node if node.op_type == "TopK"]
    for name in scores:
        graph.output.append(onnx.ValueInfoProto(name=name))
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdigit():
                dim.dim_value = int(dim.dim_param)
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
            dtype = np.float16 if "float16" in value.type else np.float32
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), dtype)
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
    gaps = router_gaps(model, tokens)
    end = next((i for i, gap in enumerate(gaps) if gap < ROUTER_GAP), len(tokens))
    worst = float(np.abs(got[:end] - expected[:end]).max())
    print(f"{name}: {end} of {len(tokens)} positions compared, largest |logit - reference| {worst:.2e}")
    assert end > len(tokens) // 2, "most positions must be comparable"
    assert worst <= TOLERANCE, worst

    compared = total = 0
    for case in json.load(open(os.path.join(reference_folder, "ref.json"))):
        prompt, greedy = case["prompt_ids"], case["greedy_ids"]
        rows = logits(bundle, prompt + greedy)
        gaps = router_gaps(model, prompt + greedy)
        for i, token in enumerate(greedy):
            row = rows[len(prompt) - 1 + i]
            best = np.sort(row)[-2:]
            if gaps[:len(prompt) + i].min() < ROUTER_GAP or best[1] - best[0] < TOP2_GAP:
                break
            assert int(row.argmax()) == token, (name, case["prompt"], i)
            compared += 1
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
