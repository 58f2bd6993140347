// onnx_seeds FOLDER: writes small models for onnx_fuzz to start from; the shipped ones are larger than what it tries.
#include <filesystem>
#include <fstream>

#include "test/support/small_onnx.h"

int main(int argc, char **argv) {
  if (argc != 2) {
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  auto write = [&](const char *name, const std::string &bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return std::filesystem::file_size(folder / name) == bytes.size();
  };
  bool written = write("decoder.onnx", emoe::test::onnxDecoder()) &&
                 write("everything.onnx", emoe::test::onnxOfEverything());
  // Each damaged a few times: other places of the reader from the first run on.
  for (unsigned seed = 0; seed < 16; ++seed) {
    written = written && write(("damaged" + std::to_string(seed) + ".onnx").c_str(),
                               emoe::test::damaged(emoe::test::onnxOfEverything(), seed));
  }
  return written ? 0 : 1;
}
