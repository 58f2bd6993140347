// Ops of the onnx dialect that hold subgraphs. A region sees the values of the function around it.
#ifndef EMOE_ONNX_CONTROL_OPS_TD
#define EMOE_ONNX_CONTROL_OPS_TD

include "dialects/onnx/dialect.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"

def Onnx_YieldOp : Op<Onnx_Dialect, "Yield", [Pure, ReturnLike, Terminator]> {
  let summary = "The outputs of a subgraph";
  let arguments = (ins Onnx_Many:$outputs);
  let builders = [OpBuilder<(ins), "">];  // what an omitted terminator of an empty subgraph is
  let assemblyFormat = "attr-dict ($outputs^ `:` type($outputs))?";
}

class Onnx_Control<string name, string summary_, list<Trait> traits = []>
    : Onnx_OpBase<name, summary_, !listconcat([RecursiveMemoryEffects, SingleBlock], traits)> {
  let results = (outs Onnx_Many:$outputs);
  let hasVerifier = 1;
}

def Onnx_IfOp : Onnx_Control<"If", "One of two subgraphs, by a condition of one element"> {
  let arguments = (ins Onnx_Tensor:$cond);
  let regions = (region SizedRegion<1>:$then_branch, SizedRegion<1>:$else_branch);
  let assemblyFormat = "$cond $then_branch `else` $else_branch attr-dict `:` functional-type(operands, results)";
}
def Onnx_LoopOp : Onnx_Control<"Loop", "A subgraph repeated M times, or while its condition holds", [AttrSizedOperandSegments]> {
  let description = [{
    body(iteration i64, condition i1, carried...) yields (condition, carried..., scan outputs...). Results are the last
    carried values, then the scan outputs of all iterations, stacked along a new first axis.
  }];
  let arguments = (ins Onnx_Opt:$M, Onnx_Opt:$cond, Onnx_Many:$v_initial);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "operands $body attr-dict `:` functional-type(operands, results)";
}
def Onnx_ScanOp : Onnx_Control<"Scan", "A subgraph repeated along an axis of its scan inputs"> {
  let description = [{
    Inputs are the initial states, then `num_scan_inputs` scan inputs; body(states..., slices...) yields (states...,
    output slices...).
  }];
  let arguments = (ins Onnx_Many:$initial_state_and_scan_inputs, Onnx_Int:$num_scan_inputs,
                       Onnx_OptInts:$scan_input_axes, Onnx_OptInts:$scan_input_directions,
                       Onnx_OptInts:$scan_output_axes, Onnx_OptInts:$scan_output_directions);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "operands $body attr-dict `:` functional-type(operands, results)";
}

#endif  // EMOE_ONNX_CONTROL_OPS_TD
