"""Small exports by real tools: those of the patterns that we have give the reference's logits; the others are refused
with the node that stands in the way, and never crash."""
import json
import os
import sys
import tempfile

from support import EMOEC, logits, need, run, safetensors, shared

np = need("numpy")

# What must compile. Others may: then they must be right.
COMPILED = {
    "mixtral-hf5-batched_mm", "olmoe-hf5-batched_mm", "qwen3_moe-hf5-batched_mm", "qwen3_moe-hf5-batched_mm-bfloat16",
    "qwen3_moe-hf5-batched_mm-float16", "qwen3_moe-optimum", "qwen3_moe-optimum-ext2", "qwen3_moe-optimum-fp16",
}


def main():
    zoo = shared("zoo")
    compiled, refused = set(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(os.listdir(zoo)):
            model = os.path.join(zoo, name, "model.onnx")
            about_file = os.path.join(zoo, name, "about.json")
            if not os.path.exists(model) or not os.path.exists(about_file):
                continue
            about = json.load(open(about_file))
            out = os.path.join(folder, name + ".emoe")
            result = run(EMOEC, "compile", model, "-o", out, "--lossless", "--exact", "--target", "host", check=False)
            if result.returncode != 0:
                assert result.returncode in (1, 3, 6), (name, result)
                assert b"error:" in result.stderr and not os.path.exists(out), (name, result.stderr)
                refused.append(f"{name} ({result.returncode}): {result.stderr.decode().strip().splitlines()[-2][:110]}")
                continue
            assert about.get("expect", "ok") == "ok", f"{name} must be refused: {about.get('refuse_because')}"
            compiled.add(name)
            reference = safetensors(os.path.join(zoo, name, "ref.safetensors"))
            expected = reference[about.get("reference", "logits")][0]
            tolerance = float(about.get("tolerance", 1e-4))
            got = logits(out, reference["input_ids"][0])
            worst = float(np.abs(got - expected).max())
            print(f"{name}: largest |logit - reference| {worst:.2e}, allowed {tolerance:.2e}")
            assert worst <= tolerance, (name, worst, tolerance)
    print(f"{len(compiled)} compiled and right; {len(refused)} refused:")
    for line in refused:
        print(" ", line)
    assert COMPILED <= compiled, f"must compile: {COMPILED - compiled}"


if __name__ == "__main__":
    sys.exit(main())
