"""A model of bookmoe-28m's architecture whose experts are 4 GB of external data, with the vocabulary of a large model,
compiles below 1 GB of memory. The file is sparse: experts and embedding are holes, which read as zeros, so that making it
takes no time and no space."""
import json
import math
import os
import sys
import tempfile

from compile_test import measured
from support import EMOE_RT, EMOEC, need, run, shared


def enlarged(folder, experts, width, vocabulary):
    """bookmoe-28m's graph with `experts` experts of `width` hidden units a layer and an embedding of `vocabulary` rows;
    returns its path and its bytes of data."""
    onnx = need("onnx")
    source = shared("models", "bookmoe-28m", "hf5")
    model = onnx.load(os.path.join(source, "model.onnx"), load_external_data=False)
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.dim_value == 4096:
                dim.dim_value = vocabulary
    hidden = 256
    with open(os.path.join(source, "model.onnx.data"), "rb") as file:
        old = file.read()
    path = os.path.join(folder, "model.onnx")
    with open(path + ".data", "wb") as data:
        for tensor in model.graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            place = {entry.key: entry.value for entry in tensor.external_data}
            values = old[int(place["offset"]):int(place["offset"]) + int(place["length"])]
            dims = list(tensor.dims)
            if tensor.name.endswith("mlp.gate.weight"):
                dims, values = [experts, hidden], values[:hidden * 2] * experts
            elif tensor.name == "lm_head.weight":  # the embedding too
                dims, values = [vocabulary, hidden], None
            elif dims == [32, 256, 256]:  # gate and up
                dims, values = [experts, 2 * width, hidden], None
            elif dims == [32, 256, 128]:  # down
                dims, values = [experts, hidden, width], None
            size = len(values) if values is not None else 2 * math.prod(dims)
            at = -data.tell() % 4096 + data.tell()
            data.seek(at)
            data.write(values) if values is not None else data.seek(at + size)
            del tensor.dims[:]
            tensor.dims.extend(dims)
            del tensor.external_data[:]
            for key, value in (("location", "model.onnx.data"), ("offset", at), ("length", size)):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
        data.truncate()
        size = data.tell()
    onnx.save(model, path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        os.symlink(os.path.join(source, name), os.path.join(folder, name))
    with open(os.path.join(source, "config.json")) as config, open(os.path.join(folder, "config.json"), "w") as out:
        out.write(config.read().replace('"num_experts": 32', f'"num_experts": {experts}')
                  .replace('"moe_intermediate_size": 128', f'"moe_intermediate_size": {width}'))
    return path, size


def main():
    with tempfile.TemporaryDirectory() as folder:
        model, size = enlarged(folder, experts=128, width=2560, vocabulary=300_000)
        assert size > 4e9, size
        bundle = os.path.join(folder, "large.emoe")
        seconds, _, peak = measured(EMOEC, "compile", model, "-o", bundle, "--target", "host")
        print(f"{size / 1e9:.2f} GB of weights: compiled in {seconds:.0f} s, peak {peak / 1e6:.0f} MB, "
              f"bundle {os.path.getsize(bundle) / 1e9:.2f} GB")
        assert peak < 1e9, peak
        # What came out runs, from slots for a fraction of the records.
        stats = json.loads(run(EMOE_RT, "run", bundle, "--prompt", "It was", "-n", "4", "--ignore-eos", "--json", "--ctx",
                               "128", "--memory-budget", "256M").stdout.splitlines()[-1])
        print(f"it runs: {stats['generated_tokens']} tokens, {stats['misses']} records read")
        assert stats["generated_tokens"] == 4 and stats["slots"] < stats["records"], stats


if __name__ == "__main__":
    sys.exit(main())
