/* Memory straight from WebAssembly, for the few large pieces: malloc() here rounds each up to a power of two, which can
 * nearly double what a guest takes. Nothing is ever given back: a guest lives for one launch.
 */
#ifndef INSITU_MEMORY_H
#define INSITU_MEMORY_H

#include "io.h"

#define PAGE_SIZE ((size_t)64 << 10)

/* At least `size` bytes at a new place, all zero; NULL when the sandbox does not allow it. */
static void *take_memory(size_t size) {
    if (size > SIZE_MAX - PAGE_SIZE) return NULL;
    size_t page = __builtin_wasm_memory_grow(0, (size + PAGE_SIZE - 1) / PAGE_SIZE);
    return page == SIZE_MAX ? NULL : (void *)(page * PAGE_SIZE);
}

/* All of standard input; dies when it does not fit. Grows in place: nothing else takes memory meanwhile. */
static uint8_t *read_input(size_t *size) {
    size_t room = 1 << 20, used = 0;
    uint8_t *data = take_memory(room);
    for (uint8_t *more = data;;) {
        if (!more) die(2, "not enough memory for an input of more than ", decimal(used).digits, " bytes");
        while (used < room) {
            size_t got = read_some(data + used, room - used);
            if (!got) {
                *size = used;
                return data;
            }
            used += got;
        }
        more = take_memory(1 << 20);
        room += 1 << 20;
    }
}

#endif
