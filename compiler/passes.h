// Every pass of the compiler, by room. A room's function registers its passes under the names that emoe-opt and
// --print-ir-after-all use; the pipeline calls the passes' functions directly and needs no registration.
#ifndef EMOE_COMPILER_PASSES_H_
#define EMOE_COMPILER_PASSES_H_

namespace emoe {

void registerSimplifyPasses();
void registerRaisePasses();
void registerProvePasses();
void registerQuantisePasses();
void registerBitwidthPasses();
void registerPartitionPasses();
void registerSchedulePasses();
void registerCodegenPasses();

// All of them, in the pipeline's order.
inline void registerPasses() {
  registerSimplifyPasses();
  registerRaisePasses();
  registerProvePasses();
  registerQuantisePasses();
  registerBitwidthPasses();
  registerPartitionPasses();
  registerSchedulePasses();
  registerCodegenPasses();
}

} // namespace emoe

#endif // EMOE_COMPILER_PASSES_H_
