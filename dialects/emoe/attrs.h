// The emoe dialect's attributes and enumerations without its ops: for what does not look at the model.
#ifndef EMOE_DIALECTS_EMOE_ATTRS_H_
#define EMOE_DIALECTS_EMOE_ATTRS_H_

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"

#include "dialects/emoe/dialect.h.inc"
#include "dialects/emoe/enums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/emoe/attrs.h.inc"

#endif  // EMOE_DIALECTS_EMOE_ATTRS_H_
