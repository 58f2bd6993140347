"""What calibration gathers against ONNX Runtime and NumPy: losses, routing and second moments of bookmoe-5m; the routing
of emoe-rt run; what it needs of memory; what it refuses."""
import json
import math
import os
import re
import subprocess
import sys
import tempfile

from support import EMOE_RT, EMOEC, SHIPPED, compile_model, need, run, safetensors, shared, to_float32

np = need("numpy")

WINDOW, TOKENS = 512, 2048
KERNELS = 100  # MiB that generating kernels and the resident weights take
TEXT = os.path.join(SHIPPED, "eval_prose.txt")
MODEL = os.path.join(SHIPPED, "model.onnx")


def calibrate(folder, *flags):
    out = os.path.join(folder, "model.emoe")
    result = run(EMOEC, "compile", MODEL, "-o", out, "--target", "host", "--calibration", TEXT,
                 "--calibration-tokens", str(TOKENS), *flags)
    return out, result.stderr.decode()


def windows(ids):
    """As compiler/calibrate/texts.h says, for one file."""
    have = len(ids) // WINDOW + (len(ids) % WINDOW > 1)
    take = TOKENS // WINDOW
    cut = [ids[i * have // take * WINDOW:][:WINDOW] for i in range(take)]
    return [w for i, w in enumerate(cut) if i % 4 != 3], [w for i, w in enumerate(cut) if i % 4 == 3]


class Oracle:
    """The export in float32, with what reaches each router as further outputs."""

    def __init__(self, config, weights):
        onnx, ort = need("onnx"), need("onnxruntime")
        from onnx import numpy_helper
        model = onnx.load(MODEL)
        values = {i.name: numpy_helper.to_array(i).astype(np.float32) for i in model.graph.initializer
                  if i.data_type in (1, 10)}

        def matrix(name):
            place = weights[name]
            value = values[place["initializer"]]
            value = value[place["index"]] if "index" in place else value
            value = value[place["rows"][0]:place["rows"][1]] if "rows" in place else value
            return value.T if place.get("transposed") else value

        self.layers, self.top_k = config["num_hidden_layers"], config["num_experts_per_tok"]
        self.experts = config["num_experts"]
        names = [weights[f"model.layers.{i}.mlp.gate.weight"]["initializer"] for i in range(self.layers)]
        readers = {name: node for node in model.graph.node for name in node.input if name in names}
        self.inputs = [readers[name].input[0] for name in names]
        self.routers = [values[name] for name in names]
        self.matrices = [[[matrix(f"model.layers.{i}.mlp.experts.{e}.{part}_proj.weight")
                           for part in ("gate", "up")] for e in range(self.experts)] for i in range(self.layers)]
        graph_model = to_float32(model)
        for name in self.inputs:
            graph_model.graph.output.add().name = name
        self.session = ort.InferenceSession(graph_model.SerializeToString(), providers=["CPUExecutionProvider"])

    def forward(self, window):
        """Logits and each router's input of a window's rows."""
        tokens = [0] + list(window[:-1])
        feeds = {}
        for value in self.session.get_inputs():
            if value.name == "input_ids":
                feeds[value.name] = np.array([tokens], np.int64)
            elif value.name == "position_ids":
                feeds[value.name] = np.arange(len(tokens), dtype=np.int64)[None]
            else:
                feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        out = self.session.run(["logits"] + self.inputs, feeds)
        return out[0][0].astype(np.float64), [x.reshape(len(tokens), -1).astype(np.float64) for x in out[1:]]

    def route(self, layer, x):
        scores = x @ self.routers[layer].T
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        ids = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :self.top_k], axis=1)
        weights = np.take_along_axis(scores, ids, 1)
        return ids, weights / weights.sum(axis=1, keepdims=True)

    def hidden(self, layer, expert, x):
        gate, up = (x @ w.T for w in self.matrices[layer][expert])
        return gate / (1 + np.exp(-gate)) * up


def traces(path):
    """[token][layer] -> ids, of a saved trace."""
    with open(path) as file:
        return [json.loads(line)["layers"] for line in file if line.strip()]


def check_against_oracle(folder):
    config = json.load(open(os.path.join(SHIPPED, "config.json")))
    weights = json.load(open(shared("models", "bookmoe-5m", "weights.json")))
    saved = os.path.join(folder, "traces.jsonl")
    bundle, log = calibrate(folder, "--save-temps", os.path.join(folder, "temps"), "--save-traces", saved)
    ids = [int(t) for t in run(EMOE_RT, "tokenize", bundle, "--no-bos", stdin=open(TEXT, "rb").read()).stdout.split()]
    fit, held_out = windows(ids)
    assert re.search(rf"calibrated on {sum(map(len, fit))} tokens; {sum(map(len, held_out))} held out", log), log
    oracle = Oracle(config, weights)

    loss = count = 0
    for window in held_out:
        rows, _ = oracle.forward(window)
        rows -= rows.max(axis=1, keepdims=True)
        logs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        loss -= logs[np.arange(len(window)), window].sum()
        count += len(window)
    perplexity = float(re.search(r"of perplexity ([0-9.]+)", log).group(1))
    error = abs(perplexity / math.exp(loss / count) - 1)
    print(f"held-out perplexity {perplexity} over {count} tokens, {error:.1e} from ONNX Runtime's")
    assert error < 1e-4

    chosen = traces(saved)[:sum(map(len, fit))]
    moments = safetensors(os.path.join(folder, "temps", "moments.safetensors"))
    expected = {name: np.zeros(value.shape) for name, value in moments.items()}
    same = total = at = 0
    for window in fit:
        _, inputs = oracle.forward(window)
        for layer, x in enumerate(inputs):
            own, weight = oracle.route(layer, x)
            theirs = np.array([row[layer] for row in chosen[at:at + len(window)]])
            same += (own == theirs).sum()
            total += own.size
            for expert in range(oracle.experts):
                row, choice = np.nonzero(own == expert)
                root = weight[row, choice][:, None]
                for name, value in (("input", x[row]), ("hidden", oracle.hidden(layer, expert, x[row]))):
                    expected[f"layer{layer}.expert{expert}.{name}"] += (root * value).T @ (root * value)
        at += len(window)
    print(f"routing: {total - same} of {total} choices differ from NumPy's")
    assert total - same <= total // 1000, "more than close calls"
    worst = max(np.linalg.norm(moments[n] - expected[n]) / np.linalg.norm(expected[n]) for n in expected)
    print(f"{len(moments)} moments, largest relative difference {worst:.1e}")
    assert len(moments) == 2 * oracle.layers * oracle.experts
    assert worst < (1e-3 if same == total else 0.05)

    # The same text through emoe-rt run, token by token.
    head = bytes(open(TEXT, "rb").read()[:400])
    live = os.path.join(folder, "run.jsonl")
    run(EMOE_RT, "run", compile_model(MODEL, "--lossless"), "--prompt-file", "/dev/stdin", "-n", "1", "--temp", "0",
        "--trace", live, stdin=head)
    seen = traces(live)
    assert len(seen) > 64 and seen[:64] == chosen[:64]
    print(f"{64 * oracle.layers} choices are those of emoe-rt run --trace")


def check_memory(folder):
    """What calibration takes beside the model stays within what it is told to."""
    model = shared("models", "bookmoe-28m", "hf5", "model.onnx")
    # A process of its own: the peak of a child begins with its parent's.
    measure = ("import os, resource, subprocess, sys\n"
               "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)")

    def peak(*flags):
        return float(run(sys.executable, "-c", measure, EMOEC, "compile", model, "--target", "host", "-q", "--verify-raise",
                         "off", "--compile-to", *flags).stdout)
    texts = ("calibrate", "--calibration", TEXT, "--calibration-tokens", "1024", "--calibration-memory")
    plain, little, plenty = peak("raise"), peak(*texts, "1"), peak(*texts, "1024")
    print(f"peak memory: {plain:.0f} MiB up to calibrating; calibrating and its kernels {little - plain:.0f} more with 1 MiB "
          f"for it, {plenty - plain:.0f} with 1024")
    assert little < plain + KERNELS
    assert plenty > little + 84  # MiB of all experts' full moments, which the first had no room for


def check_refusals(folder):
    def refused(code, words, *flags):
        result = run(EMOEC, "compile", MODEL, "-o", os.path.join(folder, "x.emoe"), "--target", "host", *flags, check=False)
        text = result.stderr.decode()
        assert result.returncode == code and all(w in text for w in words), (result.returncode, text)
        assert not os.path.exists(os.path.join(folder, "x.emoe"))
    empty, short = os.path.join(folder, "empty.txt"), os.path.join(folder, "short.txt")
    open(empty, "w").close()
    with open(short, "w") as file:
        file.write("Too short a text.")
    refused(4, ["missing.txt", "No such file"], "--calibration", os.path.join(folder, "missing.txt"))
    refused(3, ["empty.txt", "is empty"], "--calibration", TEXT, empty)
    refused(3, ["too short"], "--calibration", short)
    refused(2, ["--calibration-tokens"], "--calibration", TEXT, "--calibration-tokens", "none")
    with tempfile.TemporaryDirectory() as bare:
        for name in ("model.onnx", "model.onnx.data", "config.json"):
            os.link(os.path.join(SHIPPED, name), os.path.join(bare, name)) if os.stat(bare).st_dev == os.stat(
                SHIPPED).st_dev else open(os.path.join(bare, name), "wb").write(open(os.path.join(SHIPPED, name), "rb").read())
        result = subprocess.run([EMOEC, "compile", os.path.join(bare, "model.onnx"), "-o", os.path.join(bare, "x.emoe"),
                                 "--calibration", TEXT], capture_output=True)
        assert result.returncode == 3 and b"tokenizer" in result.stderr, result.stderr


def check_given_traces(folder):
    """Traces that were saved may be given; another model's are refused by name."""
    saved = os.path.join(folder, "traces.jsonl")
    first, second = os.path.join(folder, "first.emoe"), os.path.join(folder, "second.emoe")
    for out in (first, second):
        run(EMOEC, "compile", MODEL, "-o", out, "--target", "host", "--traces", saved)
    assert open(first, "rb").read() == open(second, "rb").read(), "equal traces must give equal bundles"
    csv = os.path.join(folder, "traces.csv")
    with open(csv, "w") as file:
        file.write("# route_trace v1\n# model=bookmoe-5m n_layer=6 n_expert=16\nturn,phase,step,layer,slot,expert,weight\n")
        for step, layers in enumerate(traces(saved)):
            for layer, chosen in enumerate(layers):
                for slot, expert in enumerate(chosen):
                    file.write(f"0,1,{step},{layer},{slot},{expert},0.5\n")
    run(EMOEC, "compile", MODEL, "-o", second, "--target", "host", "--traces", csv)
    assert b"table" in run(EMOEC, "explain", second).stdout
    other = shared("traces", "olmoe-1b-7b.jsonl")
    result = run(EMOEC, "compile", MODEL, "-o", os.path.join(folder, "x.emoe"), "--traces", other, check=False)
    text = result.stderr.decode()
    assert result.returncode == 3 and "16 layers" in text and "6 layers" in text, text


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_refusals(folder)
        check_against_oracle(folder)
        check_given_traces(folder)
        check_memory(folder)


if __name__ == "__main__":
    sys.exit(main())
