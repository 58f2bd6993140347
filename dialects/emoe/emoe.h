// The emoe dialect: ops, attributes, enums. Ownership and IR conventions are MLIR's.
#ifndef EMOE_DIALECTS_EMOE_EMOE_H_
#define EMOE_DIALECTS_EMOE_EMOE_H_

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/emoe/attrs.h"
#define GET_OP_CLASSES
#include "dialects/emoe/ops.h.inc"

#endif  // EMOE_DIALECTS_EMOE_EMOE_H_
