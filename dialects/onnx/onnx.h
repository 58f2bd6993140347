// The onnx dialect: what an ONNX file says, op by op. Import-only; dialect.td states its conventions.
#ifndef EMOE_DIALECTS_ONNX_ONNX_H_
#define EMOE_DIALECTS_ONNX_ONNX_H_

#include "dialects/emoe/attrs.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"

#include "dialects/onnx/dialect.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/onnx/types.h.inc"
#include "dialects/onnx/interfaces.h.inc"
#define GET_OP_CLASSES
#include "dialects/onnx/ops.h.inc"

#endif // EMOE_DIALECTS_ONNX_ONNX_H_
