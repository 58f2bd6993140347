"""Small exports by real tools: those of the patterns that we have give the reference's logits; the others are refused
with the node that stands in the way, and never crash. With `--table FILE`, what was found is written as a page
(docs/models.md)."""
import json
import os
import re
import shutil
import sys
import tempfile

from support import EMOEC, logits, need, run, safetensors, shared

np = need("numpy")

# What must compile. Others may: then they must be right.
COMPILED = {
    "deepseek_v3-hf5-batched_mm", "deepseek_v3-mobius-cpu-gptq", "gemma4-hf5-batched_mm", "gpt_oss-genai-fp32-cpu",
    "gpt_oss-genai-fp32-dml-REPAIRED", "gpt_oss-genai-int4-cpu", "gpt_oss-hf5-batched_mm", "gpt_oss-mobius-cpu",
    "granitemoe-hf5-batched_mm", "lfm2_moe-genai-fp32-cpu", "lfm2_moe-hf5-batched_mm",
    "mixtral-hf5-batched_mm", "mixtral-mobius-cpu", "nllb-torch_ts", "olmoe-hf5-batched_mm", "phimoe-hf5-batched_mm",
    "qwen2_moe-hf5-batched_mm", "qwen3_5_moe-genai-fp32-cpu", "qwen3_5_moe-genai-int4-cpu", "qwen3_5_moe-mobius-cpu",
    "qwen3_moe-hf5-batched_mm", "qwen3_moe-hf5-batched_mm-bfloat16",
    "qwen3_moe-hf5-batched_mm-float16", "qwen3_moe-hf5-batched_mm-ort_cpu", "qwen3_moe-hf5-batched_mm-ort_cuda",
    "qwen3_moe-hf5-batched_mm-torchdynamo", "qwen3_moe-hf5-grouped_mm", "qwen3_moe-mobius-cpu", "qwen3_moe-optimum",
    "qwen3_moe-optimum-ext2", "qwen3_moe-optimum-fp16", "qwen3_moe-optimum-int4_qdq", "qwen3_moe-optimum-int4_sym",
    "switch-torch_ts",
}

# ONNX Runtime computed the float reference of this model, too, with activations rounded to 8 bits: its deq_logits are bit
# for bit the logits of the int4_sym model, which holds the same weights and has a reference in floats.
REFERENCE_OF = {"qwen3_moe-optimum-int4_qdq": "qwen3_moe-optimum-int4_sym"}

# Scales of float32 rounded to float16: 2^-11 of each weight.
KEPT_TOLERANCE = 0.03

PAGE = """# Which models compile

Architecture by exporter, as the zoo of small exports by the real tools finds it. Made by

    python3 test/e2e/zoo_test.py --table docs/models.md

Right: the logits of `emoec compile --lossless --exact` lie within the tolerance of the reference (the exporter's framework,
or ONNX Runtime on the same weights). Refused: the compiler names the node and the reason, and writes nothing.
`emoec inspect MODEL.onnx` says what is recognised in a file of yours (`--json` for programs).

Fused mixtures (com.microsoft MoE, QMoE) follow the operators' specification. `--routing-semantics=ort-cpu` follows ONNX Runtime's CPU
kernels where these deviate: QMoE without router_weights always divides by the sum of the chosen, and use_sparse_mixer is
not looked at. Ties go to the lowest expert either way. test/e2e/operators_test.py compares both with ONNX Runtime.

Multi-head latent attention (DeepSeek-V3): exports that cache latents are compiled to a cache of keys and values, which are what
the exporter's graph computes from the latents; values are stored as wide as keys. That takes more memory for each position than
latents would.

test/e2e/exports_test.py compiles exports that no tool wrote (sizes, spellings, rotary scalings, routers and forms of experts by
seed) and compares them with ONNX Runtime: P0 to P5 (Loop and Scan over experts, with and without an If that skips those that no
token chose) and P7 (Llama 4: one expert a token, whose input is scaled). More than one expert with a scaled input is refused.

Import, proofs and plan of a loop over 128 experts unrolled in each layer (P2), by `python3 test/e2e/scale_test.py --layers 12 24 48`, alone
on the machine; the script fails if time grows faster than nodes:

| layers | nodes | processor s | resident MiB |
|---|---|---|---|
| 12 | 83978 | 1.9 | 274 |
| 24 | 167810 | 3.2 | 467 |
| 48 | 335474 | 7.9 | 855 |

"""


# A model is one file, or an encoder's and a decoder's.
PARTS = [["model.onnx"], ["encoder_model.onnx", "decoder_model.onnx"]]


def models(zoo):
    for name in sorted(os.listdir(zoo)):
        about = os.path.join(zoo, name, "about.json")
        parts = [p for p in PARTS if all(os.path.exists(os.path.join(zoo, name, file)) for file in p)]
        if parts and os.path.exists(about):
            yield name, json.load(open(about)), parts[0]


def reason(stderr):
    """The first error, without the folder it was found in."""
    lines = [line for line in stderr.decode().splitlines() if "error:" in line]
    text = re.sub(r"/\S*/(?=\w*model.onnx)", "", lines[0].split("error: ", 1)[1]) if lines else "no reason given"
    return re.sub(r'^loc\("(.*?)"\): ', r"\1: ", text)


def page(rows):
    text = PAGE + "| architecture | exporter | pattern | result | difference, allowed |\n|---|---|---|---|---|\n"
    for about, worst, tolerance, why in sorted(rows, key=lambda r: (r[0]["architecture"], r[0]["name"])):
        variant = about["name"].split("-", 1)[1]
        result = "right" if why is None else "refused, as it must be" if about.get("expect") == "refuse" else "refused"
        numbers = f"{worst:.1e}, {tolerance:.0e}" if why is None else ""
        text += f"| {about['architecture']} | {about['producer']} ({variant}) | {about['pattern']} | {result} | {numbers} |\n"
    refused = [row for row in rows if row[3] is not None]
    if refused:
        text += "\nWhat stands in the way:\n\n"
        for about, _, _, why in sorted(refused, key=lambda r: r[0]["name"]):
            text += f"- {about['name']}: {re.sub('[|`]', '', why)[:200]}\n"
    return text


def biases_in_records(zoo, folder):
    """Experts' biases lie behind their matrices, also where down has another layout than gate and up."""
    name = "gpt_oss-hf5-batched_mm"
    reference = safetensors(os.path.join(zoo, name, "ref.safetensors"))
    widths, out = os.path.join(folder, "widths"), os.path.join(folder, "biases.emoe")
    for layouts, tolerance in (("16/32", 0.02), ("32/16", 0.02), ("8/8 32/256", 0.5)):
        with open(widths, "w") as file:
            file.write(f"* * {layouts}\n")
        run(EMOEC, "compile", os.path.join(folder, name, "model.onnx"), "-o", out, "--widths", widths, "--dense-bits", "32",
            "--exact", "--target", "host", "-q")
        worst = float(np.abs(logits(out, reference["input_ids"][0]) - reference["logits"][0]).max())
        print(f"{name} with experts {layouts}: largest |logit - reference| {worst:.2e}, allowed {tolerance:.2e}")
        assert worst <= tolerance, (layouts, worst)


def kept_codes(zoo, folder):
    """The file's own 4-bit codes go into the bundle as they are: only scales are rounded, to float16. Fewer bits round again."""
    name = "qwen3_moe-optimum-int4_sym"
    reference = safetensors(os.path.join(zoo, name, "ref.safetensors"))
    model, out = os.path.join(folder, name, "model.onnx"), os.path.join(folder, "kept.emoe")
    worst = {}
    for flags in (("--bits", "4"), ("--bits", "3")):
        said = run(EMOEC, "compile", model, "-o", out, *flags, "--dense-bits", "32", "--exact", "--target",
                   "host").stderr
        worst[flags[1]] = float(np.abs(logits(out, reference["input_ids"][0]) - reference["deq_logits"][0]).max())
        assert (b"rounded again to 3" in said) == (flags[1] == "3"), said
    print(f"{name}: largest |logit - reference| with its own codes {worst['4']:.2e}, rounded to 3 bits {worst['3']:.2e}")
    assert worst["4"] <= KEPT_TOLERANCE < worst["3"], worst


def main():
    zoo = shared("zoo")
    compiled, rows = set(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, about, parts in models(zoo):
            # Without the tokenizer: the logits need none, and beside some of these models lies another model's.
            copy = os.path.join(folder, name)
            shutil.copytree(os.path.join(zoo, name), copy, ignore=shutil.ignore_patterns("tokenizer*", "*.safetensors"))
            files = [os.path.join(copy, file) for file in parts]
            out = os.path.join(folder, name + ".emoe")
            result = run(EMOEC, "compile", *files, "-o", out, "--lossless", "--exact", "--target", "host", check=False)
            if result.returncode != 0:
                assert result.returncode in (1, 3, 6), (name, result)
                assert b"error:" in result.stderr and not os.path.exists(out), (name, result.stderr)
                rows.append((about, None, None, reason(result.stderr)))
                print(f"{name} refused ({result.returncode}): {rows[-1][3][:110]}")
                continue
            assert about.get("expect", "ok") == "ok", f"{name} must be refused: {about.get('refuse_because')}"
            compiled.add(name)
            reference = safetensors(os.path.join(zoo, REFERENCE_OF.get(name, name), "ref.safetensors"))
            expected = reference[about.get("reference", "logits")][0]
            tolerance = float(about.get("tolerance", 1e-4))
            flags = ()
            if len(parts) == 2:
                flags = ("--decoder-tokens", os.path.join(copy, "target"))
                with open(flags[1], "w") as file:
                    file.write(" ".join(str(int(token)) for token in reference["decoder_input_ids"][0]))
            got = logits(out, reference["input_ids"][0], *flags)
            worst = float(np.abs(got - expected).max())
            print(f"{name}: largest |logit - reference| {worst:.2e}, allowed {tolerance:.2e}")
            assert worst <= tolerance, (name, worst, tolerance)
            rows.append((about, worst, tolerance, None))
        biases_in_records(zoo, folder)
        kept_codes(zoo, folder)
    print(f"{len(compiled)} compiled and right; {len(rows) - len(compiled)} refused")
    assert COMPILED <= compiled, f"must compile: {COMPILED - compiled}"
    if len(sys.argv) == 3 and sys.argv[1] == "--table":
        with open(sys.argv[2], "w") as file:
            file.write(page(rows))


if __name__ == "__main__":
    sys.exit(main())
