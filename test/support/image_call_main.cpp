// image_call IMAGE CALL: makes the call that the file CALL holds and writes the result to the same file.
#include <cstdio>

#include "test/support/image_call.h"

int main(int argc, char **argv) {
  std::vector<uint8_t> elf, bytes;
  if (argc != 3 || !emoe::test::readFile(argv[1], elf) || !emoe::test::readFile(argv[2], bytes)) {
    std::fprintf(stderr, "usage: image_call IMAGE CALL\n");
    return 2;
  }
  emoe::test::KernelCall call = emoe::test::deserialise(bytes);
  std::string problem = emoe::test::callKernel(elf, call);
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    return 1;
  }
  return emoe::test::writeFile(argv[2], emoe::test::serialise(call)) ? 0 : 2;
}
