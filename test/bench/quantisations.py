"""What our widths and llama.cpp's quantisations cost bookmoe-28m at what size, by one evaluator: ONNX Runtime in float32 on
the export, whose weights are replaced by the values that either file holds.

    quantisations.py --llama BIN --out DIR NAME=BUNDLE.emoe ...

BIN holds llama.cpp's llama-quantize and llama-imatrix (test/bench/peer.py makes it); the Python package gguf reads and writes its files. The text is the
first 60 kB of eval_prose.txt, in windows of 512, each headed by the first token; the importance matrix is made from the
calibration texts that our bundles were compiled with. KL is the mean divergence from the float16 weights' distribution, in
nats a token, in the plots over MB. Sizes: of theirs all tensors, of ours the bundle without kernels and tokenizer. The last columns quantise only
the experts' gate and up on both sides: down's 128 columns are less than a super-block of llama.cpp.
"""
import argparse
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "e2e"))
from bundle_reader import Bundle  # noqa: E402
from quality_test import WINDOW, dequantised_model  # noqa: E402
from support import EMOE_RT, need, run, shared, to_float32  # noqa: E402

np = need("numpy")
TYPES = (("Q4_K_M", False), ("Q4_0", False), ("IQ4_XS", True), ("Q3_K_M", False), ("Q3_K_M", True), ("IQ3_S", True),
         ("IQ3_XXS", True), ("Q2_K", False), ("Q2_K", True), ("IQ2_M", True), ("IQ2_XXS", True))
PARTS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate": "ffn_gate_inp"}


class Export:
    def __init__(self, model, weights):
        self.onnx = need("onnx")
        self.model, self.weights = model, weights
        from onnx import numpy_helper
        self.values = {i.name: numpy_helper.to_array(i) for i in self.onnx.load(model).graph.initializer}

    def view(self, values, checkpoint):
        place = self.weights[checkpoint]
        value = values[place["initializer"]]
        value = value[place["index"]] if "index" in place else value
        value = value[place["rows"][0]:place["rows"][1]] if "rows" in place else value
        return value.T if place.get("transposed") else value

    def with_values(self, read):
        """The export in float32, in which each checkpoint tensor for which `read` gives one has that value."""
        from onnx import numpy_helper
        values = {name: v.astype(np.float32) for name, v in self.values.items() if v.dtype.kind == "f"}
        for checkpoint in self.weights:
            value = read(checkpoint)
            if value is not None:
                self.view(values, checkpoint)[...] = value
        model = self.onnx.load(self.model)
        for initializer in model.graph.initializer:
            if initializer.name in values:
                initializer.CopyFrom(numpy_helper.from_array(values[initializer.name], initializer.name))
        return to_float32(model)


def log_probabilities(model, ids):
    """Of each window, float32 [tokens, vocabulary]."""
    ort = need("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for start in range(0, len(ids), WINDOW):
        window = [0] + ids[start:start + WINDOW]
        feeds = {}
        for value in session.get_inputs():
            if value.name == "input_ids":
                feeds[value.name] = np.array([window[:-1]], np.int64)
            elif value.name == "position_ids":
                feeds[value.name] = np.arange(len(window) - 1, dtype=np.int64)[None]
            else:
                feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        rows = session.run(["logits"], feeds)[0][0].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        yield (rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))).astype(np.float32), window[1:]


def judge(model, ids, base):
    """(perplexity, mean divergence from `base`)."""
    loss = divergence = 0.0
    for (got, wanted), (reference, _) in zip(log_probabilities(model, ids), base):
        loss -= got[np.arange(len(wanted)), wanted].astype(np.float64).sum()
        divergence += (np.exp(reference.astype(np.float64)) * (reference.astype(np.float64) - got)).sum()
    return float(np.exp(loss / len(ids))), divergence / len(ids)


def write_gguf(path, export, config, tokenizer):
    import gguf
    writer = gguf.GGUFWriter(path, "qwen3moe")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    special = {t["id"] for t in tokenizer["added_tokens"]}
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
                            for i in range(len(vocabulary))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)

    def value(checkpoint):
        return np.ascontiguousarray(export.view(export.values, checkpoint))

    writer.add_tensor("token_embd.weight", value("model.embed_tokens.weight").astype(np.float16))
    writer.add_tensor("output_norm.weight", value("model.norm.weight").astype(np.float32))
    for layer in range(config["num_hidden_layers"]):
        for part, name in PARTS.items():
            tensor = value(f"model.layers.{layer}.{part}.weight")
            small = tensor.ndim == 1 or part == "mlp.gate"
            writer.add_tensor(f"blk.{layer}.{name}.weight", tensor.astype(np.float32 if small else np.float16))
        for part in ("gate", "up", "down"):
            stacked = np.stack([value(f"model.layers.{layer}.mlp.experts.{e}.{part}_proj.weight")
                                for e in range(config["num_experts"])])
            writer.add_tensor(f"blk.{layer}.ffn_{part}_exps.weight", stacked.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Gguf:
    """Bytes and values of a file's tensors."""

    def __init__(self, path):
        import gguf
        self.tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
        self.values = {name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
                       for name, t in self.tensors.items()}

    def bytes(self, pattern=""):
        return sum(int(t.n_bytes) for name, t in self.tensors.items() if re.search(pattern, name))

    def read(self, checkpoint):
        parts = checkpoint.split(".")
        if ".experts." in checkpoint:
            return self.values[f"blk.{parts[2]}.ffn_{parts[6][:-5]}_exps.weight"][int(parts[5])]
        if checkpoint == "model.embed_tokens.weight":
            return self.values["token_embd.weight"]
        name = ".".join(parts[3:-1])
        return self.values[f"blk.{parts[2]}.{PARTS[name]}.weight"] if name in PARTS else None


def gate_up_only(read):
    return lambda checkpoint: read(checkpoint) if re.search(r"experts\..*\.(gate|up)_proj", checkpoint) else None


def ours(path, export, weights, config, ids, base):
    bundle = Bundle(path)
    size = len(bundle.data) - sum(bundle.sections[s][1] for s in ("kernels", "tokenizer") if s in bundle.sections)
    moe, gate_up = bundle.index.tables(7), 0
    experts = {}
    for layer, table in enumerate(moe):
        for expert, (_, _, variant) in enumerate(table.vector(3, "QII")):
            v = table.tables(2)[variant]
            gate_up += v.scalar(3, "I") - v.scalar(2, "I")
            experts[layer, expert] = bundle.expert(layer, expert, config["moe_intermediate_size"], config["hidden_size"])

    def read(checkpoint):
        parts = checkpoint.split(".")
        return experts[int(parts[2]), int(parts[5])][["gate_proj", "up_proj", "down_proj"].index(parts[6])]

    return (size, judge(dequantised_model(export.model, weights, path, config), ids, base),
            gate_up, judge(export.with_values(gate_up_only(read)), ids, base))


def theirs(args, export, config, tokenizer, row):
    """Calls row(name, Gguf, fallbacks in words) for each of TYPES."""
    whole = os.path.join(args.out, "f16.gguf")
    write_gguf(whole, export, config, tokenizer)
    calibration = os.path.join(args.out, "calibration.txt")
    with open(calibration, "w") as file:
        for domain in ("prose", "cpp", "python"):
            file.write(open(shared("data", f"calib_{domain}.txt")).read()[:80000])
    matrix = os.path.join(args.out, "imatrix.gguf")
    if not os.path.exists(matrix):
        subprocess.run([os.path.join(args.llama, "llama-imatrix"), "-m", whole, "-f", calibration, "-o", matrix, "-c", "512"],
                       check=True, capture_output=True)
    for kind, with_matrix in TYPES:
        path = os.path.join(args.out, f"{kind}{'-imatrix' if with_matrix else ''}.gguf")
        command = [os.path.join(args.llama, "llama-quantize")] + (["--imatrix", matrix] if with_matrix else [])
        made = subprocess.run(command + [whole, path, kind], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"{' '.join(command)} {kind}: {made.stderr[-2000:]}")
        fallbacks = {}
        for fell in re.findall(r"falling back to\s+(\w+)", made.stdout + made.stderr):
            fallbacks[fell] = fallbacks.get(fell, 0) + 1
        file = Gguf(path)
        row(f"llama.cpp {kind}{', imatrix' if with_matrix else ''}", file,
            ", ".join(f"{count} x {to}" for to, count in fallbacks.items()))


def plot(rows):
    """KL (logarithmic) over MB in text: o ours, x theirs."""
    width, height = 76, 20
    sizes, losses = [r[1] for r in rows], [np.log10(r[2]) for r in rows]
    left, right, low, high = min(sizes), max(sizes), min(losses), max(losses)
    grid = [[" "] * (width + 1) for _ in range(height + 1)]
    for (mark, _, _), size, loss in zip(rows, sizes, losses):
        grid[round(height * (high - loss) / (high - low or 1))][round(width * (size - left) / (right - left or 1))] = mark
    labels = [f"{10 ** (high - (high - low) * i / height):<8.2g}" if i % 5 == 0 else " " * 8 for i in range(height + 1)]
    lines = [f"{label}|{''.join(row).rstrip()}" for label, row in zip(labels, grid)]
    return "\n".join([*lines, f"{'KL':8}+{'-' * width}", f"{left / 1e6:9.1f}{right / 1e6:>{width}.1f} MB"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", help="without it, our rows alone")
    parser.add_argument("--out", required=True)
    parser.add_argument("--kilobytes", type=int, default=60, help="of the evaluation text")
    parser.add_argument("bundles", nargs="*", help="NAME=BUNDLE.emoe, the first one also tokenizes")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    folder = shared("models", "bookmoe-28m")
    config = json.load(open(os.path.join(folder, "config.json")))
    weights = json.load(open(os.path.join(folder, "weights.json")))
    tokenizer = json.load(open(os.path.join(folder, "tokenizer.json")))
    export = Export(os.path.join(folder, "hf5", "model.onnx"), weights)
    text = open(shared("data", "eval_prose.txt"), "rb").read()[:args.kilobytes * 1000]
    ids = [int(t) for t in run(EMOE_RT, "tokenize", args.bundles[0].split("=")[1], "--no-bos", stdin=text).stdout.split()]
    base = list(log_probabilities(export.with_values(lambda checkpoint: None), ids))
    lossless, _ = judge(export.with_values(lambda checkpoint: None), ids, base)
    print(f"float16: perplexity {lossless:.4f} over {len(ids)} tokens\n", flush=True)
    print("| | MB | perplexity, % | KL | gate and up, MB | perplexity, % | KL | fallbacks |\n|---|---|---|---|---|---|---|---|",
          flush=True)

    whole_points, part_points = [], []

    def row(mark, name, size, whole, part_size, part, note=""):
        whole_points.append((mark, size, whole[1]))
        part_points.append((mark, part_size, part[1]))
        print(f"| {name} | {size / 1e6:.2f} | {100 * (whole[0] / lossless - 1):+.2f} | {whole[1]:.5f} | {part_size / 1e6:.2f} "
              f"| {100 * (part[0] / lossless - 1):+.2f} | {part[1]:.5f} | {note} |", flush=True)

    for bundle in args.bundles:
        name, path = bundle.split("=", 1)
        row("o", name, *ours(path, export, weights, config, ids, base))

    if args.llama:
        theirs(args, export, config, tokenizer, lambda name, file, note: row(
            "x", name, file.bytes(), judge(export.with_values(file.read), ids, base), file.bytes(r"ffn_(gate|up)_exps"),
            judge(export.with_values(gate_up_only(file.read)), ids, base), note))
    print(f"\nAll matrices:\n\n{plot(whole_points)}\n\nGate and up alone:\n\n{plot(part_points)}")


if __name__ == "__main__":
    main()
