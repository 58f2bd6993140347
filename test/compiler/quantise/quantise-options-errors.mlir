// RUN: not emoe-opt %s --quantise="expert-bits=5" 2>&1 | FileCheck %s --check-prefix=BITS
// RUN: not emoe-opt %s --quantise="dense-bits=1" 2>&1 | FileCheck %s --check-prefix=DENSE
// RUN: not emoe-opt %s --quantise="group=48" 2>&1 | FileCheck %s --check-prefix=GROUP
// Widths and groups that no kernel has are refused with those that exist.

// BITS: error: expert-bits (5) is not a width that kernels have; use 32, 16, 8, 4, 3, 2 or 1 (ternary)
// DENSE: error: dense-bits (1) is not a width that kernels have; use 32, 16, 8, 4, 3 or 2
// GROUP: error: group (48) is not supported; use 32, 64, 128 or 256
module {}
