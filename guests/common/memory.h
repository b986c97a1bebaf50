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

/* All of standard input, or NULL when it does not fit; `size` is then how much of it did. Grows in place: nothing else
 * takes memory meanwhile. At least one byte behind it is free. */
static uint8_t *take_input(size_t *size) {
    size_t room = 1 << 20, used = 0;
    uint8_t *data = take_memory(room);
    for (uint8_t *more = data; more; room += 1 << 20) {
        for (size_t got; used < room; used += got)
            if (!(got = read_some(data + used, room - used))) {
                *size = used;
                return data;
            }
        more = take_memory(1 << 20);
    }
    *size = used;
    return NULL;
}

/* All of standard input; dies when it does not fit. */
static uint8_t *read_input(size_t *size) {
    uint8_t *data = take_input(size);
    if (!data) die(2, "not enough memory for an input of more than ", decimal(*size).digits, " bytes");
    return data;
}

#endif
