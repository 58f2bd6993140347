// A reader of .safetensors files for tests: reference ids and logits. It trusts its input.
#ifndef EMOE_TEST_SUPPORT_SAFETENSORS_H_
#define EMOE_TEST_SUPPORT_SAFETENSORS_H_

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "llvm/Support/JSON.h"

namespace emoe::test {

struct SafeTensor {
  std::string type; // "F32", "I64", ...
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  template <typename T> std::vector<T> as() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }
};

// The tensor called `name` in the file at `path`; an empty type if there is none.
inline SafeTensor readSafeTensor(const std::string &path, llvm::StringRef name) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  SafeTensor tensor;
  uint64_t header = 0;
  if (all.size() < sizeof(header)) {
    return tensor;
  }
  std::memcpy(&header, all.data(), sizeof(header));
  auto json = llvm::json::parse(llvm::StringRef(all.data() + sizeof(header), header));
  if (!json) {
    llvm::consumeError(json.takeError());
    return tensor;
  }
  const llvm::json::Object *entry = json->getAsObject()->getObject(name);
  if (!entry) {
    return tensor;
  }
  tensor.type = entry->getString("dtype")->str();
  for (const llvm::json::Value &extent : *entry->getArray("shape")) {
    tensor.shape.push_back(*extent.getAsInteger());
  }
  const char *data = all.data() + sizeof(header) + header;
  const llvm::json::Array &range = *entry->getArray("data_offsets");
  tensor.bytes.assign(data + *range[0].getAsInteger(), data + *range[1].getAsInteger());
  return tensor;
}

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_SAFETENSORS_H_
