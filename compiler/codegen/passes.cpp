// For emoe-opt: emit-kernels replaces emoe.kernel ops by the functions that codegen makes of them, and
// lower-tile-products the tile products in these by loops.
#include "compiler/passes.h"

#include "compiler/codegen/emit.h"
#include "compiler/codegen/tile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace emoe {

namespace {

struct EmitKernels : mlir::PassWrapper<EmitKernels, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(EmitKernels)

  EmitKernels() = default;
  EmitKernels(const EmitKernels &other) : PassWrapper(other) {}

  llvm::StringRef getArgument() const final { return "emit-kernels"; }
  llvm::StringRef getDescription() const final { return "Generate the functions of emoe.kernel ops"; }
  void getDependentDialects(mlir::DialectRegistry &registry) const final {
    registry.insert<mlir::func::FuncDialect, mlir::scf::SCFDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                    mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect, mlir::cf::ControlFlowDialect>();
  }

  void runOnOperation() final {
    absl::StatusOr<const Target *> found = findTarget(target.getValue());
    if (!found.ok()) {
      getOperation().emitError(std::string(found.status().message()));
      return signalPassFailure();
    }
    for (KernelOp op : llvm::make_early_inc_range(getOperation().getOps<KernelOp>())) {
      absl::StatusOr<KernelSpec> spec = specFromAttr(op.getSpec());
      if (!spec.ok()) {
        op.emitOpError(std::string(spec.status().message()));
        return signalPassFailure();
      }
      op.erase();
      if (mlir::failed(emitKernel(*spec, **found, getOperation()))) {
        return signalPassFailure();
      }
    }
  }

  Option<std::string> target{*this, "target", llvm::cl::desc("the instruction set, as emoec targets lists them"),
                             llvm::cl::init("x86-64-v3")};
};

struct LowerTileProducts : mlir::PassWrapper<LowerTileProducts, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerTileProducts)

  LowerTileProducts() = default;
  LowerTileProducts(const LowerTileProducts &other) : PassWrapper(other) {}

  llvm::StringRef getArgument() const final { return "lower-tile-products"; }
  llvm::StringRef getDescription() const final { return "Turn emoe.tile_product ops into loops for a target"; }
  void getDependentDialects(mlir::DialectRegistry &registry) const final {
    registry.insert<mlir::scf::SCFDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                    mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect>();
  }

  void runOnOperation() final {
    absl::StatusOr<const Target *> found = findTarget(target.getValue());
    if (!found.ok()) {
      getOperation().emitError(std::string(found.status().message()));
      return signalPassFailure();
    }
    if (mlir::failed(lowerTileProducts(getOperation(), **found, generic ? TileLowering::Generic : TileLowering::Fast))) {
      signalPassFailure();
    }
  }

  Option<std::string> target{*this, "target", llvm::cl::desc("the instruction set, as emoec targets lists them"),
                             llvm::cl::init("x86-64-v3")};
  Option<bool> generic{*this, "generic", llvm::cl::desc("plain vector arithmetic, whatever the target has"),
                       llvm::cl::init(false)};
};

} // namespace

void registerCodegenPasses() {
  mlir::PassRegistration<EmitKernels>();
  mlir::PassRegistration<LowerTileProducts>();
}

} // namespace emoe
