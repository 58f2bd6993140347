// The fixed part of a bundle file: header and section table. C99, freestanding; FORMAT.md explains it byte by byte.
// All integers are little-endian.
#ifndef EMOE_SCHEMA_FORMAT_H_
#define EMOE_SCHEMA_FORMAT_H_

#include <stdint.h>

#define EMOE_MAGIC "EMOE\r\n\x1a\n"  // 8 bytes; line-ending conversion breaks it visibly

enum {
  EMOE_FORMAT_MAJOR = 1,
  EMOE_FORMAT_MINOR = 0,
  EMOE_SECTION_ALIGN = 4096,
  EMOE_MAX_SECTIONS = 32,
  EMOE_CHUNK_BYTES = 256 * 1024  // largest run of bytes under one CRC-32C in an expert record
};

enum emoe_section_type {
  EMOE_SECTION_INDEX = 1,      // FlatBuffer, schema/bundle.fbs
  EMOE_SECTION_RESIDENT = 2,   // one blob, read whole at open
  EMOE_SECTION_EXPERTS = 3,    // records, read one by one; checked by the index's chunk checksums
  EMOE_SECTION_KERNELS = 4,    // ELF images, one per instruction set
  EMOE_SECTION_TOKENIZER = 5,  // tables, FORMAT.md "tokenizer"
  EMOE_SECTION_TABLES = 6      // activation probabilities, FORMAT.md "predictor tables"
};

// What is there of a mixture layer's predictor tables (FORMAT.md, "predictor tables").
enum {
  EMOE_PREDICTOR_PRIOR = 1,
  EMOE_PREDICTOR_REPEAT = 2,
  EMOE_PREDICTOR_NEAR = 4,
  EMOE_PREDICTOR_FAR = 8,
  EMOE_PREDICTOR_RANKS = 16,
  EMOE_PREDICTOR_KEYS = 32
};

// 64 bytes, at offset 0; section_count emoe_section entries follow, then zeros up to EMOE_SECTION_ALIGN.
typedef struct emoe_header {
  uint8_t magic[8];
  uint16_t major;              // readers refuse another major
  uint16_t minor;              // readers accept any minor of their major
  uint32_t section_count;      // 1 .. EMOE_MAX_SECTIONS
  uint64_t required_features;  // an unknown bit: refuse, "needs a newer emoe-rt"
  uint64_t optional_features;  // an unknown bit: ignore
  uint64_t file_bytes;         // must equal the file's size
  uint8_t reserved[20];        // zero
  uint32_t header_crc;         // CRC-32C of the header with this field zero, and of the section table
} emoe_header;

// 32 bytes. Sections lie in table order, each at the first multiple of EMOE_SECTION_ALIGN after the one before;
// the gaps are zero and the file ends with the last section's padding. Each type appears at most once.
typedef struct emoe_section {
  uint32_t type;      // emoe_section_type; an unknown type is refused
  uint32_t crc;       // CRC-32C of the section; 0 for EMOE_SECTION_EXPERTS, whose chunks are checked one by one
  uint64_t offset;
  uint64_t length;    // bytes without padding
  uint64_t reserved;  // zero
} emoe_section;

#endif  // EMOE_SCHEMA_FORMAT_H_
