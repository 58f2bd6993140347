"""Reads a bundle with numpy alone, written from schema/FORMAT.md and schema/bundle.fbs, not from the runtime's code.

The second opinion of the end-to-end tests: what this reader dequantises is what ONNX Runtime is given to compute with.
"""
import struct

from support import need

np = need("numpy")

SECTIONS = {1: "index", 2: "resident", 3: "experts", 4: "kernels", 5: "tokenizer", 6: "tables"}


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class Table:
    """A FlatBuffer table: fields by id, as bundle.fbs numbers them."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]
        self.vtable_size = struct.unpack_from("<H", data, self.vtable)[0]

    def _field(self, number):
        slot = 4 + 2 * number
        if slot >= self.vtable_size:
            return None
        offset = struct.unpack_from("<H", self.data, self.vtable + slot)[0]
        return self.at + offset if offset else None

    def scalar(self, number, fmt, default=0):
        at = self._field(number)
        return default if at is None else struct.unpack_from("<" + fmt, self.data, at)[0]

    def struct(self, number, fmt):
        at = self._field(number)
        return None if at is None else struct.unpack_from("<" + fmt, self.data, at)

    def _indirect(self, number):
        at = self._field(number)
        return None if at is None else at + struct.unpack_from("<I", self.data, at)[0]

    def string(self, number):
        at = self._indirect(number)
        if at is None:
            return ""
        size = struct.unpack_from("<I", self.data, at)[0]
        return self.data[at + 4:at + 4 + size].decode()

    def table(self, number):
        at = self._indirect(number)
        return None if at is None else Table(self.data, at)

    def tables(self, number):
        at = self._indirect(number)
        if at is None:
            return []
        count = struct.unpack_from("<I", self.data, at)[0]
        starts = [at + 4 + 4 * i for i in range(count)]
        return [Table(self.data, s + struct.unpack_from("<I", self.data, s)[0]) for s in starts]

    def vector(self, number, fmt):
        """A vector of scalars or structs; `fmt` must include the padding that the schema's alignment makes."""
        at = self._indirect(number)
        if at is None:
            return []
        count = struct.unpack_from("<I", self.data, at)[0]
        size = struct.calcsize("<" + fmt)
        values = [struct.unpack_from("<" + fmt, self.data, at + 4 + size * i) for i in range(count)]
        return [v[0] for v in values] if len(values) and len(values[0]) == 1 else values


class Layout:
    def __init__(self, fields):
        self.bits, self.float_type, self.zero_point, self.codebook, self.group, self.panel = fields


LAYOUT = "BBBBHH"


def _floats(data: bytes, float_type: int) -> np.ndarray:
    if float_type == 0:
        return np.frombuffer(data, "<f4").astype(np.float32)
    if float_type == 1:
        return np.frombuffer(data, "<f2").astype(np.float32)
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


TERNARY, CENTRED = 1, 3
POWERS = np.array([1, 3, 9, 27, 81])


def payload_bytes(layout: Layout, columns: int) -> int:
    dwords = columns // 4
    return dwords // 5 * 64 + dwords % 5 * 16 if layout.codebook == TERNARY else columns // 32 * 64 * layout.bits


def group_widths(layout: Layout, columns: int):
    """Stored columns of each group of a row."""
    padded = -(-columns // 64) * 64
    return [min(layout.group, padded - first) for first in range(0, padded, layout.group)]


def panel_bytes(layout: Layout, columns: int) -> int:
    if layout.bits >= 16:
        return columns * 16 * layout.bits // 8
    size = sum(32 + payload_bytes(layout, width) for width in group_widths(layout, columns))
    return -(-size // 32) * 32


def group_values(data: bytes, layout: Layout, columns: int) -> np.ndarray:
    """A group's payload -> [16, columns], in units of the scale."""
    raw = np.frombuffer(data, np.uint8).astype(np.int32)
    if layout.codebook == TERNARY:
        units, pieces = divmod(columns // 4, 5)
        fractions = raw[:64 * units].reshape(units, 1, 16, 4) * POWERS.reshape(1, 5, 1, 1) & 255
        dwords = (fractions * 3 >> 8).reshape(5 * units, 16, 4)
        rest = raw[64 * units:].reshape(pieces, 16, 1) >> np.array([0, 2, 4, 6]) & 3
        return np.concatenate([dwords, rest]).transpose(1, 0, 2).reshape(16, columns) - 1.0
    units = raw.reshape(columns // 32, layout.bits, 16, 4)  # [32 columns, unit, lane, i]
    if layout.bits == 8:
        dwords, zero = units, 128
    elif layout.bits == 4:
        dwords, zero = np.stack([units & 15, units >> 4], axis=2).reshape(-1, 8, 16, 4), 8
    else:
        shifts = np.array([0, 2, 4, 6]).reshape(4, 1, 1)
        dwords, zero = (units[:, :2, None] >> shifts & 3).reshape(-1, 8, 16, 4), 1.5
        if layout.bits == 3:
            dwords, zero = dwords + 4 * (units[:, 2:3] >> np.arange(8).reshape(8, 1, 1) & 1), 3.5
    return dwords.transpose(2, 0, 1, 3).reshape(16, columns) - zero


def unpack_panel(data: bytes, layout: Layout, columns: int) -> np.ndarray:
    """The float32 values [16, columns] that a panel stands for."""
    if layout.bits >= 16:
        return _floats(data, layout.float_type).reshape(columns, 16).T
    assert layout.zero_point == 0 and layout.float_type == 1 and layout.group in (32, 64, 128, 256)
    assert (layout.bits, layout.codebook) in ((8, 0), (4, 0), (3, CENTRED), (2, CENTRED), (2, TERNARY))
    widths, at, groups = group_widths(layout, columns), 0, []
    for first in range(0, len(widths), 2):
        pair = widths[first:first + 2]
        scales = np.frombuffer(data[at:at + 32 * len(pair)], "<f2").astype(np.float32).reshape(len(pair), 16, 1)
        at += 32 * len(pair)
        for scale, width in zip(scales, pair):
            size = payload_bytes(layout, width)
            groups.append(group_values(data[at:at + size], layout, width).astype(np.float32) * scale)
            at += size
    return np.concatenate(groups, axis=1)[:, :columns]


def unpack_matrix(data: bytes, layout: Layout, rows: int, columns: int, stride: int = 1) -> np.ndarray:
    """[rows, columns] from panels that lie `stride` panels apart (2 where gate and up are interleaved)."""
    size = panel_bytes(layout, columns)
    panels = [unpack_panel(data[p * stride * size:][:size], layout, columns) for p in range(-(-rows // 16))]
    return np.concatenate(panels)[:rows]


class Bundle:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = data = file.read()
        assert data[:8] == b"EMOE\r\n\x1a\n", "magic"
        (self.major, self.minor, count, self.required, self.optional, size) = struct.unpack_from("<HHIQQQ", data, 8)
        header_crc = struct.unpack_from("<I", data, 60)[0]
        head = bytearray(data[:64 + 32 * count])
        head[60:64] = bytes(4)
        assert crc32c(bytes(head)) == header_crc, "header checksum"
        assert size == len(data), "file size"
        self.sections = {}
        for i in range(count):
            kind, crc, offset, length, reserved = struct.unpack_from("<IIQQQ", data, 64 + 32 * i)
            assert reserved == 0 and offset % 4096 == 0
            self.sections[SECTIONS[kind]] = (offset, length, crc)
        index = self.section("index")
        assert crc32c(index) == self.sections["index"][2], "index checksum"
        assert index[4:8] == b"EMOI"
        self.index = Table(index, struct.unpack_from("<I", index, 0)[0])

    def section(self, name):
        offset, length, _ = self.sections[name]
        return self.data[offset:offset + length]

    def tensors(self):
        """name -> float32 [rows, columns] of every resident tensor."""
        resident = self.section("resident")
        result = {}
        for tensor in self.index.tables(1):
            name, offset, size = tensor.string(0), tensor.scalar(1, "Q"), tensor.scalar(2, "Q")
            rows, columns, layout = tensor.scalar(3, "I"), tensor.scalar(4, "I"), Layout(tensor.struct(5, LAYOUT))
            raw = resident[offset:offset + size]
            if layout.panel == 1:
                result[name] = _floats(raw, layout.float_type)[:rows * columns].reshape(rows, columns)
            else:
                result[name] = unpack_matrix(raw, layout, rows, columns)
        return result

    def expert(self, layer, expert, hidden, model):
        """(gate, up, down) of a gated expert, float32; checks the record's checksums."""
        moe = self.index.tables(7)[layer]
        offset, first_crc, variant_index = moe.vector(3, "QII")[expert]
        variant = moe.tables(2)[variant_index]
        gate_up, down, size = variant.scalar(2, "I"), variant.scalar(3, "I"), variant.scalar(4, "I")
        layout = Layout(variant.struct(7, LAYOUT))
        down_layout = Layout(variant.struct(8, LAYOUT) or variant.struct(7, LAYOUT))
        record = self.section("experts")[offset:offset + size]
        crcs, start = self.index.vector(8, "I"), 0
        for i, end in enumerate(variant.vector(5, "I")):
            assert crc32c(record[start:end]) == crcs[first_crc + i], "chunk checksum"
            start = end
        half = panel_bytes(layout, model)
        return (unpack_matrix(record[gate_up:down], layout, hidden, model, 2),
                unpack_matrix(record[gate_up + half:down], layout, hidden, model, 2),
                unpack_matrix(record[down:], down_layout, model, hidden))
