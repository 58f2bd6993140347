"""Experts of one layer in many layouts: ternary, 2, 3, 4, 8, 16 and 32 bits with groups of 32 to 256, some with another
layout for down. Such a bundle gives
the logits of ONNX Runtime on the values that an independent reader takes from it (--exact), close ones with quantised
activations, and the same bits whatever the budget, threads and prefill chunk."""
import hashlib
import json
import os
import re
import sys

from bundle_reader import Bundle
from quality_test import dequantised_model
from support import BUILD, EMOE_RT, SHIPPED, compile_model, logits, need, plan, run, shared

np = need("numpy")

WIDTHS = ("ternary", "2", "3", "4", "8", "16", "ternary 64", "2 64", "3 32", "4 64", "8 256", "ternary 32", "32", "2 32",
          "3 256", "ternary/2 256/128", "2/3", "16/32")
EXACT_TOLERANCE = 1e-3      # largest |logit - oracle| of float32 activations, where no router is close to a tie
QUANTISED_TOLERANCE = 0.05  # root mean square of the difference over that of the logits: int8 activations


def widths_file(layers, experts):
    path = os.path.join(BUILD, "test", "mixed.widths")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("# layer expert width group\n* * 4\n")
        for layer in range(layers):
            for expert in range(experts):
                file.write(f"{layer} {expert} {WIDTHS[(7 * layer + expert) % len(WIDTHS)]}\n")
    return path


def oracle_logits(graph_model, tokens):
    ort = need("onnxruntime")
    session = ort.InferenceSession(graph_model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        if value.name == "input_ids":
            feeds[value.name] = np.array([tokens], np.int64)
        elif value.name == "position_ids":
            feeds[value.name] = np.arange(len(tokens), dtype=np.int64)[None]
        else:
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    return session.run(["logits"], feeds)[0][0]


def floor_of(bundle, tokens):
    """The floor of `logits`, which wants every row, is what it says when it gets too little."""
    path = os.path.join(BUILD, "test", f"mixed-{os.getpid()}.txt")
    with open(path, "w") as file:
        file.write(" ".join(map(str, tokens)))
    refused = run(EMOE_RT, "logits", bundle, "--ctx", "128", "--memory-budget", "65536", "--tokens", path, "-o",
                  "/dev/null", check=False)
    os.remove(path)
    assert refused.returncode == 5, refused
    return int(re.search(rb"bytes needed: (\d+)", refused.stderr).group(1))


def main():
    model = os.path.join(SHIPPED, "model.onnx")
    config = json.load(open(os.path.join(SHIPPED, "config.json")))
    weights = json.load(open(shared("models", "bookmoe-5m", "weights.json")))
    layers, experts = config["num_hidden_layers"], config["num_experts"]
    widths = widths_file(layers, experts)
    tokens = [t for case in json.load(open(f"{SHIPPED}/ref.json"))[:3] for t in case["prompt_ids"] + case["greedy_ids"]][:96]
    for flags in (("--exact",), ()):
        name = " ".join(flags) or "default"
        bundle = compile_model(model, "--widths", widths, *flags)
        reader = Bundle(bundle)
        kinds = [len(layer.tables(2)) for layer in reader.index.tables(7)]
        assert min(kinds) >= 10, kinds  # layouts in each layer
        base = logits(bundle, tokens, "--ctx", "128", "--memory-budget", "max")
        oracle = oracle_logits(dequantised_model(model, weights, bundle, config), tokens)
        largest = float(np.abs(base - oracle).max())
        relative = float(np.sqrt(np.square(base - oracle).mean() / np.square(oracle).mean()))
        print(f"{name}: {sum(kinds)} variants in {layers} layers; against ONNX Runtime on the bundle's values: largest "
              f"difference {largest:.2e}, relative {relative:.2e}")
        if flags:
            assert largest <= EXACT_TOLERANCE, largest
        assert relative <= QUANTISED_TOLERANCE, relative

        sizes, floor = plan(bundle, "--ctx", "128"), floor_of(bundle, tokens)
        most = floor + sizes["recommended"] - sizes["floor"]
        runs = [("--memory-budget", str(floor + (most - floor) * i // 6)) for i in range(7)]
        runs += [("--memory-budget", "max", "--threads", t) for t in ("1", "3")]
        runs += [("--memory-budget", str(floor), "--prefill-chunk", c) for c in ("1", "7")]
        digest = hashlib.sha256(base.tobytes()).hexdigest()
        different = [extra for extra in runs
                     if hashlib.sha256(logits(bundle, tokens, "--ctx", "128", *extra).tobytes()).hexdigest() != digest]
        print(f"{name}: {len(runs)} runs with other budgets, threads and chunks, {len(different)} different")
        assert not different, different


if __name__ == "__main__":
    sys.exit(main())
