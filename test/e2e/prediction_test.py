"""A prediction never changes a token: logits and generated text are the same, bit for bit, with each predictor forced, whatever
it reads ahead; and calibration puts measured predictors into the bundle."""
import hashlib
import json
import os
import re
import sys
import tempfile

from support import EMOE_RT, EMOEC, SHIPPED, logits, need, run

np = need("numpy")
PREDICTORS = ("none", "static", "previous-token", "table", "look-ahead")


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def main():
    model = f"{SHIPPED}/model.onnx"
    prompt = json.load(open(f"{SHIPPED}/ref.json"))[0]
    tokens = (prompt["prompt_ids"] + prompt["greedy_ids"])[:48]
    with tempfile.TemporaryDirectory() as folder:
        plain, calibrated = os.path.join(folder, "plain.emoe"), os.path.join(folder, "calibrated.emoe")
        run(EMOEC, "compile", model, "-o", plain, "--target", "host")
        made = run(EMOEC, "compile", model, "-o", calibrated, "--target", "host", "--calibration",
                   f"{SHIPPED}/eval_prose.txt", "--calibration-tokens", "4096", "--all-predictors")
        summary = re.search(rb"predictors: .*recall ([0-9.]+)", made.stderr + made.stdout)
        assert summary, made.stderr
        print(summary.group(0).decode())
        assert float(summary.group(1)) > 0.3, "two of sixteen by chance: 0.125"
        runs = different = 0
        for bundle in (plain, calibrated):
            base = digest(logits(bundle, tokens, "--ctx", "128", "--memory-budget", "max"))
            ids = os.path.join(folder, "ids.txt")
            with open(ids, "w") as file:
                file.write(" ".join(map(str, tokens)))
            refused = run(EMOE_RT, "logits", bundle, "--ctx", "128", "--memory-budget", "65536", "--tokens", ids, "-o",
                          "/dev/null", check=False)
            floor = int(re.search(rb"bytes needed: (\d+)", refused.stderr).group(1))
            for budget in (floor + (1 << 18), floor + (1 << 20)):
                for chunk in ("1", "7") if budget > floor + (1 << 18) else ("1",):
                    for predictor in PREDICTORS + (None,):
                        force = () if predictor is None else ("--predictor", predictor)
                        got = digest(logits(bundle, tokens, "--ctx", "128", "--memory-budget", str(budget),
                                            "--prefill-chunk", chunk, *force))
                        runs += 1
                        if got != base:
                            different += 1
                            print("different:", os.path.basename(bundle), budget, chunk, predictor)
        texts = {run(EMOE_RT, "run", calibrated, "--prompt", "The king", "-n", "24", "--temp", "0", "--ctx", "128",
                     "--memory-budget", str(floor + (3 << 20)), "--predictor", predictor).stdout for predictor in PREDICTORS}
        print(f"{runs} runs, {different} different logits; {len(texts)} text(s) from {len(PREDICTORS)} predictors")
        assert different == 0 and len(texts) == 1
        wrong = run(EMOE_RT, "run", plain, "--prompt", "x", "--predictor", "crystal-ball", check=False)
        assert wrong.returncode == 2 and b"--predictor" in wrong.stderr, wrong


if __name__ == "__main__":
    sys.exit(main())
