"""What the end-to-end tests share: where things are, compiling once, running the tools."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("EMOE_BUILD", os.path.join(SOURCE, "build"))
SHARED = os.environ.get("EMOE_SHARED", os.path.join(os.path.dirname(SOURCE), "shared"))
EMOEC = os.path.join(BUILD, "bin", "emoec")
EMOE_RT = os.path.join(BUILD, "bin", "emoe-rt")
SHIPPED = os.path.join(SOURCE, "test", "models", "bookmoe-5m")
SKIP = 77  # ctest's return code for a skipped test


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(SKIP)


def need(*modules):
    """Imports modules of the Python oracle, or skips naming the one that is missing."""
    found = []
    for module in modules:
        try:
            found.append(__import__(module))
        except ImportError:
            skip(f"needs the Python package {module} (tools/check.sh installs it and sets EMOE_PYTHON)")
    return found[0] if len(found) == 1 else found


def shared(*path):
    full = os.path.join(SHARED, *path)
    if not os.path.exists(full):
        skip(f"needs {'/'.join(path)} of the shared models (set EMOE_SHARED)")
    return full


def run(*command, stdin=None, check=True, timeout=600):
    result = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, timeout=timeout)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit code {result.returncode}\n"
                             f"{result.stderr.decode(errors='replace')[-4000:]}")
    return result


def compile_model(model, *flags):
    """Compiles a model once per flags, compiler and model into a folder of the build tree; returns the bundle's path."""
    stamp = f"{model}|{flags}|{os.path.getmtime(EMOEC)}|{os.path.getmtime(model)}"
    folder = os.path.join(BUILD, "test", "bundles")
    os.makedirs(folder, exist_ok=True)
    bundle = os.path.join(folder, hashlib.sha256(stamp.encode()).hexdigest()[:16] + ".emoe")
    if not os.path.exists(bundle):
        temporary = f"{bundle}.{os.getpid()}"
        run(EMOEC, "compile", model, "-o", temporary, "--target", "host", *flags)
        os.rename(temporary, bundle)
    return bundle


def logits(bundle, tokens, *flags):
    """float32 [len(tokens), vocab] from emoe-rt logits."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        ids, out = os.path.join(folder, "ids.txt"), os.path.join(folder, "out.npy")
        with open(ids, "w") as file:
            file.write(" ".join(str(int(t)) for t in tokens))
        run(EMOE_RT, "logits", bundle, "--tokens", ids, "-o", out, *flags)
        return np.load(out)


def plan(bundle, *flags):
    return json.loads(run(EMOE_RT, "plan", bundle, "--json", *flags).stdout)


def safetensors(path):
    """name -> numpy array, by the format's own description: u64 header size, JSON header, data."""
    import numpy as np
    types = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "F16": "<f2"}
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return {name: np.frombuffer(data[8 + size + info["data_offsets"][0]:8 + size + info["data_offsets"][1]],
                                types[info["dtype"]]).reshape(info["shape"])
            for name, info in header.items() if name != "__metadata__"}


def to_float32(graph_model):
    """The same graph with float32 where it had float16: storage types do not change what is meant."""
    import numpy as np
    onnx = need("onnx")
    from onnx import numpy_helper
    f16, f32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    graph = graph_model.graph
    for initializer in graph.initializer:
        if initializer.data_type == f16:
            initializer.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(initializer).astype(np.float32),
                                                         initializer.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == f16:
                attribute.i = f32
    for value in list(graph.input) + list(graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type == f16:
            tensor.elem_type = f32
        for dim in tensor.shape.dim:
            if dim.dim_param.isdigit():
                dim.dim_value = int(dim.dim_param)
    del graph.value_info[:]
    # The attention scale sqrt(head_dim^-1/2), rounded to float16 in the file, is meant exactly.
    for initializer in graph.initializer:
        if initializer.data_type == f32 and not initializer.dims:
            value = float(numpy_helper.to_array(initializer))
            exact = 32 ** -0.25
            if abs(value - exact) < 1e-3 * exact:
                initializer.CopyFrom(numpy_helper.from_array(np.float32(exact), initializer.name))
    return graph_model
