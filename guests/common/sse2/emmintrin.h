/* The part of SSE2 that libwebp uses, in WebAssembly's SIMD, which has nearly all of it one to one: so its hot loops run
 * as they are written for x86. Values only: no rounding mode, no alignment, nothing of floats.
 */
#ifndef INSITU_EMMINTRIN_H
#define INSITU_EMMINTRIN_H

#include <stdint.h>
#include <string.h>
#include <wasm_simd128.h>

typedef v128_t __m128i;

#define SSE2 static inline __attribute__((always_inline, nodebug, unused))

SSE2 __m128i _mm_loadu_si128(const void *at) { return wasm_v128_load(at); }
SSE2 __m128i _mm_load_si128(const void *at) { return wasm_v128_load(at); }
SSE2 void _mm_storeu_si128(void *at, __m128i a) { wasm_v128_store(at, a); }
SSE2 void _mm_store_si128(void *at, __m128i a) { wasm_v128_store(at, a); }
SSE2 __m128i _mm_loadl_epi64(const void *at) { return wasm_v128_load64_zero(at); }
SSE2 void _mm_storel_epi64(void *at, __m128i a) { wasm_v128_store64_lane(at, a, 0); }
SSE2 __m128i _mm_cvtsi32_si128(int a) { return wasm_i32x4_make(a, 0, 0, 0); }
SSE2 int _mm_cvtsi128_si32(__m128i a) { return wasm_i32x4_extract_lane(a, 0); }

SSE2 __m128i _mm_setzero_si128(void) { return wasm_i32x4_const(0, 0, 0, 0); }
SSE2 __m128i _mm_set1_epi8(char a) { return wasm_i8x16_splat(a); }
SSE2 __m128i _mm_set1_epi16(short a) { return wasm_i16x8_splat(a); }
SSE2 __m128i _mm_set1_epi32(int a) { return wasm_i32x4_splat(a); }
SSE2 __m128i _mm_set_epi32(int d, int c, int b, int a) { return wasm_i32x4_make(a, b, c, d); }
SSE2 __m128i _mm_set_epi16(short h, short g, short f, short e, short d, short c, short b, short a) {
    return wasm_i16x8_make(a, b, c, d, e, f, g, h);
}
#define _mm_setr_epi8(...) wasm_i8x16_make(__VA_ARGS__)
SSE2 __m128i _mm_set_epi8(char p, char o, char n, char m, char l, char k, char j, char i, char h, char g, char f, char e, char d, char c, char b, char a) {
    return wasm_i8x16_make(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
}

SSE2 __m128i _mm_and_si128(__m128i a, __m128i b) { return wasm_v128_and(a, b); }
SSE2 __m128i _mm_or_si128(__m128i a, __m128i b) { return wasm_v128_or(a, b); }
SSE2 __m128i _mm_xor_si128(__m128i a, __m128i b) { return wasm_v128_xor(a, b); }
SSE2 __m128i _mm_andnot_si128(__m128i a, __m128i b) { return wasm_v128_andnot(b, a); }

SSE2 __m128i _mm_add_epi8(__m128i a, __m128i b) { return wasm_i8x16_add(a, b); }
SSE2 __m128i _mm_add_epi16(__m128i a, __m128i b) { return wasm_i16x8_add(a, b); }
SSE2 __m128i _mm_add_epi32(__m128i a, __m128i b) { return wasm_i32x4_add(a, b); }
SSE2 __m128i _mm_add_epi64(__m128i a, __m128i b) { return wasm_i64x2_add(a, b); }
SSE2 __m128i _mm_sub_epi8(__m128i a, __m128i b) { return wasm_i8x16_sub(a, b); }
SSE2 __m128i _mm_sub_epi16(__m128i a, __m128i b) { return wasm_i16x8_sub(a, b); }
SSE2 __m128i _mm_sub_epi32(__m128i a, __m128i b) { return wasm_i32x4_sub(a, b); }
SSE2 __m128i _mm_sub_epi64(__m128i a, __m128i b) { return wasm_i64x2_sub(a, b); }
SSE2 __m128i _mm_adds_epi8(__m128i a, __m128i b) { return wasm_i8x16_add_sat(a, b); }
SSE2 __m128i _mm_adds_epi16(__m128i a, __m128i b) { return wasm_i16x8_add_sat(a, b); }
SSE2 __m128i _mm_adds_epu8(__m128i a, __m128i b) { return wasm_u8x16_add_sat(a, b); }
SSE2 __m128i _mm_adds_epu16(__m128i a, __m128i b) { return wasm_u16x8_add_sat(a, b); }
SSE2 __m128i _mm_subs_epi8(__m128i a, __m128i b) { return wasm_i8x16_sub_sat(a, b); }
SSE2 __m128i _mm_subs_epi16(__m128i a, __m128i b) { return wasm_i16x8_sub_sat(a, b); }
SSE2 __m128i _mm_subs_epu8(__m128i a, __m128i b) { return wasm_u8x16_sub_sat(a, b); }
SSE2 __m128i _mm_subs_epu16(__m128i a, __m128i b) { return wasm_u16x8_sub_sat(a, b); }
SSE2 __m128i _mm_avg_epu8(__m128i a, __m128i b) { return wasm_u8x16_avgr(a, b); }
SSE2 __m128i _mm_min_epi16(__m128i a, __m128i b) { return wasm_i16x8_min(a, b); }
SSE2 __m128i _mm_max_epi16(__m128i a, __m128i b) { return wasm_i16x8_max(a, b); }
SSE2 __m128i _mm_min_epu8(__m128i a, __m128i b) { return wasm_u8x16_min(a, b); }
SSE2 __m128i _mm_max_epu8(__m128i a, __m128i b) { return wasm_u8x16_max(a, b); }

SSE2 __m128i _mm_mullo_epi16(__m128i a, __m128i b) { return wasm_i16x8_mul(a, b); }
SSE2 __m128i _mm_madd_epi16(__m128i a, __m128i b) { return wasm_i32x4_dot_i16x8(a, b); }
/* The upper halves of the products. */
SSE2 __m128i _mm_mulhi_epi16(__m128i a, __m128i b) {
    return wasm_i16x8_shuffle(wasm_i32x4_extmul_low_i16x8(a, b), wasm_i32x4_extmul_high_i16x8(a, b), 1, 3, 5, 7, 9, 11, 13, 15);
}
SSE2 __m128i _mm_mulhi_epu16(__m128i a, __m128i b) {
    return wasm_i16x8_shuffle(wasm_u32x4_extmul_low_u16x8(a, b), wasm_u32x4_extmul_high_u16x8(a, b), 1, 3, 5, 7, 9, 11, 13, 15);
}
/* Of each pair of 32 bits the first. */
SSE2 __m128i _mm_mul_epu32(__m128i a, __m128i b) {
    return wasm_u64x2_extmul_low_u32x4(wasm_i32x4_shuffle(a, a, 0, 2, 0, 2), wasm_i32x4_shuffle(b, b, 0, 2, 0, 2));
}
/* The sum of the eight differences in either half. */
SSE2 __m128i _mm_sad_epu8(__m128i a, __m128i b) {
    __m128i difference = wasm_v128_or(wasm_u8x16_sub_sat(a, b), wasm_u8x16_sub_sat(b, a));
    __m128i four = wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(difference));
    __m128i two = wasm_i32x4_add(four, wasm_i32x4_shuffle(four, four, 1, 0, 3, 2));
    return wasm_v128_and(two, wasm_i32x4_const(-1, 0, -1, 0));
}

/* A count that is no less than the width gives zero, or the sign. */
SSE2 __m128i _mm_slli_epi16(__m128i a, int n) { return n > 15 ? _mm_setzero_si128() : wasm_i16x8_shl(a, (uint32_t)n); }
SSE2 __m128i _mm_slli_epi64(__m128i a, int n) { return n > 63 ? _mm_setzero_si128() : wasm_i64x2_shl(a, (uint32_t)n); }
SSE2 __m128i _mm_srli_epi16(__m128i a, int n) { return n > 15 ? _mm_setzero_si128() : wasm_u16x8_shr(a, (uint32_t)n); }
SSE2 __m128i _mm_srli_epi32(__m128i a, int n) { return n > 31 ? _mm_setzero_si128() : wasm_u32x4_shr(a, (uint32_t)n); }
SSE2 __m128i _mm_srli_epi64(__m128i a, int n) { return n > 63 ? _mm_setzero_si128() : wasm_u64x2_shr(a, (uint32_t)n); }
SSE2 __m128i _mm_srai_epi16(__m128i a, int n) { return wasm_i16x8_shr(a, n > 15 ? 15 : (uint32_t)n); }
SSE2 __m128i _mm_srai_epi32(__m128i a, int n) { return wasm_i32x4_shr(a, n > 31 ? 31 : (uint32_t)n); }
#define _mm_srli_si128(a, n) \
    wasm_i8x16_shuffle((a), _mm_setzero_si128(), (n), (n) + 1, (n) + 2, (n) + 3, (n) + 4, (n) + 5, (n) + 6, (n) + 7, (n) + 8, (n) + 9, \
                       (n) + 10, (n) + 11, (n) + 12, (n) + 13, (n) + 14, (n) + 15)
#define _mm_slli_si128(a, n) \
    wasm_i8x16_shuffle(_mm_setzero_si128(), (a), 16 - (n), 17 - (n), 18 - (n), 19 - (n), 20 - (n), 21 - (n), 22 - (n), 23 - (n), \
                       24 - (n), 25 - (n), 26 - (n), 27 - (n), 28 - (n), 29 - (n), 30 - (n), 31 - (n))

SSE2 __m128i _mm_cmpeq_epi8(__m128i a, __m128i b) { return wasm_i8x16_eq(a, b); }
SSE2 __m128i _mm_cmpeq_epi16(__m128i a, __m128i b) { return wasm_i16x8_eq(a, b); }
SSE2 __m128i _mm_cmpeq_epi32(__m128i a, __m128i b) { return wasm_i32x4_eq(a, b); }
SSE2 __m128i _mm_cmpgt_epi8(__m128i a, __m128i b) { return wasm_i8x16_gt(a, b); }
SSE2 __m128i _mm_cmpgt_epi16(__m128i a, __m128i b) { return wasm_i16x8_gt(a, b); }
SSE2 __m128i _mm_cmpgt_epi32(__m128i a, __m128i b) { return wasm_i32x4_gt(a, b); }
SSE2 int _mm_movemask_epi8(__m128i a) { return (int)wasm_i8x16_bitmask(a); }

SSE2 __m128i _mm_packs_epi16(__m128i a, __m128i b) { return wasm_i8x16_narrow_i16x8(a, b); }
SSE2 __m128i _mm_packus_epi16(__m128i a, __m128i b) { return wasm_u8x16_narrow_i16x8(a, b); }
SSE2 __m128i _mm_packs_epi32(__m128i a, __m128i b) { return wasm_i16x8_narrow_i32x4(a, b); }
SSE2 __m128i _mm_unpacklo_epi8(__m128i a, __m128i b) {
    return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
SSE2 __m128i _mm_unpackhi_epi8(__m128i a, __m128i b) {
    return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
SSE2 __m128i _mm_unpacklo_epi16(__m128i a, __m128i b) { return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
SSE2 __m128i _mm_unpackhi_epi16(__m128i a, __m128i b) { return wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
SSE2 __m128i _mm_unpacklo_epi32(__m128i a, __m128i b) { return wasm_i32x4_shuffle(a, b, 0, 4, 1, 5); }
SSE2 __m128i _mm_unpackhi_epi32(__m128i a, __m128i b) { return wasm_i32x4_shuffle(a, b, 2, 6, 3, 7); }
SSE2 __m128i _mm_unpacklo_epi64(__m128i a, __m128i b) { return wasm_i64x2_shuffle(a, b, 0, 2); }
SSE2 __m128i _mm_unpackhi_epi64(__m128i a, __m128i b) { return wasm_i64x2_shuffle(a, b, 1, 3); }

/* The four places are given by two bits each. */
#define _MM_SHUFFLE(d, c, b, a) (((d) << 6) | ((c) << 4) | ((b) << 2) | (a))
#define _mm_shuffle_epi32(a, n) wasm_i32x4_shuffle((a), (a), (n) & 3, (n) >> 2 & 3, (n) >> 4 & 3, (n) >> 6 & 3)
#define _mm_shufflelo_epi16(a, n) wasm_i16x8_shuffle((a), (a), (n) & 3, (n) >> 2 & 3, (n) >> 4 & 3, (n) >> 6 & 3, 4, 5, 6, 7)
#define _mm_shufflehi_epi16(a, n) \
    wasm_i16x8_shuffle((a), (a), 0, 1, 2, 3, 4 + ((n) & 3), 4 + ((n) >> 2 & 3), 4 + ((n) >> 4 & 3), 4 + ((n) >> 6 & 3))
#define _mm_insert_epi16(a, b, n) wasm_i16x8_replace_lane((a), (n), (short)(b))
#define _mm_extract_epi16(a, n) ((int)wasm_u16x8_extract_lane((a), (n)))

#endif
