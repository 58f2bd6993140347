#include <stdlib.h>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/check.h"
#include "runtime/bundle/index.h"
#include "runtime/bundle/sections.h"

namespace emoe::rt {
namespace {

Status ReadAndCheckIndex(Provider &provider, Bundle *bundle, void **memory) {
  const size_t bytes = bundle->index.length;  // <= 64 MiB, and the file has them
  *memory = malloc(bytes);
  if (*memory == nullptr) return Error(StatusCode::kBudget, "no memory for the index (bytes)", bytes);
  RT_RETURN_IF_ERROR(ReadSection(provider, bundle->index, *memory));
  RT_RETURN_IF_ERROR(ReadIndex(memory, bytes, bundle));
  return CheckIndex(*bundle);
}

}  // namespace

Status OpenBundle(Provider &provider, Bundle *out) {
  Bundle bundle;
  RT_RETURN_IF_ERROR(ReadSections(provider, &bundle));
  if (bundle.has_model) {
    void *memory = nullptr;
    Status status = ReadAndCheckIndex(provider, &bundle, &memory);
    if (!status.ok()) {
      free(memory);
      return status;
    }
  }
  *out = bundle;
  return OkStatus();
}

void CloseBundle(Bundle *bundle) {
  free(bundle->memory);
  *bundle = Bundle();
}

}  // namespace emoe::rt
