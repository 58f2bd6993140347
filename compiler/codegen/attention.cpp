// KvAppend and Attention over a layer's cache of keys and values.
//   keys:   [capacity / 16][kvHeads][headDim][16 positions]: a vector is one element of 16 keys
//   values: [capacity / 16][kvHeads][16 positions][headDim]
// so that a text touches as much of the cache, from its beginning, as it is long. Elements are f32 or f16 (kvBits), which
// are rounded once, when their position is appended, and computed with as f32. A tile of either is one head of one token.
// Attention walks blocks of 16 absolute positions with an online softmax: maximum m, denominator l, and the sum of
// weighted values, kept in the output row. The order of every sum depends on absolute positions alone, so results
// are the same for any chunking, tiles and threads. Positions that were never written may hold anything: scores of
// theirs are replaced before use, and values are read at the nearest visible position, with weight zero.
#include <limits>

#include "compiler/codegen/math.h"
#include "schema/kernel_abi.h"

namespace emoe {

namespace {

int64_t elementBytes(const KernelSpec &spec) { return spec.kvBits / 8; }

// Bytes of a block of 16 positions in either cache.
int64_t blockBytes(const KernelSpec &spec) { return elementBytes(spec) * spec.headDim * EMOE_KV_BLOCK * spec.kvHeads; }

// Where the part of a head lies in the block that begins with position `first`.
Expr blockStart(const KernelSpec &spec, Expr first, Expr head) {
  return first * double(blockBytes(spec) / EMOE_KV_BLOCK) + head * double(blockBytes(spec) / spec.kvHeads);
}

// From bytes of f32 to those of cached elements.
Expr cachedOffset(const KernelSpec &spec, Expr offset) { return spec.kvBits == 32 ? offset : offset >> 1.0; }

// The first `valid` of 16 cached elements as f32.
Expr loadCached(KernelBuilder &k, Expr at, int64_t valid = kLanes) {
  return k.spec.kvBits == 32 ? k.loadLanes(at, valid) : f16ToF32(k.loadHalves(at, valid));
}

// The first `valid` of 16 f32, as cached elements.
void storeCached(KernelBuilder &k, Expr value, Expr at, int64_t valid) {
  if (k.spec.kvBits == 32) {
    k.storeLanes(value, at, valid);
    return;
  }
  Expr halves = f32ToF16(value);
  if (valid == kLanes) {
    k.store(halves, at);
    return;
  }
  for (int64_t i = 0; i < valid; ++i) {
    k.store(lane(halves, i), k.at(at, 2 * i));
  }
}

} // namespace

mlir::LogicalResult emitKvAppend(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t width = spec.kvHeads * spec.headDim, stride = static_cast<int64_t>(f32RowBytes(width));
  int64_t headBytes = 4 * spec.headDim;
  Expr key = k.operand(0), value = k.operand(1), keys = k.operand(2), values = k.operand(3);
  Expr past = k.position();
  k.forTiles([&](Expr tile) {
    Expr t = tile / double(spec.kvHeads), head = tile % double(spec.kvHeads), position = past + t;
    Expr from = t * double(stride) + head * double(headBytes);
    Expr inBlock = position % double(EMOE_KV_BLOCK);
    Expr start = blockStart(spec, position - inBlock, head);
    const int64_t bytes = elementBytes(spec);
    Expr block = k.at(k.at(keys, start), inBlock * double(bytes));
    k.loop(k.i64(0), k.i64(headBytes), 4, [&](Expr offset) {
      Expr element = k.loadF32(k.at(k.at(key, from), offset));
      k.store(bytes == 4 ? element : f32ToF16(element), k.at(block, offset * double(EMOE_KV_BLOCK * bytes / 4)));
    });
    Expr to = k.at(k.at(values, start), inBlock * double(bytes * spec.headDim));
    k.forVectors(spec.headDim, [&](Expr offset, int64_t valid) {
      storeCached(k, k.loadLanes(k.at(k.at(value, from), offset), valid), k.at(to, cachedOffset(spec, offset)), valid);
    });
  });
  return mlir::success();
}

namespace {

// q . k of one head with 16 keys: four sums over d mod 4, then pairwise.
Expr dotKeys(KernelBuilder &k, Expr q, Expr block) {
  const int64_t headDim = k.spec.headDim;
  constexpr int64_t kSums = 4;
  const int64_t vectorBytes = elementBytes(k.spec) * kLanes;
  KernelBuilder::Exprs sums(kSums, k.constant(k.vec(k.b.getF32Type()), 0));
  auto step = [&](Expr sum, Expr qAt, Expr keyAt) { return fma(splat(k.loadF32(qAt)), loadCached(k, keyAt), sum); };
  int64_t whole = headDim / kSums * kSums;
  if (whole) {
    sums = k.loop(k.i64(0), k.i64(whole), kSums, sums, [&](Expr d, llvm::ArrayRef<Expr> carried) {
      KernelBuilder::Exprs next;
      Expr qAt = k.at(q, d * 4.0), keyAt = k.at(block, d * double(vectorBytes));
      k.prefetch(keyAt, kSums * vectorBytes, blockBytes(k.spec));
      for (int64_t i = 0; i < kSums; ++i) {
        next.push_back(step(carried[i], k.at(qAt, 4 * i), k.at(keyAt, vectorBytes * i)));
      }
      return next;
    });
  }
  for (int64_t d = whole; d < headDim; ++d) {
    sums[d - whole] = step(sums[d - whole], k.at(q, 4 * d), k.at(block, vectorBytes * d));
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// out = out * correction + sum over the block's 16 positions, ascending, of weight * value, for a few vectors of the
// head at a time: as many as registers hold, so that memory is read in order.
void addValues(KernelBuilder &k, Expr out, Expr correction, Expr weights, llvm::ArrayRef<Expr> rows) {
  const int64_t headDim = k.spec.headDim;
  const int64_t vectorBytes = elementBytes(k.spec) * kLanes;
  const int64_t atOnce = k.target.cpuFeatures & EMOE_CPU_AVX512 ? 8 : 4;
  KernelBuilder::Exprs weight;
  for (int64_t p = 0; p < kLanes; ++p) {
    weight.push_back(splat(lane(weights, p)));
  }
  Expr factor = splat(correction);
  auto group = [&](Expr offset, llvm::ArrayRef<int64_t> valid) {
    KernelBuilder::Exprs sums;
    for (size_t v = 0; v < valid.size(); ++v) {
      sums.push_back(k.loadLanes(k.at(k.at(out, offset), int64_t(4 * kLanes * v)), valid[v]) * factor);
    }
    for (int64_t p = 0; p < kLanes; ++p) {
      Expr row = k.at(rows[p], cachedOffset(k.spec, offset));
      k.prefetch(row, int64_t(vectorBytes * valid.size()), blockBytes(k.spec));
      for (size_t v = 0; v < valid.size(); ++v) {
        Expr value = loadCached(k, k.at(row, int64_t(vectorBytes * v)), valid[v]);
        sums[v] = fma(weight[p], value, sums[v]);
      }
    }
    for (size_t v = 0; v < valid.size(); ++v) {
      k.storeLanes(sums[v], k.at(k.at(out, offset), int64_t(4 * kLanes * v)), valid[v]);
    }
  };
  int64_t block = atOnce * kLanes, whole = headDim / block * block;
  if (whole) {
    k.loop(k.i64(0), k.i64(4 * whole), 4 * block,
           [&](Expr offset) { group(offset, llvm::SmallVector<int64_t>(atOnce, kLanes)); });
  }
  if (whole < headDim) {
    llvm::SmallVector<int64_t> valid;
    for (int64_t d = whole; d < headDim; d += kLanes) {
      valid.push_back(std::min(kLanes, headDim - d));
    }
    group(k.i64(4 * whole), valid);
  }
}

} // namespace

mlir::LogicalResult emitAttention(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t width = spec.heads * spec.headDim, stride = static_cast<int64_t>(f32RowBytes(width));
  int64_t headBytes = 4 * spec.headDim, headsPerKey = spec.heads / spec.kvHeads;
  Expr queries = k.operand(0), keys = k.operand(1), values = k.operand(2), result = k.operand(3);
  Expr start = k.position(), tokens = k.tokens();
  if (spec.hasSinks) {
    k.operand(4);
  }
  Expr table = spec.distances ? k.operand(spec.hasSinks ? 5 : 4) : Expr();
  Expr keyCount = spec.bidirectional ? k.source() : Expr();
  Expr biases = spec.distances ? k.scratch(4 * kLanes) : Expr();
  mlir::Type f32 = k.b.getF32Type();
  const double minusInfinity = -std::numeric_limits<double>::infinity();
  k.forTiles([&](Expr tile) {
    // Tokens of one head follow each other: its keys and values stay in the cache of the processor.
    Expr head = tile / tokens, t = tile - head * tokens;
    Expr own = start + t, last = spec.bidirectional ? keyCount - 1.0 : own;
    Expr low = k.i64(0);
    if (spec.window > 0) {
      low = max(last - double(spec.window - 1), low);
    }
    Expr offset = t * double(stride) + head * double(headBytes);
    Expr q = k.at(queries, offset), out = k.at(result, offset);
    Expr kvHead = head / double(headsPerKey);

    Expr zero = k.constant(k.vec(f32), 0);
    k.forVectors(spec.headDim, [&](Expr at, int64_t valid) { k.storeLanes(zero, k.at(out, at), valid); });
    // A sink is a position without a value.
    Expr m = spec.hasSinks ? k.loadF32(k.at(k.operand(4), head * 4.0)) : k.f32(minusInfinity);
    Expr l = k.f32(spec.hasSinks ? 1 : 0);
    KernelBuilder::Exprs ends = k.loop(
        low - low % double(EMOE_KV_BLOCK), last + 1.0, EMOE_KV_BLOCK, {m, l},
        [&](Expr first, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
          Expr block = blockStart(spec, first, kvHead), blockValues = k.at(values, block);
          Expr scores = dotKeys(k, q, k.at(keys, block)) * double(spec.scale);
          if (spec.softcap > 0) {
            scores = emitTanh(scores / double(spec.softcap)) * double(spec.softcap);
          }
          if (spec.distances) {
            // One at a time: beyond the table's ends its ends count.
            Expr row = k.at(table, head * double(4 * spec.distances));
            for (int64_t i = 0; i < kLanes; ++i) {
              Expr entry = (first + double(i + spec.biasBefore)) - own;
              entry = max(min(entry, k.i64(spec.distances - 1)), k.i64(0));
              k.store(k.loadF32(k.at(row, entry * 4.0)), k.at(biases, 4 * i));
            }
            scores = scores + k.loadLanes(biases);
          }
          // Lane i is position first + i; visible from low to last.
          llvm::SmallVector<int32_t> indices;
          for (int32_t i = 0; i < kLanes; ++i) {
            indices.push_back(i);
          }
          Expr lanes = k.constantI32s(indices);
          Expr visible = lanes <= splat(truncate(min(last - first, k.i64(kLanes)), 32));
          if (spec.window > 0) {
            visible = visible & (lanes >= splat(truncate(max(low - first, k.i64(0)), 32)));
          }
          scores = select(visible, scores, constantLike(scores, minusInfinity));
          Expr maximum = max(carried[0], reduceMax(scores));
          Expr correction = emitExp(carried[0] - maximum);
          Expr weights = select(visible, emitExp(scores - maximum), constantLike(scores, 0));
          Expr denominator = carried[1] * correction + reduceSum(weights);
          KernelBuilder::Exprs rows;
          for (int64_t p = 0; p < kLanes; ++p) {
            Expr position = max(min(first + double(p), last), low);
            rows.push_back(k.at(blockValues, (position - first) * double(elementBytes(spec) * spec.headDim)));
          }
          addValues(k, out, correction, weights, rows);
          return {maximum, denominator};
        });
    Expr denominator = splat(ends[1]);
    k.forVectors(spec.headDim, [&](Expr at, int64_t valid) {
      k.storeLanes(k.loadLanes(k.at(out, at), valid) / denominator, k.at(out, at), valid);
    });
    // The last head's tile writes the row's padding.
    if (f32RowBytes(width) != static_cast<uint64_t>(4 * width)) {
      k.ifThen(head == double(spec.heads - 1), [&] { k.zeroPadding(k.at(result, t * double(stride)), width); });
    }
  });
  return mlir::success();
}

} // namespace emoe
