// How large a bundle may be, for the compiler that writes it and the runtime that checks it (FORMAT.md, "validation").
// Far above today's models, low enough that no sum or product of sizes leaves 64 bits. C99, freestanding.
#ifndef EMOE_SCHEMA_LIMITS_H_
#define EMOE_SCHEMA_LIMITS_H_

#define EMOE_LIMIT_INDEX_BYTES (64u << 20)
#define EMOE_LIMIT_TABLES (1u << 18)       // FlatBuffers tables in the index, counted with repetitions
#define EMOE_LIMIT_NAME_BYTES 4096u        // of tensors, kernels, instruction sets, the policy, the architecture
#define EMOE_LIMIT_TEXT_BYTES (64u << 10)  // of provenance
#define EMOE_LIMIT_VOCAB (1u << 20)
#define EMOE_LIMIT_WIDTH (1u << 20)        // hidden size
#define EMOE_LIMIT_LAYERS 1024u            // decoder layers, attention layers, mixture layers
#define EMOE_LIMIT_CONTEXT (1u << 20)
#define EMOE_LIMIT_PREFILL_CHUNK (1u << 16)
#define EMOE_LIMIT_STOP_TOKENS 1024u
#define EMOE_LIMIT_TENSORS 65536u
#define EMOE_LIMIT_DIMENSION 0x7fffffffu   // rows or columns of a tensor
#define EMOE_LIMIT_BUFFERS 65536u
#define EMOE_LIMIT_KERNELS 65536u
#define EMOE_LIMIT_STEPS 65536u
#define EMOE_LIMIT_FIXED_BYTES (1ull << 40)  // `fixed` of a buffer or extent
#define EMOE_LIMIT_ROW_BYTES (1ull << 32)    // `per_token` and `per_position`
#define EMOE_LIMIT_TILES (1u << 24)          // each of tiles_fixed and tiles_per_token
#define EMOE_LIMIT_KV_HEADS 4096u
#define EMOE_LIMIT_HEAD_DIM 4096u
#define EMOE_LIMIT_STATES 2048u            // recurrent states
#define EMOE_LIMIT_STATE_BYTES (1ull << 32)  // of one state
#define EMOE_LIMIT_CACHE_CHOICES 1024u     // of the plan, and points of its hit curve
#define EMOE_LIMIT_NEXT_USE_BLOCKS (1u << 16)
#define EMOE_LIMIT_EXPERTS 4096u           // in a layer
#define EMOE_LIMIT_VARIANTS 64u            // in a layer
#define EMOE_LIMIT_RECORD_BYTES (1u << 30)
#define EMOE_LIMIT_RECORD_CHUNKS (1u << 15)
#define EMOE_LIMIT_IMAGES 64u
#define EMOE_LIMIT_IMAGE_BYTES (256u << 20)  // of the file, and of the memory that it is mapped to

#endif  // EMOE_SCHEMA_LIMITS_H_
