"""Codes of quantised models go into the bundle as they are: of MatMulNBits, QMoE, GatherBlockQuantized and DequantizeLinear
weights of 2, 4 and 8 bits, by blocks and by rows, with zero points, negative scales and codes of MXFP4, a bundle's values
are exactly (code - zero point) * scale, with the scale rounded to float16. Fewer bits round again, and say so."""
import os
import sys
import tempfile

from bundle_reader import Bundle
from exports import Graph, VOCABULARY
from support import EMOEC, need, run

np = need("numpy")
HIDDEN, WIDTH, EXPERTS, HEADS, HEAD = 128, 192, 3, 4, 32
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


class Quantised(Graph):
    """A decoder of one layer all of whose matrices are quantised in one way; `stored` has what they stand for."""

    def __init__(self, seed, bits, block, zeros, form):
        super().__init__(seed)
        self.bits, self.block, self.zeros, self.form, self.stored = bits, block, zeros, form, []

    def pack(self, values):
        per = 8 // self.bits
        padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % per)])
        parts = padded.reshape(*values.shape[:-1], -1, per).astype(np.uint16)
        return sum(parts[..., i] << (self.bits * i) for i in range(per)).astype(np.uint8)

    def codes(self, rows, columns):
        """Codes, scales and zero points of [rows, columns]; all codes occur, scales have both signs."""
        block = self.block or columns
        blocks, most = columns // block, 1 << self.bits
        codes = self.numbers.integers(0, most, (rows, columns)).astype(np.uint8)
        scales = (self.numbers.uniform(0.5, 1, (rows, blocks)) * 0.4 / most).astype(np.float32)
        scales *= np.where(self.numbers.uniform(size=scales.shape) < 0.3, -1, 1).astype(np.float32)
        zeros = np.full((rows, blocks), most // 2)
        if self.zeros:
            # In 8 bits, codes less zero points must still be 8 bits.
            zeros = self.numbers.integers(most // 4, most // 2, zeros.shape) if self.bits < 8 else zeros
        self.note((codes.reshape(rows, blocks, -1) - zeros[..., None].astype(np.float32)), scales, rows, columns)
        return codes, scales, zeros.astype(np.uint8)

    def note(self, whole, scales, rows, columns):
        stored = scales.astype(np.float16).astype(np.float32)
        self.stored.append((whole.astype(np.float32) * stored[..., None]).reshape(rows, columns))

    def weight(self, array, kind=None):
        name = f"q{len(self.weights)}"
        if kind is None:
            self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        else:
            self.weights.append(self.onnx.TensorProto(name=name, data_type=kind[0], dims=kind[1], raw_data=array.tobytes()))
        return name

    def product(self, x, rows, columns):
        if self.form == "mxfp4":
            return self.op("MatMul", x, self.op("Transpose", self.dequantised(rows, columns), perm=[1, 0]))
        if self.form == "qdq":
            return self.op("MatMul", x, self.op("Transpose", self.dequantised(rows, columns), perm=[1, 0]))
        codes, scales, zeros = self.codes(rows, columns)
        block = self.block or columns
        return self.ms("MatMulNBits", x, self.weight(self.pack(codes).reshape(rows, columns // block, -1)), self.weight(scales),
                       self.weight(self.pack(zeros)) if self.zeros else "", K=columns, N=rows, bits=self.bits, block_size=block)

    def dequantised(self, rows, columns):
        tensor = self.onnx.TensorProto
        if self.form == "mxfp4":
            codes = self.numbers.integers(0, 16, (rows, columns)).astype(np.uint8)
            exponents = self.numbers.integers(115, 125, (rows, columns // 32)).astype(np.uint8)
            scales = 2.0 ** (exponents.astype(np.float32) - 127)
            self.note(FP4[codes].reshape(rows, -1, 32), scales, rows, columns)
            return self.op("DequantizeLinear", self.weight(self.pack(codes), (tensor.FLOAT4E2M1, [rows, columns])),
                           self.weight(exponents, (tensor.FLOAT8E8M0, list(exponents.shape))), axis=1, block_size=32,
                           output_dtype=tensor.FLOAT)
        codes, scales, zeros = self.codes(rows, columns)
        kind = {2: 25, 4: tensor.UINT4, 8: tensor.UINT8}[self.bits]  # 25: UINT2
        return self.op("DequantizeLinear", self.weight(self.pack(codes), (kind, [rows, columns])), self.weight(scales),
                       self.weight(self.pack(zeros.reshape(-1)), (kind, list(zeros.shape))), axis=1, block_size=self.block or columns)

    def norm(self, x):
        return self.op("SimplifiedLayerNormalization", x, self.floats(HIDDEN, scale=1), axis=-1, epsilon=1e-6)

    def mixture(self, x):
        flat = self.op("Reshape", x, self.constant([-1, HIDDEN]))
        scores = self.op("MatMul", flat, self.floats(HIDDEN, EXPERTS))
        if self.form == "fused":
            inputs = []
            for rows, columns in ((2 * WIDTH, HIDDEN), (HIDDEN, WIDTH)):
                codes, scales, zeros = self.codes(EXPERTS * rows, columns)
                packed = self.pack(zeros.reshape(EXPERTS, rows, -1) if self.block else zeros.reshape(EXPERTS, rows))
                inputs.append((self.weight(self.pack(codes).reshape(EXPERTS, rows, -1)),
                               self.weight(scales.reshape((EXPERTS, rows, -1) if self.block else (EXPERTS, rows))),
                               self.weight(packed) if self.zeros else ""))
            (a, sa, za), (b, sb, zb) = inputs
            return self.ms("QMoE", x, scores, a, sa, "", b, sb, "", "", "", "", za, zb, activation_type="swiglu", k=1,
                           swiglu_fusion=2, normalize_routing_weights=1, expert_weight_bits=self.bits, block_size=self.block)
        weights, ids = self.op("TopK", self.op("Softmax", scores, axis=-1), self.constant([1]), outputs=2, axis=-1)
        total = None
        for expert in range(EXPERTS):
            gate, up = self.product(flat, WIDTH, HIDDEN), self.product(flat, WIDTH, HIDDEN)
            active = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
            mask = self.op("Cast", self.op("Equal", ids, self.constant(expert)), to=self.onnx.TensorProto.FLOAT)
            share = self.op("ReduceSum", self.op("Mul", weights, mask), self.constant([-1]), keepdims=1)
            part = self.op("Mul", self.product(active, HIDDEN, WIDTH), share)
            total = self.op("Add", total, part) if total else part
        return self.op("Reshape", total, self.constant([1, -1, HIDDEN]))

    def save(self, folder):
        make, kinds = self.onnx.helper, self.onnx.TensorProto
        info = make.make_tensor_value_info
        past = [info(f"past_key_values.0.{part}", kinds.FLOAT, [1, HEADS, "p", HEAD]) for part in ("key", "value")]
        ids, mask = info("input_ids", kinds.INT64, [1, "s"]), info("attention_mask", kinds.INT64, [1, "t"])
        if self.form == "fused":
            codes, scales, zeros = self.codes(VOCABULARY, HIDDEN)
            x = self.ms("GatherBlockQuantized", self.weight(self.pack(codes)), "input_ids", self.weight(scales),
                        self.weight(self.pack(zeros)) if self.zeros else "", gather_axis=0, quantize_axis=1, bits=self.bits,
                        block_size=self.block or HIDDEN)
        else:
            x = self.op("Gather", self.floats(VOCABULARY, HIDDEN, scale=1), "input_ids", axis=0)
        n = self.norm(x)
        q, k, v = (self.product(n, HEADS * HEAD, HIDDEN) for _ in range(3))
        last = self.op("Cast", self.op("Sub", self.op("ReduceSum", "attention_mask", self.constant([1]), keepdims=0),
                                       self.constant([1])), to=kinds.INT32)
        total = self.op("Cast", self.op("Gather", self.op("Shape", "attention_mask"), self.constant(1), axis=0), to=kinds.INT32)
        present = [f"present.0.{part}" for part in ("key", "value")]
        attended = self.ms("GroupQueryAttention", q, k, v, past[0].name, past[1].name, last, total,
                           names=[self.name("gqa")] + present, num_heads=HEADS, kv_num_heads=HEADS)[0]
        x = self.op("Add", x, self.product(attended, HIDDEN, HEADS * HEAD))
        x = self.op("Add", x, self.mixture(self.norm(x)))
        self.op("Identity", self.product(self.norm(x), VOCABULARY, HIDDEN), names=["logits"])
        outputs = [info("logits", kinds.FLOAT, [1, "s", VOCABULARY])]
        outputs += [info(name, kinds.FLOAT, [1, HEADS, "t", HEAD]) for name in present]
        graph = make.make_graph(self.nodes, "quantised", [ids, mask] + past, outputs, self.weights)
        opset = [make.make_opsetid("", 25), make.make_opsetid("com.microsoft", 1)]
        path = os.path.join(folder, "model.onnx")
        with open(path, "wb") as file:
            file.write(make.make_model(graph, opset_imports=opset, ir_version=11).SerializeToString())
        return path


def check(folder, seed, form, bits, block, zeros, compiled, fewer):
    model, out = Quantised(seed, bits, block, zeros, form), os.path.join(folder, "out.emoe")
    path = model.save(folder)
    case = f"{form}, {bits} bits, block {block}, zero points {zeros}"
    said = run(EMOEC, "compile", path, "-o", out, "--bits", compiled, "--target", "host").stderr
    assert b"rounded again" not in said, (case, said)
    bundle = Bundle(out)
    matrices = [value for value in bundle.tensors().values() if value.shape[0] > 1]
    for expert in range(EXPERTS):
        matrices += bundle.expert(0, expert, WIDTH, HIDDEN)
    of_shape = {}
    for matrix in matrices:
        of_shape.setdefault(matrix.shape, []).append(matrix)
    found = 0
    for values in model.stored:
        # The stacked experts of a fused op, and its gates and ups, are matrices of their own in the bundle.
        parts = [values]
        if form == "fused" and values.shape[0] in (EXPERTS * 2 * WIDTH, EXPERTS * HIDDEN):
            rows = WIDTH if values.shape[0] == EXPERTS * 2 * WIDTH else HIDDEN
            parts = np.split(values, values.shape[0] // rows)
        for part in parts:
            assert any(np.array_equal(part, matrix) for matrix in of_shape.get(part.shape, [])), (case, part.shape)
            found += 1
    said = run(EMOEC, "compile", path, "--bits", fewer, "--compile-to", "quantise").stderr
    assert f"rounded again to {fewer}".encode() in said, (case, said)
    print(f"{case}: {found} matrices are the file's own")


def main():
    with tempfile.TemporaryDirectory() as folder:
        seed, blocks = 0, (32, None, 64)
        for form in ("fused", "dense", "qdq"):
            for bits in (2, 4, 8):
                for zeros in (False, True):
                    # A code less its zero point is a digit more.
                    compiled = 8 if bits == 8 or (bits == 4 and zeros) else 4
                    check(folder, seed, form, bits, blocks[seed % 3], zeros, compiled, 3 if compiled == 4 else 4)
                    seed += 1
        check(folder, seed, "mxfp4", 4, 32, False, 8, 4)


if __name__ == "__main__":
    sys.exit(main())
