"""Encoder and decoder as one bundle: logits within the reference's tolerance, also where experts are full; the same bits
whatever the budget, threads, chunk and way of reading; and what does not go together is refused."""
import hashlib
import json
import os
import re
import sys
import tempfile

from support import EMOE_RT, EMOEC, SHIPPED, need, run, safetensors, shared

np = need("numpy")

# Lengths (encoder's, decoder's) that are compared with ONNX Runtime; how many equal tokens fill the experts; lengths for
# invariance. NLLB-MoE has embeddings for 64 positions. The files hold the numbers of tokens that they were traced with as the
# experts' capacity, 12 and 8. A second choice finds room beside the first ones of the whole sequence, also of later tokens: in
# the decoder that can be known only up to 8 of them, where there is room for all.
MODELS = {
    "switch-torch_ts": dict(lengths=[(1, 1), (3, 40), (70, 9), (150, 140)], full=(150, 150), long=(90, 80), padding=None),
    "nllb-torch_ts": dict(lengths=[(1, 1), (3, 8), (40, 5), (64, 8)], full=(64, 8), long=(60, 50), padding=1),
}
ENCODER, DECODER = "encoder_model.onnx", "decoder_model.onnx"


class Case:
    """A model of the zoo, compiled into `folder`."""

    def __init__(self, name, folder):
        self.zoo = shared("zoo", name)
        self.folder = folder
        self.bundle = os.path.join(folder, name + ".emoe")
        self.about = json.load(open(os.path.join(self.zoo, "about.json")))
        self.reference = safetensors(os.path.join(self.zoo, "ref.safetensors"))

    def compile(self, *flags, check=True):
        return run(EMOEC, "compile", os.path.join(self.zoo, ENCODER), os.path.join(self.zoo, DECODER), "-o", self.bundle,
                   "--target", "host", "--verify-raise", "full", *flags, check=check)

    def file(self, name, ids):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(" ".join(str(int(i)) for i in ids))
        return path

    def call(self, source, target, *flags, check=True):
        out = os.path.join(self.folder, "out.npy")
        result = run(EMOE_RT, "logits", self.bundle, "--tokens", self.file("s", source), "--decoder-tokens",
                     self.file("t", target), "-o", out, *flags, check=check)
        return np.load(out) if result.returncode == 0 else result

    def greedy(self, source, first, count, *flags):
        out = run(EMOE_RT, "run", self.bundle, "--tokens", self.file("s", source), "--decoder-tokens",
                  self.file("t", first), "-n", count, "--greedy", "--ignore-eos", *flags).stdout
        return [int(i) for i in out.split()]


def onnx_runtime(case, source, target):
    """Logits by ONNX Runtime of the two files as they are."""
    ort = need("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    part = lambda name: ort.InferenceSession(os.path.join(case.zoo, name), options, providers=["CPUExecutionProvider"])
    states = part(ENCODER).run(None, {"input_ids": np.array([source], np.int64)})[0]
    return part(DECODER).run(None, {"decoder_input_ids": np.array([target], np.int64), "encoder_hidden_states": states})[0][0]


def check_logits(case):
    tolerance = case.about["tolerance"]
    ids, target = case.reference["input_ids"][0], case.reference["decoder_input_ids"][0]
    worst = float(abs(case.call(ids, target) - case.reference["logits"][0]).max())
    # Other lengths, beyond the reach of the position bias; and so much of one token that its experts are full.
    generator = np.random.default_rng(5)
    facts = MODELS[case.about["name"]]
    for source, target_length in facts["lengths"]:
        for padded in {False, facts["padding"] is not None}:
            s, t = generator.integers(2, 500, source), generator.integers(2, 500, target_length)
            if padded:
                s[1::3] = t[2::3] = facts["padding"]
            worst = max(worst, float(abs(case.call(s, t, "--prefill-chunk", "6") - onnx_runtime(case, s, t)).max()))
    same = [[7] * length for length in facts["full"]]
    got, wanted = case.call(*same, "--prefill-chunk", "16"), onnx_runtime(case, *same)
    full = float(abs(got - wanted).max())
    print(f"{case.about['name']}: largest difference {worst:.1e}, of full experts {full:.1e}, allowed {tolerance}")
    assert worst <= tolerance and full <= tolerance, (worst, full)
    wanted = case.reference["greedy_ids"].tolist()
    got = case.greedy(ids, target[:1], len(wanted))
    assert got == wanted, (got, wanted)


def floor_of(case, source, target, *flags):
    refused = case.call(source, target, "--memory-budget", "65536", *flags, check=False)
    assert refused.returncode == 5, refused
    return int(re.search(rb"bytes needed: (\d+)", refused.stderr).group(1))


def check_invariance(case):
    generator = np.random.default_rng(6)
    facts = MODELS[case.about["name"]]
    source, target = (generator.integers(2, 500, length) for length in facts["long"])
    if facts["padding"] is not None:
        source[::7] = target[3::7] = facts["padding"]
    digest = lambda *flags: hashlib.sha256(case.call(source, target, *flags).tobytes()).hexdigest()
    base = digest("--memory-budget", "max")
    floor = floor_of(case, source, target)
    runs = [("--memory-budget", str(floor + extra)) for extra in (0, 50000, 100000, 200000, 400000)]
    runs += [("--threads", t) for t in ("1", "2", "3", "7")]
    runs += [("--prefill-chunk", c) for c in ("1", "5", "32", str(len(target)))]
    runs += [("--policy", p, "--memory-budget", str(floor)) for p in ("lru", "lfu", "edgemoe", "least-stale", "next-use")]
    runs += [("--io", "pread", "--threads", "3", "--prefill-chunk", "7", "--memory-budget", str(floor + 200000))]
    runs += [("--no-prefetch", "--memory-budget", str(floor)),
             ("--ctx", "64" if facts["padding"] is not None else "300")]
    different = [flags for flags in runs if digest(*flags) != base]
    print(f"{case.about['name']}: {len(runs)} runs, {len(different)} different")
    assert not different, different


def refused(code, pattern, *command):
    result = run(*command, check=False)
    text = result.stderr.decode()
    assert result.returncode == code and re.search(pattern, text), (command, result.returncode, text)


def check_refusals(case):
    encoder, decoder = os.path.join(case.zoo, ENCODER), os.path.join(case.zoo, DECODER)
    out = os.path.join(case.folder, "none.emoe")
    refused(6, "is the decoder of an encoder-decoder model.*ENCODER.onnx DECODER.onnx", EMOEC, "compile", decoder, "-o", out)
    refused(6, "sees later positions.*ENCODER.onnx DECODER.onnx", EMOEC, "compile", encoder, "-o", out)
    refused(6, "takes an encoder's result itself", EMOEC, "compile", decoder, encoder, "-o", out)
    refused(6, "takes no encoder's result", EMOEC, "compile", encoder, encoder, "-o", out)
    refused(6, "no encoder", EMOEC, "compile", f"{SHIPPED}/model.onnx", decoder, "-o", out)
    refused(2, "more than an encoder and a decoder", EMOEC, "compile", encoder, decoder, decoder, "-o", out)
    refused(6, "calibration", EMOEC, "compile", encoder, decoder, "-o", out, "--calibration", encoder)
    assert not os.path.exists(out)
    ids = case.file("ids", [3, 4, 5])
    npy = os.path.join(case.folder, "none.npy")
    refused(2, "--decoder-tokens", EMOE_RT, "logits", case.bundle, "--tokens", ids, "-o", npy)
    refused(2, "--decoder-tokens", EMOE_RT, "run", case.bundle, "--tokens", ids)
    refused(2, "--decoder-tokens", EMOE_RT, "run", case.bundle, "--prompt", "text")
    refused(2, "run takes a prompt, or --tokens", EMOE_RT, "run", case.bundle, "--decoder-tokens", ids)
    refused(2, "does not fit the context", EMOE_RT, "logits", case.bundle, "--tokens", ids, "--decoder-tokens", ids, "-o",
            npy, "--ctx", "2")
    assert not os.path.exists(npy)
    large = case.file("large", [3, 100000])
    refused(2, "not in the vocabulary", EMOE_RT, "logits", case.bundle, "--tokens", large, "--decoder-tokens", ids, "-o", npy)
    assert not os.path.exists(npy)
    refused(2, "has an encoder, which was given no tokens", EMOE_RT, "bench", case.bundle, "-p", "4", "-n", "1", "-r", "1")


def check_widths(onnx, case):
    """An encoder of another width than the decoder reads."""
    model = onnx.load(os.path.join(case.zoo, DECODER))
    for value in model.graph.input:
        if value.name == "encoder_hidden_states":
            value.type.tensor_type.shape.dim[2].dim_value = 32
    changed = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[0] == "encoder_hidden_states":
            weight = changed[node.input[1]]
            array = onnx.numpy_helper.to_array(weight)[:32]
            weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), weight.name))
    path = os.path.join(case.folder, "narrow.onnx")
    onnx.save(model, path)
    refused(6, "result is 64 wide, but the decoder reads rows that are 32 wide", EMOEC, "compile",
            os.path.join(case.zoo, ENCODER), path, "-o", os.path.join(case.folder, "none.emoe"))


def main():
    onnx = need("onnx")
    with tempfile.TemporaryDirectory() as folder:
        for name, facts in MODELS.items():
            os.mkdir(os.path.join(folder, name))
            case = Case(name, os.path.join(folder, name))
            case.compile("--lossless", "--exact")
            check_logits(case)
            check_invariance(case)
            check_refusals(case)
            if facts["padding"] is not None:
                ids = case.file("ids", [3, 4, 5])
                refused(2, "embeddings for fewer positions", EMOE_RT, "logits", case.bundle, "--tokens", ids,
                        "--decoder-tokens", ids, "-o", os.path.join(case.folder, "none.npy"), "--ctx", "65")
            check_widths(onnx, case)
            case.compile()  # 4-bit experts
            check_invariance(case)


if __name__ == "__main__":
    sys.exit(main())
