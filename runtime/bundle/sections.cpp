#include "runtime/bundle/sections.h"

#include <string.h>

#include "runtime/bundle/checked.h"
#include "runtime/bundle/crc32c.h"
#include "schema/format.h"
#include "schema/limits.h"

namespace emoe::rt {
namespace {

static_assert(sizeof(emoe_header) == 64 && offsetof(emoe_header, header_crc) == 60, "FORMAT.md, header");
static_assert(sizeof(emoe_section) == 32, "FORMAT.md, section table");

constexpr uint64_t kKnownFeatures = 0;

Status Bad(const char *what, uint64_t detail = 0, uint64_t detail2 = 0) {
  return Error(StatusCode::kBadBundle, what, detail, detail2);
}

bool AllZero(const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

Status CheckZeros(Provider &provider, uint64_t begin, uint64_t end) {
  uint8_t gap[EMOE_SECTION_ALIGN];  // a gap is shorter than the alignment
  RT_RETURN_IF_ERROR(provider.Read(begin, gap, end - begin));
  return AllZero(gap, end - begin) ? OkStatus() : Bad("padding: not zero (offset)", begin);
}

Section *SectionOf(Bundle *bundle, uint32_t type) {
  switch (type) {
    case EMOE_SECTION_INDEX: return &bundle->index;
    case EMOE_SECTION_RESIDENT: return &bundle->resident;
    case EMOE_SECTION_EXPERTS: return &bundle->experts;
    case EMOE_SECTION_KERNELS: return &bundle->kernels;
    case EMOE_SECTION_TOKENIZER: return &bundle->tokenizer;
    case EMOE_SECTION_TABLES: return &bundle->tables;
    default: return nullptr;
  }
}

// Magic, version and checksum: what follows was written so by some writer.
Status CheckHeader(const uint8_t *page, emoe_header *header) {
  memcpy(header, page, sizeof(*header));
  if (memcmp(header->magic, EMOE_MAGIC, sizeof(header->magic)) != 0) return Bad("header: this is no emoe bundle");
  if (header->major != EMOE_FORMAT_MAJOR) {
    return Error(StatusCode::kUnsupported, "header: another format version; this emoe-rt reads 1 (major version)",
                 header->major);
  }
  if (header->section_count == 0 || header->section_count > EMOE_MAX_SECTIONS) {
    return Bad("header: number of sections is out of range (sections)", header->section_count);
  }
  const size_t used = sizeof(emoe_header) + header->section_count * sizeof(emoe_section);
  emoe_header unsigned_header = *header;
  unsigned_header.header_crc = 0;
  uint32_t crc = Crc32c(&unsigned_header, sizeof(unsigned_header));
  crc = Crc32c(page + sizeof(emoe_header), used - sizeof(emoe_header), crc);
  if (crc != header->header_crc) return Bad("header: damaged (CRC-32C there, expected)", crc, header->header_crc);
  if (!AllZero(page + used, EMOE_SECTION_ALIGN - used)) return Bad("padding: not zero (offset)", used);
  if (!AllZero(header->reserved, sizeof(header->reserved))) return Bad("header: reserved bytes are not zero");
  if (header->required_features & ~kKnownFeatures) {
    return Error(StatusCode::kUnsupported, "header: the bundle needs a newer emoe-rt (unknown feature bits)",
                 header->required_features & ~kKnownFeatures);
  }
  return OkStatus();
}

Status CheckSection(const emoe_section &entry, uint64_t number, uint64_t expected_offset, uint64_t file_bytes) {
  if (entry.offset != expected_offset) {
    return Bad("section: does not follow the one before (section, offset)", number, entry.offset);
  }
  if (!FitsIn(entry.offset, entry.length, file_bytes)) {
    return Bad("section: leaves the file (section, length)", number, entry.length);
  }
  if (entry.length == 0 && entry.type != EMOE_SECTION_EXPERTS && entry.type != EMOE_SECTION_RESIDENT) {
    return Bad("section: empty (section)", number);
  }
  if (entry.type == EMOE_SECTION_EXPERTS && (entry.crc != 0 || entry.length % EMOE_SECTION_ALIGN != 0)) {
    return Bad("section: experts have a checksum or a length that is no multiple of 4096 (section)", number);
  }
  if (entry.type == EMOE_SECTION_INDEX && entry.length > EMOE_LIMIT_INDEX_BYTES) {
    return Bad("section: the index is larger than 64 MiB (section, length)", number, entry.length);
  }
  if (entry.reserved != 0) return Bad("section: reserved bytes are not zero (section)", number);
  return OkStatus();
}

}  // namespace

Status ReadSections(Provider &provider, Bundle *bundle) {
  const uint64_t size = provider.size();
  if (size < EMOE_SECTION_ALIGN) return Bad("header: the file is too short to be a bundle (bytes)", size);
  alignas(8) uint8_t page[EMOE_SECTION_ALIGN];
  RT_RETURN_IF_ERROR(provider.Read(0, page, sizeof(page)));
  emoe_header header;
  RT_RETURN_IF_ERROR(CheckHeader(page, &header));
  if (header.file_bytes != size) {
    return Bad("header: the file is cut short or has bytes behind its end (bytes there, expected)", size,
               header.file_bytes);
  }

  uint64_t end = EMOE_SECTION_ALIGN;
  for (uint32_t i = 0; i < header.section_count; ++i) {
    emoe_section entry;
    memcpy(&entry, page + sizeof(emoe_header) + i * sizeof(entry), sizeof(entry));
    Section *section = SectionOf(bundle, entry.type);
    if (section == nullptr) return Bad("section: unknown type (section, type)", i, entry.type);
    if (section->present) return Bad("section: two of one type (section, type)", i, entry.type);
    RT_RETURN_IF_ERROR(CheckSection(entry, i, end, size));
    const uint64_t stop = entry.offset + entry.length;  // at most `size`
    if (!CheckedRoundUp(stop, EMOE_SECTION_ALIGN, &end) || end > size) {
      return Bad("section: its padding leaves the file (section, length)", i, entry.length);
    }
    RT_RETURN_IF_ERROR(CheckZeros(provider, stop, end));
    *section = {entry.offset, entry.length, entry.crc, true, entry.type};
  }
  if (end != size) return Bad("header: bytes behind the last section (end of sections, bytes there)", end, size);

  const int parts = bundle->index.present + bundle->resident.present + bundle->experts.present + bundle->kernels.present;
  bundle->has_model = parts == 4;
  const bool tokenizer_alone = header.section_count == 1 && bundle->tokenizer.present;
  if (!bundle->has_model && !tokenizer_alone) {
    return Bad("header: a section is missing; a bundle has index, resident, experts and kernels, or a tokenizer alone");
  }
  return OkStatus();
}

}  // namespace emoe::rt
