// Loads a kernel image into this process and calls one kernel, its operands between guard bytes and guard pages. Part
// of the unit tests, and of the small program that runs images of other machines under an emulator.
#ifndef EMOE_TEST_SUPPORT_IMAGE_CALL_H_
#define EMOE_TEST_SUPPORT_IMAGE_CALL_H_

#include <cstdint>
#include <string>
#include <vector>

namespace emoe::test {

struct KernelCall {
  uint64_t entry = 0;  // virtual address in the image
  int64_t tokens = 1, position = 0, capacity = 0, source = 0;
  int64_t firstTile = 0, lastTile = 0;
  std::vector<int32_t> rowsIn, rowsOut;              // empty: null
  std::vector<std::vector<uint8_t>> operands;        // in and out; an empty one is a null pointer
};

// Runs the call and replaces call.operands by what they are afterwards. The result is empty, or what went wrong: an
// image that breaks the loader's rules, or a write outside the operands. An access further off is a fault.
std::string callKernel(const std::vector<uint8_t> &elf, KernelCall &call);

// The call as bytes, and back.
std::vector<uint8_t> serialise(const KernelCall &call);
KernelCall deserialise(const std::vector<uint8_t> &bytes);

bool readFile(const std::string &path, std::vector<uint8_t> &out);
bool writeFile(const std::string &path, const std::vector<uint8_t> &bytes);

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_IMAGE_CALL_H_
