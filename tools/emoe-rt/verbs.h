// The verbs. Each returns an exit code.
#ifndef EMOE_TOOLS_EMOE_RT_VERBS_H_
#define EMOE_TOOLS_EMOE_RT_VERBS_H_

#include "tools/emoe-rt/flags.h"

namespace emoe::rt {

int RunVerb(const Options &options);
int TokenizeVerb(const Options &options);
int LogitsVerb(const Options &options);
int EvalVerb(const Options &options);
int BenchVerb(const Options &options);
int InspectVerb(const Options &options);
int VerifyVerb(const Options &options);
int PlanVerb(const Options &options);
int VersionVerb(const Options &options);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_VERBS_H_
