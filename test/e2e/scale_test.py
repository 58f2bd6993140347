"""Import scales: an export with a loop over 128 experts unrolled in each of many layers (pattern P2, what optimum-onnx
writes) is imported, raised, proven and planned in time that grows linearly with its nodes. Processor time and memory are
measured, which other work on the machine does not change much.

    python3 test/e2e/scale_test.py --layers 12 24 48

prints the table of docs/models.md; without arguments, two small sizes are compared. Then a layer of 128 experts of 2048 x
768 in the other forms: stacked weights have more elements than a proof may evaluate at once, so experts are read one at a
time."""
import os
import sys
import tempfile

from exports import Decoder
from support import EMOEC, need, run, shared

EXPERTS = 128
MOST_SECONDS = 90  # of the largest: 48 layers
MOST_BYTES = 2 << 30
LAYER_SECONDS, LAYER_BYTES = 40, 400 << 20  # of one layer of real size


class Expansion:
    """The zoo's export of two layers with eight experts, with more of both. Weights are holes in a sparse file."""

    def __init__(self, folder):
        self.onnx = need("onnx")
        self.helper = self.onnx.helper
        source = shared("zoo", "qwen3_moe-optimum")
        self.model = self.onnx.load(os.path.join(source, "model.onnx"))
        self.config = os.path.join(source, "config.json")
        self.graph = self.model.graph
        self.folder = folder
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.offset = 0
        self.made = 0

    def weight(self, like, dims=None):
        """A new initializer of external data, of the shape of another."""
        tensor = self.onnx.TensorProto()
        self.made += 1
        tensor.name = f"{like}.{self.made}"
        tensor.data_type = self.onnx.TensorProto.FLOAT
        tensor.dims.extend(dims or self.weights[like].dims)
        size = 4
        for dim in tensor.dims:
            size *= dim
        tensor.data_location = self.onnx.TensorProto.EXTERNAL
        for key, value in (("location", "holes.data"), ("offset", self.offset), ("length", size)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        self.offset += -(-size // 4096) * 4096
        self.graph.initializer.append(tensor)
        return tensor.name

    def copies(self, nodes, rename, replace):
        """Copies of nodes: what they produce is renamed, what they read from elsewhere replaced or kept."""
        produced = {name: rename(name) for node in nodes for name in node.output}
        result = []
        for node in nodes:
            copy = self.onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = rename(node.name)
            copy.input[:] = [produced.get(name) or replace(name) for name in node.input]
            copy.output[:] = [produced[name] for name in node.output]
            result.append(copy)
        return result

    def more_experts(self, nodes, experts):
        """A layer's nodes with more experts than eight: copies of the fourth one's."""
        starts = []
        onehot = next(node for node in nodes if node.op_type == "OneHot")
        transposed = next(node for node in nodes if node.op_type == "Transpose" and onehot.output[0] in node.input).output[0]
        for index, node in enumerate(nodes):
            if node.op_type == "Gather" and node.input[0] == transposed:
                starts.append(index)
        assert len(starts) == 8
        block = nodes[starts[3]:starts[4]]
        # What one expert's nodes hand to the next one's: the running sum, and what is not yet added to it.
        def carried(first, second):
            made = [name for node in nodes[first:second] for name in node.output if node.op_type != "Constant"]
            following = nodes[second:starts[starts.index(second) + 1]] if second != starts[-1] else nodes[second:]
            return list(dict.fromkeys(name for node in following for name in node.input if name in made))
        taken, passed, current = carried(starts[2], starts[3]), carried(starts[3], starts[4]), carried(starts[6], starts[7])
        assert len(taken) == len(passed) == len(current), (taken, passed, current)
        last = nodes[starts[7]:]
        last_taken, extra = list(current), []
        for expert in range(8, experts):
            index = f"{transposed}.expert{expert}"
            extra.append(self.helper.make_node("Constant", [], [index], name=index, value=self.tensor(expert)))

            def replace(name):
                if name == block[0].input[1]:
                    return index
                if name in taken:
                    return current[taken.index(name)]
                return self.weight(name) if name in self.weights and len(self.weights[name].dims) == 2 else name
            extra += self.copies(block, lambda name: f"{name}.expert{expert}" if name else name, replace)
            current = [f"{name}.expert{expert}" for name in passed]
        for node in last:
            node.input[:] = [current[last_taken.index(name)] if name in last_taken else name for name in node.input]
        # How many experts the router scores, and how wide the one-hot is.
        depth = f"{transposed}.depth"
        nodes.insert(0, self.helper.make_node("Constant", [], [depth], name=depth, value=self.tensor(experts)))
        onehot.input[1] = depth
        softmax = next(node for node in nodes if node.op_type == "Softmax" and "/mlp/" in node.output[0])
        router = next(node for node in nodes if softmax.input[0] in node.output)
        router.input[1] = self.weight(router.input[1], [self.weights[router.input[1]].dims[0], experts])
        return nodes[:starts[7] + 1] + extra + last

    def tensor(self, number):
        return self.helper.make_tensor("", self.onnx.TensorProto.INT64, [], [number])

    def write(self, layers, experts):
        nodes = list(self.graph.node)

        def of(layer):
            return [i for i, node in enumerate(nodes) if any(name.startswith(f"/model/layers.{layer}/") for name in node.output)]
        first, second = of(0), of(1)
        head, layer0 = nodes[:first[0]], nodes[first[0]:first[-1] + 1]
        layer1, tail = nodes[second[0]:second[-1] + 1], nodes[second[-1] + 1:]
        head += nodes[first[-1] + 1:second[0]]
        made1 = {name for node in layer1 for name in node.output}
        leaving, = {name for node in tail for name in node.input if name in made1}
        residual = leaving.replace("layers.1/", "layers.0/")
        layer0 = self.more_experts(layer0, experts)
        layer1 = self.more_experts(layer1, experts)
        result, current = head + layer0 + layer1, leaving
        for layer in range(2, layers):
            def rename(name, layer=layer):
                if not name:
                    return name
                renamed = name.replace("layers.1/", f"layers.{layer}/").replace("present.1.", f"present.{layer}.")
                return renamed if renamed != name else f"{name}.layer{layer}"

            def replace(name, layer=layer, current=current):
                if name == residual:
                    return current
                if name.startswith("past_key_values.1."):
                    return name.replace(".1.", f".{layer}.")
                return self.weight(name) if name in self.all_weights() and len(self.all_weights()[name].dims) == 2 else name
            result += self.copies(layer1, rename, replace)
            current = rename(leaving)
        for node in tail:
            node.input[:] = [current if name == leaving else name for name in node.input]
        result += tail
        for group, prefix in ((self.graph.input, "past_key_values.1."), (self.graph.output, "present.1.")):
            for value in [value for value in group if value.name.startswith(prefix)]:
                for layer in range(2, layers):
                    copy = group.add()
                    copy.CopyFrom(value)
                    copy.name = value.name.replace(".1.", f".{layer}.")
        del self.graph.node[:]
        self.graph.node.extend(result)
        del self.graph.value_info[:]
        path = os.path.join(self.folder, "model.onnx")
        self.onnx.save(self.model, path)
        with open(os.path.join(self.folder, "holes.data"), "wb") as file:
            file.truncate(max(self.offset, 1))
        os.symlink(self.config, os.path.join(self.folder, "config.json"))
        return path, len(result)

    def all_weights(self):
        if len(self.weights) != len(self.graph.initializer):
            self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        return self.weights


# A process starts with the most that the one which started it ever had resident, so a small one stands between.
LAUNCH = """import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)"""


def measured(model):
    """Processor seconds and most resident bytes of raising and planning."""
    said = run(sys.executable, "-c", LAUNCH, EMOEC, "compile", model, "--compile-to", "partition-experts")
    status, seconds, size = said.stdout.split()
    assert int(status) == 0, said.stderr.decode()[-2000:]
    return float(seconds), int(size)


def real_layer(form):
    """A layer like Qwen3-30B-A3B's, its weights holes in a sparse file."""
    return Decoder(1, holes=True, **{
        "layers": 1, "hidden": 2048, "kv heads": 4, "group": 8, "head size": 128, "experts": 128, "top": 8, "expert width": 768,
        "attention": "gqa", "norm": "simplified", "rotary": "table", "scaling": "none", "style": "half", "router": "mixtral",
        "experts' form": form, "partial": False, "window": 0, "activation": "silu", "gated": True, "expert bias": False,
        "shared expert": "none", "dense layer first": False, "attention bias": False, "qk norm": "head", "softcap": 0.0,
        "sinks": False, "embedding scale": False, "residual scale": 1.0, "tail": "none", "gate and up": "apart",
        "gate|up": "gate first", "clamped": False, "limit": None, "nodes": "in order", "scale": None})


def main():
    layers = [int(argument) for argument in sys.argv[2:]] or [3, 6]
    print("| layers | nodes | processor s | resident MiB |\n|---|---|---|---|")
    rows = []
    for count in layers:
        with tempfile.TemporaryDirectory() as folder:
            model, nodes = Expansion(folder).write(count, EXPERTS)
            seconds, size = measured(model)
        rows.append((count, nodes, seconds, size))
        print(f"| {count} | {nodes} | {seconds:.1f} | {size >> 20} |", flush=True)
    (_, few, short, _), (count, many, long, size) = rows[0], rows[-1]
    # Twice the nodes may take a little more than twice the time: what is constant helps, a larger working set does not.
    assert long <= 1.3 * short * many / few, "time grows faster than the graph"
    assert long <= MOST_SECONDS * max(1, count / 48) and size <= MOST_BYTES, rows[-1]
    print("\n| one layer of 128 experts, 2048 x 768 | nodes | processor s | resident MiB |\n|---|---|---|---|")
    for form in ("P0", "P1", "P3", "P4"):
        with tempfile.TemporaryDirectory() as folder:
            decoder = real_layer(form)
            seconds, size = measured(decoder.save(folder))
        print(f"| {form} | {len(decoder.nodes)} | {seconds:.1f} | {size >> 20} |", flush=True)
        assert seconds <= LAYER_SECONDS and size <= LAYER_BYTES, (form, seconds, size)


if __name__ == "__main__":
    sys.exit(main())
