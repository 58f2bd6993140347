// Number: the numbers of a sequence's tokens, padding left out. One tile walks all of them in order, so that the state is
// read and written by nobody else.
#include "compiler/codegen/emit.h"

namespace emoe {

mlir::LogicalResult emitNumber(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  Expr ids = k.operand(0), numbers = k.operand(1), tokens = k.tokens();
  Expr state = spec.hasState ? k.operand(2) : Expr();
  k.forTiles([&](Expr) {
    Expr before = spec.hasState ? signExtend(k.load(state, k.b.getI32Type()), 64) : k.i64(0);
    Expr counted = k.loop(k.i64(0), tokens, 1, {before}, [&](Expr t, llvm::ArrayRef<Expr> carried) {
      Expr id = signExtend(k.load(k.at(ids, t * 4.0), k.b.getI32Type()), 64);
      Expr isPadding = id == double(spec.padding);
      Expr number = select(isPadding, k.i64(spec.start - 1), min(carried[0] + double(spec.start), k.i64(spec.n - 1)));
      k.store(truncate(number, 32), k.at(numbers, t * 4.0));
      return KernelBuilder::Exprs{select(isPadding, carried[0], carried[0] + 1.0)};
    })[0];
    if (spec.hasState) {
      k.store(truncate(counted, 32), state);
    }
  });
  return mlir::success();
}

} // namespace emoe
