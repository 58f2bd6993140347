// RUN: split-file %s %t
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/none.json" 2>&1 | FileCheck %s --check-prefix=NOFILE
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/good.json kl=-1" 2>&1 | FileCheck %s --check-prefix=NEGATIVE
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/good.json kl=1" 2>&1 | FileCheck %s --check-prefix=LAYERS
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/format.json kl=1" 2>&1 | FileCheck %s --check-prefix=FORMAT
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/short.json kl=1" 2>&1 | FileCheck %s --check-prefix=SHORT
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/minus.json kl=1" 2>&1 | FileCheck %s --check-prefix=MINUS
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/probability.json kl=1" 2>&1 | FileCheck %s --check-prefix=PROBABILITY
// RUN: not emoe-opt %t/model.mlir --adapt-bitwidth="sensitivity=%t/empty.json kl=1" 2>&1 | FileCheck %s --check-prefix=EMPTY
// Files that do not fit are refused with what is wrong and where.

// MISSING: error: adapt-bitwidth needs sensitivity=FILE
// NOFILE: error: {{.*}}none.json: No such file or directory
// NEGATIVE: error: kl (-1{{.*}}) must be 0 or more
// LAYERS: error: {{.*}}good.json has 1 mixture layers, the model 0
// FORMAT: error: there is no format 5-128; formats are ternary, 2, 3, 4 or 8, a dash, and a group of 32, 64, 128 or 256 columns, like 3-128, or two of these, like 2-128/3-128, the second for down
// SHORT: error: {{.*}}short.json: layer 0, expert 1 has 1 losses for 2 formats
// MINUS: error: {{.*}}minus.json: layer 0, expert 0: a loss is not a number from 0 on
// PROBABILITY: error: {{.*}}probability.json: layer 0, expert 0 needs "probability" from 0 to 1 and "losses", a list
// EMPTY: error: {{.*}}empty.json: needs "formats", a list of names that is not empty, and "layers", a list

//--- good.json
{"formats": ["2-128"], "layers": [[{"probability": 1, "losses": [0]}]]}
//--- format.json
{"formats": ["5-128"], "layers": []}
//--- short.json
{"formats": ["2-128", "3-128"], "layers": [[{"probability": 1, "losses": [0.1, 0]}, {"probability": 1, "losses": [0]}]]}
//--- minus.json
{"formats": ["2-128"], "layers": [[{"probability": 1, "losses": [-1]}]]}
//--- probability.json
{"formats": ["2-128"], "layers": [[{"probability": 1.5, "losses": [0]}]]}
//--- empty.json
{"formats": [], "layers": []}
//--- model.mlir
module {}
