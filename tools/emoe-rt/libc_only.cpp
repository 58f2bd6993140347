// What the C++ compiler refers to even without exceptions and RTTI, so that no C++ library is linked. Nothing is ever
// deleted: objects with virtual destructors live in arenas or on the stack.
#include <stddef.h>
#include <stdlib.h>

extern "C" [[noreturn]] void __cxa_pure_virtual() { abort(); }
void operator delete(void *at) noexcept { free(at); }
void operator delete(void *at, size_t) noexcept { free(at); }
