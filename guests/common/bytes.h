/* Looking for a byte, sixteen at a time and in line: most lines and fields are short, and a call to memchr() costs more
 * than the search.
 *
 * What is searched must be readable for BYTES_AFTER bytes beyond its end; what lies there does not matter.
 */
#ifndef INSITU_BYTES_H
#define INSITU_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define BYTES_AFTER 16

/* Bit i is set where byte i at `at` is `wanted`. */
static inline uint32_t bytes_equal(const uint8_t *at, uint8_t wanted) {
    return wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(at), wasm_u8x16_splat(wanted)));
}

/* The first `wanted` of [at, end), or `end`. */
static inline const uint8_t *find_byte(const uint8_t *at, const uint8_t *end, uint8_t wanted) {
    for (; at < end; at += 16) {
        uint32_t found = bytes_equal(at, wanted);
        if (found) {
            at += __builtin_ctz(found);
            return at < end ? at : end;
        }
    }
    return end;
}

/* The last `wanted` of [begin, end), or NULL. */
static inline const uint8_t *find_last_byte(const uint8_t *begin, const uint8_t *end, uint8_t wanted) {
    while ((size_t)(end - begin) >= 16) {
        uint32_t found = bytes_equal(end - 16, wanted);
        if (found) return end - 16 + (31 - __builtin_clz(found));
        end -= 16;
    }
    while (end > begin)
        if (*--end == wanted) return end;
    return NULL;
}

/* How many bytes of [at, end) are `wanted`. */
static inline size_t count_bytes(const uint8_t *at, const uint8_t *end, uint8_t wanted) {
    size_t count = 0;
    for (; (size_t)(end - at) >= 16; at += 16) count += (size_t)__builtin_popcount(bytes_equal(at, wanted));
    for (; at < end; at++) count += *at == wanted;
    return count;
}

#endif
