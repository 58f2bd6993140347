#include "compiler/codegen/image.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "schema/kernel_abi.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

namespace emoe {

namespace {

// The features of each target that hosts report, for "host".
struct Entry {
  Target target;
  std::vector<const char *> hostFeatures;
};

const std::vector<Entry> &entries() {
  static const std::vector<Entry> *table = new std::vector<Entry>{
      {{"x86-64", "any 64-bit x86 (SSE2)", "x86_64-unknown-linux-gnu", "x86-64", "", EMOE_MACHINE_X86_64, 0}, {}},
      {{"x86-64-v3", "x86 with AVX2, FMA, F16C and BMI2 (2013 and later)", "x86_64-unknown-linux-gnu", "x86-64-v3", "",
        EMOE_MACHINE_X86_64, EMOE_CPU_AVX2},
       {"avx2", "fma", "f16c", "bmi2"}},
      {{"x86-64-v3-vnni", "x86 with AVX2 and AVX-VNNI (client CPUs since 2021)", "x86_64-unknown-linux-gnu", "x86-64-v3",
        "+avxvnni", EMOE_MACHINE_X86_64, EMOE_CPU_AVX2 | EMOE_CPU_AVX_VNNI},
       {"avx2", "fma", "f16c", "bmi2", "avxvnni"}},
      {{"x86-64-v4-vnni", "x86 with AVX-512 and VNNI (servers since 2019, Zen 4)", "x86_64-unknown-linux-gnu",
        "x86-64-v4", "+avx512vnni,-prefer-256-bit", EMOE_MACHINE_X86_64,
        EMOE_CPU_AVX2 | EMOE_CPU_AVX512 | EMOE_CPU_AVX512_VNNI},
       {"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512vnni"}},
      {{"aarch64", "any 64-bit ARM (NEON)", "aarch64-unknown-linux-gnu", "generic", "+neon", EMOE_MACHINE_AARCH64, 0},
       {}},
      {{"aarch64-dotprod", "64-bit ARM with dot products (ARMv8.4, most cores since 2018)", "aarch64-unknown-linux-gnu",
        "generic", "+neon,+dotprod", EMOE_MACHINE_AARCH64, EMOE_CPU_NEON_DOTPROD},
       {"dotprod"}},
      {{"aarch64-i8mm", "64-bit ARM with matrix products of int8 (ARMv8.6, most cores since 2021)",
        "aarch64-unknown-linux-gnu", "generic", "+neon,+dotprod,+i8mm", EMOE_MACHINE_AARCH64,
        EMOE_CPU_NEON_DOTPROD | EMOE_CPU_NEON_I8MM},
       {"dotprod", "i8mm"}},
  };
  return *table;
}

} // namespace

absl::Span<const Target> allTargets() {
  static const std::vector<Target> *targets = [] {
    auto *list = new std::vector<Target>;
    for (const Entry &entry : entries()) {
      list->push_back(entry.target);
    }
    return list;
  }();
  return *targets;
}

const Target &avxVnniTwin() {
  static const Target *twin = [] {
    auto *target = new Target(**findTarget("x86-64-v3-vnni"));
    target->name += "-evex", target->features = "+avx512vnni,+avx512vl,+prefer-256-bit";
    return target;
  }();
  return *twin;
}

absl::StatusOr<const Target *> findTarget(std::string_view name) {
  absl::Span<const Target> targets = allTargets();
  if (name == "host") {
    llvm::Triple triple(llvm::sys::getProcessTriple());
    uint16_t machine = triple.getArch() == llvm::Triple::x86_64    ? EMOE_MACHINE_X86_64
                       : triple.getArch() == llvm::Triple::aarch64 ? EMOE_MACHINE_AARCH64
                                                                   : 0;
    llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
    for (size_t i = targets.size(); i-- > 0;) {
      bool runs = targets[i].machine == machine;
      for (const char *feature : entries()[i].hostFeatures) {
        runs = runs && features.lookup(feature);
      }
      if (runs) {
        return &targets[i];
      }
    }
    return absl::NotFoundError(absl::StrCat("no target for this machine (", triple.str(), "); name one: ",
                                            absl::StrJoin(targets, ", ", [](std::string *out, const Target &target) {
                                              absl::StrAppend(out, target.name);
                                            })));
  }
  for (const Target &target : targets) {
    if (target.name == name) {
      return &target;
    }
  }
  return absl::NotFoundError(absl::StrCat("no target is called '", absl::string_view(name.data(), name.size()),
                                          "'; there are host, ",
                                          absl::StrJoin(targets, ", ", [](std::string *out, const Target &target) {
                                            absl::StrAppend(out, target.name);
                                          })));
}

} // namespace emoe
