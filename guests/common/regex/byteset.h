/* Looking for any byte of a set, sixteen at a time. A byte's lower half picks a row of the set, its upper half a bit of
 * that row; as a row has sixteen bits there are two tables, for the bytes below 128 and for those above.
 */
#ifndef INSITU_REGEX_BYTESET_H
#define INSITU_REGEX_BYTESET_H

#include "../bytes.h"
#include "pattern.h"

typedef struct {
    uint8_t below[16], above[16];
} ByteFinder;

static ByteFinder byte_finder_of(const ByteSet *set) {
    ByteFinder finder = {0};
    for (int byte = 0; byte < 256; byte++)
        if (set_has(set, (uint8_t)byte)) (byte < 128 ? finder.below : finder.above)[byte & 15] |= (uint8_t)(1 << (byte >> 4 & 7));
    return finder;
}

/* The first byte of [at, end) that is in the set, or `end`. BYTES_AFTER bytes behind the end must be readable. */
static inline const uint8_t *find_byte_of(const ByteFinder *finder, const uint8_t *at, const uint8_t *end) {
    const v128_t below = wasm_v128_load(finder->below), above = wasm_v128_load(finder->above);
    const v128_t bits = wasm_u8x16_make(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);
    for (; at < end; at += 16) {
        v128_t bytes = wasm_v128_load(at), index = wasm_v128_and(bytes, wasm_u8x16_splat(0x8f));
        /* An index above 15 gives 0: so each table answers for its own half. */
        v128_t rows = wasm_v128_or(wasm_i8x16_swizzle(below, index),
                                   wasm_i8x16_swizzle(above, wasm_v128_xor(index, wasm_u8x16_splat(0x80))));
        v128_t found = wasm_v128_and(rows, wasm_i8x16_swizzle(bits, wasm_u8x16_shr(bytes, 4)));
        if (wasm_v128_any_true(found)) {
            at += __builtin_ctz(~wasm_i8x16_bitmask(wasm_i8x16_eq(found, wasm_i8x16_splat(0))));
            return at < end ? at : end;
        }
    }
    return end;
}

#endif
