#include "test/support/image_runner.h"

#include <cstdlib>
#include <map>
#include <unistd.h>

#include "gtest/gtest.h"
#include "mlir/IR/MLIRContext.h"
#include "schema/kernel_abi.h"

namespace emoe::test {

const std::vector<const Target *> &runnableTargets() {
  static const std::vector<const Target *> *targets = [] {
    auto *list = new std::vector<const Target *>;
    const Target *host = nullptr;
    if (auto found = findTarget("host"); found.ok()) {
      host = *found;
    }
    for (const Target &target : allTargets()) {
      bool native = host && target.machine == host->machine &&
                    (target.cpuFeatures & ~host->cpuFeatures) == 0;
      bool emulated = target.machine == EMOE_MACHINE_AARCH64 && *EMOE_IMAGE_CALL_AARCH64 != '\0';
      if (native || emulated) {
        list->push_back(&target);
      }
    }
    if (host && (host->cpuFeatures & EMOE_CPU_AVX512_VNNI)) {
      list->push_back(&avxVnniTwin());
    }
    return list;
  }();
  return *targets;
}

const KernelImage &imageFor(const std::vector<KernelSpec> &specs, const Target &target) {
  static auto *context = new mlir::MLIRContext(mlir::MLIRContext::Threading::DISABLED);
  static auto *images = new std::map<std::string, KernelImage>;
  std::string key = target.name;
  for (const KernelSpec &spec : specs) {
    key += "," + kernelName(spec);
  }
  auto it = images->find(key);
  if (it == images->end()) {
    ImageOptions options;
    if (const char *folder = std::getenv("EMOE_SAVE_TEMPS")) {
      options.saveTemps = folder;
    }
    absl::StatusOr<KernelImage> image = compileImage(specs, target, *context, options);
    if (!image.ok()) {
      ADD_FAILURE() << key << ": " << image.status();
    }
    it = images->insert({key, image.ok() ? *image : KernelImage()}).first;
  }
  return it->second;
}

static std::string runEmulated(const std::vector<uint8_t> &elf, KernelCall &call) {
  std::string base = ::testing::TempDir() + "emoe_image_call_" + std::to_string(getpid());
  std::string image = base + ".so", data = base + ".call";
  std::string problem;
  if (!writeFile(image, elf) || !writeFile(data, serialise(call))) {
    problem = "cannot write " + base;
  } else {
    std::string command = EMOE_QEMU " -cpu max '" EMOE_IMAGE_CALL_AARCH64 "' '" + image + "' '" + data + "'";
    int code = std::system(command.c_str());
    std::vector<uint8_t> bytes;
    if (code != 0) {
      problem = "the emulated call failed with " + std::to_string(code);
    } else if (!readFile(data, bytes)) {
      problem = "no result in " + data;
    } else {
      call = deserialise(bytes);
    }
  }
  unlink(image.c_str());
  unlink(data.c_str());
  return problem;
}

std::string runImage(const KernelImage &image, uint64_t entry, const Target &target, int64_t tiles, KernelCall &call) {
  if (image.elf.empty()) {
    return "no image";
  }
  call.entry = entry;
  if (call.lastTile == 0) {
    call.lastTile = tiles;
  }
  auto host = findTarget("host");
  bool native = host.ok() && (*host)->machine == target.machine;
  return native ? callKernel(image.elf, call) : runEmulated(image.elf, call);
}

std::string runKernel(const KernelSpec &spec, const Target &target, KernelCall &call) {
  const KernelImage &image = imageFor({spec}, target);
  TileCount tiles = tileCount(spec);
  return runImage(image, image.entries.empty() ? 0 : image.entries[0], target,
                  tiles.fixed + tiles.perToken * call.tokens, call);
}

} // namespace emoe::test
