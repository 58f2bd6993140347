#include "tools/emoe-rt/vocabulary.h"

#include <sys/mman.h>

#include "runtime/memory/arena.h"
#include "runtime/memory/usage.h"

namespace emoe::rt {
namespace {

Status EncodeIn(Arena *tables, Arena *scratch, Provider &provider, const Section &section, uint64_t budget,
                const char *text, size_t bytes, const EncodeOptions &options, int32_t *ids, size_t capacity,
                size_t *count) {
  RT_RETURN_IF_ERROR(tables->Map(section.length));
  RT_RETURN_IF_ERROR(ReadSection(provider, section, tables->base()));
  Tokenizer tokenizer;
  RT_RETURN_IF_ERROR(OpenTokenizer(tables->base(), section.length, &tokenizer));
  if (bytes > kLongestText) return Error(StatusCode::kUsage, "the text is too long; bytes:", bytes);
  uint64_t needed = EncodeScratchBytes(tokenizer, text, bytes);
  uint64_t used = AnonymousBytes();
  if (budget != 0 && (needed > budget || used > budget - needed)) {
    return Error(StatusCode::kBudget, "turning the text into tokens needs more than the memory budget; bytes needed:",
                 used + needed, budget);
  }
  if (needed != 0) RT_RETURN_IF_ERROR(scratch->Map(needed));
  RT_RETURN_IF_ERROR(
      Encode(tokenizer, text, bytes, options, scratch->base(), needed, ids, capacity, count));
  if (*count > capacity) {
    return Error(StatusCode::kUsage, "the text does not fit the context: raise --ctx above", *count, capacity);
  }
  return OkStatus();
}

}  // namespace

Status EncodeText(Provider &provider, const Section &section, uint64_t budget, const char *text, size_t bytes,
                  const EncodeOptions &options, int32_t *ids, size_t capacity, size_t *count) {
  *count = 0;
  Arena tables, scratch;
  Status status = EncodeIn(&tables, &scratch, provider, section, budget, text, bytes, options, ids, capacity, count);
  tables.Unmap();
  scratch.Unmap();
  return status;
}

}  // namespace emoe::rt
