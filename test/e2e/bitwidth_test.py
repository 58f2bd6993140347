"""Expert widths under a tolerance: the loss on text that the compiler never saw stays within it, records shrink as it
grows, the bundle has what the log says, compiling twice gives the same bytes, and refusals say what to do."""
import json
import os
import re
import tempfile

from support import EMOEC, EMOE_RT, SHIPPED, compile_model, run, shared

MODEL = os.path.join(SHIPPED, "model.onnx")
EVALUATION = os.path.join(SHIPPED, "eval_prose.txt")
TOKENS = "24576"


def perplexity(bundle):
    return json.loads(run(EMOE_RT, "eval", bundle, "--text", EVALUATION, "--json").stdout)["perplexity"]


def adapt(output, calibration, *flags):
    log = run(EMOEC, "compile", MODEL, "-o", output, "--target", "host", "--calibration", calibration,
              "--calibration-tokens", TOKENS, *flags).stderr.decode()
    bits = float(re.search(r"; ([\d.]+) bits a weight", log).group(1))
    verified = float(re.search(r"verified (-?[\d.]+)", log).group(1))
    return bits, verified, log


def check_tolerances(calibration, folder):
    lossless = perplexity(compile_model(MODEL, "--lossless"))
    before = 16
    for tolerance in (1, 4):
        bundle = os.path.join(folder, f"{tolerance}.emoe")
        bits, verified, log = adapt(bundle, calibration, "--tolerance", f"{tolerance}%")
        rise = 100 * (perplexity(bundle) / lossless - 1)
        print(f"tolerance {tolerance} %: {bits} bits, verified {verified} %, on other text {rise:.2f} %")
        assert verified <= tolerance, log
        assert rise <= 1.25 * tolerance + 0.3, (rise, log)  # 0.3 %: noise of this much text
        assert bits < before, (bits, before)
        before = bits
        run(EMOE_RT, "verify", bundle)
        if tolerance == 4:
            assert bits < 3, bits
            again = os.path.join(folder, "again.emoe")
            adapt(again, calibration, "--tolerance", f"{tolerance}%")
            with open(bundle, "rb") as one, open(again, "rb") as two:
                assert one.read() == two.read(), "compiling twice gives different bundles"


def check_refusals(calibration, folder):
    output = os.path.join(folder, "none.emoe")
    for flags, code, text in (
            (["--tolerance", "2%"], 3, "give texts with --calibration"),
            (["--tolerance", "two"], 2, "must be a rise of perplexity in percent"),
            (["--tolerance", "1", "--bitwidth-policy", "best"], 2, "must be adapt, edgemoe, uniform or random"),
            (["--tolerance", "1", "--lossless"], 3, "exclude each other"),
            (["--tolerance", "1", "--widths", "widths.txt", "--calibration", calibration], 3, "exclude each other"),
            (["--tolerance", "1", "--formats", "5-128", "--calibration", calibration, "--calibration-tokens", "2048"], 3,
             "there is no format 5-128"),
            (["--tolerance", "bits=1", "--calibration", calibration, "--calibration-tokens", "2048"], 3,
             "no format has as few as 1 bits")):
        result = run(EMOEC, "compile", MODEL, "-o", output, "--target", "host", *flags, check=False)
        message = result.stderr.decode()
        assert result.returncode == code, (flags, result.returncode, message)
        assert text in message, (flags, message)
        assert not os.path.exists(output)


def main():
    calibration = shared("data", "calib_prose.txt")
    with tempfile.TemporaryDirectory() as folder:
        check_refusals(calibration, folder)
        check_tolerances(calibration, folder)


if __name__ == "__main__":
    main()
