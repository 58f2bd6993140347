"""Decoders with recurrent states (short convolutions, gated delta nets): the same logits, bit for bit, whatever the
budget, threads and prefill chunk; a reset session starts with empty states; the plan counts them; greedy tokens as the
reference has them."""
import hashlib
import os
import re
import shutil
import sys
import tempfile

from support import EMOE_RT, EMOEC, compile_model, logits, need, plan, run, safetensors, shared

np = need("numpy")

MODELS = ("lfm2_moe-genai-fp32-cpu", "lfm2_moe-hf5-batched_mm", "qwen3_5_moe-genai-fp32-cpu", "qwen3_5_moe-genai-int4-cpu",
          "qwen3_5_moe-mobius-cpu")


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def copy_of(name, folder):
    """Without the tokenizer: beside some models of the zoo lies another model's."""
    copy = os.path.join(folder, name)
    shutil.copytree(shared("zoo", name), copy, ignore=shutil.ignore_patterns("tokenizer*", "*.safetensors"))
    return os.path.join(copy, "model.onnx")


def states_of(bundle):
    text = run(os.path.join(os.path.dirname(EMOEC), "emoe-dump"), bundle).stdout
    return [int(n) for n in re.findall(rb"^state \d+: (\d+) bytes$", text, re.M)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model = copy_of(name, folder)
            reference = safetensors(shared("zoo", name, "ref.safetensors"))
            tokens = [int(t) for t in reference["input_ids"][0]]
            tokens = (tokens * (48 // len(tokens) + 1))[:48]
            for flags in (("--lossless", "--exact"), ()):
                bundle = os.path.join(folder, f"{name}-{len(flags)}.emoe")
                run(EMOEC, "compile", model, "-o", bundle, "--target", "host", *flags)
                base = logits(bundle, tokens, "--ctx", "64", "--memory-budget", "max")
                numbers = plan(bundle, "--ctx", "64")
                states = states_of(bundle)
                assert len(states) == 2 and numbers["states"] >= sum(states), (states, numbers)
                floor = numbers["floor"] + (1 << 20)  # logits of all rows take more than plan's
                budgets = [floor + max(0, numbers["recommended"] - floor) * i // 2 for i in range(3)]
                runs = [("--memory-budget", str(b)) for b in budgets]
                runs += [("--threads", t) for t in ("1", "2", "5")]
                runs += [("--prefill-chunk", c) for c in ("1", "2", "3", "7", "48")]
                runs += [("--threads", "3", "--prefill-chunk", "5", "--memory-budget", str(budgets[0]))]
                different = []
                for extra in runs:
                    budget = () if "--memory-budget" in extra else ("--memory-budget", "max")
                    if digest(logits(bundle, tokens, "--ctx", "64", *extra, *budget)) != digest(base):
                        different.append(" ".join(extra))
                print(f"{name} {' '.join(flags) or 'default'}: {len(runs)} runs, {len(different)} different")
                assert not different, different
                # Earlier rows do not see later ones, and a sequence does not see the one before it.
                head = logits(bundle, tokens[:9], "--ctx", "64", "--memory-budget", "max")
                assert digest(head) == digest(base[:9])
            best = np.argmax(base, axis=1)
            assert len(set(best.tolist())) > 1, "logits that say the same of every token show nothing"


if __name__ == "__main__":
    sys.exit(main())
