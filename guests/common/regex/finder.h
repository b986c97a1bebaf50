/* Looking for a few short words at once, sixteen places at a time.
 *
 * One word: the two bytes of it that are rarest in texts are compared at their distance. Several: of each word two or
 * three neighbouring bytes are looked up by their halves; a table gives for each half which of eight groups of words have
 * it there, and what is left after all halves says which words to compare.
 * (Both are well known: the second is Teddy, from Intel's Hyperscan.)
 *
 * Neither looks beyond the last place where a word fits, but for the 15 bytes that must be readable there anyway.
 */
#ifndef INSITU_REGEX_FINDER_H
#define INSITU_REGEX_FINDER_H

#include "../bytes.h"
#include "literals.h"

typedef struct {
    Words words;
    int fold;
    uint8_t shortest;
    /* one word */
    uint8_t first, second; /* places in it */
    /* several */
    uint8_t window, offset[WORDS_MOST]; /* bytes that are looked up, and where they begin in each word */
    uint8_t group[WORDS_MOST];
    uint8_t low[3][16], high[3][16];
} Finder;

static Finder finder_of(const Words *words, int fold) {
    Finder finder = {.words = *words, .fold = fold, .shortest = WORD_MOST};
    for (int i = 0; i < words->count; i++)
        if (words->word[i].size < finder.shortest) finder.shortest = words->word[i].size;
    if (words->count == 1) {
        const uint8_t *bytes = words->word[0].bytes;
        for (uint8_t j = 1; j < words->word[0].size; j++)
            if (byte_frequency(bytes[j]) < byte_frequency(bytes[finder.first])) finder.first = j;
        finder.second = finder.first == 0 && words->word[0].size > 1;
        for (uint8_t j = 0; j < words->word[0].size; j++)
            if (j != finder.first && byte_frequency(bytes[j]) < byte_frequency(bytes[finder.second])) finder.second = j;
        return finder;
    }
    finder.window = finder.shortest < 3 ? finder.shortest : 3;
    for (int i = 0; i < words->count; i++) {
        uint8_t size = words->word[i].size;
        const uint8_t *bytes = words->word[i].bytes;
        uint64_t rarest = UINT64_MAX;
        for (uint8_t j = 0; j + finder.window <= size; j++) {
            uint64_t frequency = 1;
            for (int k = 0; k < finder.window; k++) frequency *= byte_frequency(bytes[j + k]);
            if (frequency < rarest) rarest = frequency, finder.offset[i] = j;
        }
        finder.group[i] = (uint8_t)(i & 7);
        for (int k = 0; k < finder.window; k++) {
            uint8_t byte = bytes[finder.offset[i] + k], bit = (uint8_t)(1 << finder.group[i]);
            finder.low[k][byte & 15] |= bit;
            finder.high[k][byte >> 4] |= bit;
            if (fold && is_letter(byte)) finder.high[k][(byte ^ 0x20) >> 4] |= bit;
        }
    }
    return finder;
}

static int word_is_at(const Finder *finder, int which, const uint8_t *at) {
    int size = finder->words.word[which].size;
    const uint8_t *bytes = finder->words.word[which].bytes;
    for (int i = 0; i < size; i++) {
        uint8_t byte = at[i];
        if (finder->fold && (uint8_t)(byte - 'A') < 26) byte |= 0x20;
        if (byte != bytes[i]) return 0;
    }
    return 1;
}

static const uint8_t *find_one(const Finder *finder, const uint8_t *at, const uint8_t *end) {
    const uint8_t *bytes = finder->words.word[0].bytes;
    const uint8_t first = finder->first, second = finder->second;
    /* With this bit set both cases of a letter are its lower case. */
    const v128_t one_case = wasm_u8x16_splat(finder->fold && is_letter(bytes[first]) ? 0x20 : 0);
    const v128_t other_case = wasm_u8x16_splat(finder->fold && is_letter(bytes[second]) ? 0x20 : 0);
    const v128_t one = wasm_u8x16_splat(bytes[first]), other = wasm_u8x16_splat(bytes[second]);
#define PLACES(p)                                                                              \
    wasm_v128_and(wasm_i8x16_eq(wasm_v128_or(wasm_v128_load((p) + first), one_case), one),     \
                  wasm_i8x16_eq(wasm_v128_or(wasm_v128_load((p) + second), other_case), other))
    if ((size_t)(end - at) < finder->shortest) return NULL;
    const uint8_t *last = end - finder->shortest;
    while (at <= last) {
        while (last - at >= 64) {
            v128_t a = wasm_v128_or(PLACES(at), PLACES(at + 16)), b = wasm_v128_or(PLACES(at + 32), PLACES(at + 48));
            if (wasm_v128_any_true(wasm_v128_or(a, b))) break;
            at += 64;
        }
        for (const uint8_t *stop = at + 64; at <= last && at < stop; at += 16)
            for (uint32_t places = wasm_i8x16_bitmask(PLACES(at)); places; places &= places - 1) {
                const uint8_t *place = at + __builtin_ctz(places);
                if (place > last) return NULL;
                if (word_is_at(finder, 0, place)) return place;
            }
    }
#undef PLACES
    return NULL;
}

static inline v128_t groups_at(const Finder *finder, const uint8_t *at, int k) {
    v128_t bytes = wasm_v128_load(at + k);
    return wasm_v128_and(wasm_i8x16_swizzle(wasm_v128_load(finder->low[k]), wasm_v128_and(bytes, wasm_u8x16_splat(15))),
                         wasm_i8x16_swizzle(wasm_v128_load(finder->high[k]), wasm_u8x16_shr(bytes, 4)));
}

static inline v128_t groups_of_window(const Finder *finder, const uint8_t *at, int window) {
    v128_t groups = groups_at(finder, at, 0);
    if (window > 1) groups = wasm_v128_and(groups, groups_at(finder, at, 1));
    if (window > 2) groups = wasm_v128_and(groups, groups_at(finder, at, 2));
    return groups;
}

static inline const uint8_t *find_several_by(const Finder *finder, const uint8_t *at, const uint8_t *end, int window) {
    const uint8_t *begin = at;
    if (end - at < window) return NULL;
    const uint8_t *last = end - window;
    while (at <= last) {
        v128_t groups = groups_of_window(finder, at, window);
        while (last - at >= 32 && !wasm_v128_any_true(groups)) {
            at += 16;
            groups = groups_of_window(finder, at, window);
        }
        uint32_t places = (uint32_t)(~wasm_i8x16_bitmask(wasm_i8x16_eq(groups, wasm_i8x16_splat(0))) & 0xffff);
        if (places) {
            uint8_t lanes[16];
            wasm_v128_store(lanes, groups);
            for (; places; places &= places - 1) {
                int lane = __builtin_ctz(places);
                const uint8_t *place = at + lane;
                if (place > last) return NULL;
                for (int i = 0; i < finder->words.count; i++) {
                    if (!(lanes[lane] >> finder->group[i] & 1) || place - begin < finder->offset[i]) continue;
                    const uint8_t *word = place - finder->offset[i];
                    if (end - word >= finder->words.word[i].size && word_is_at(finder, i, word)) return word;
                }
            }
        }
        at += 16;
    }
    return NULL;
}

/* A place in [at, end) where one of the words is; NULL when there is none. Of one word it is the first such place; of
 * several it is in the first line that has one. */
static const uint8_t *finder_next(const Finder *finder, const uint8_t *at, const uint8_t *end) {
    if (finder->words.count == 1) return find_one(finder, at, end);
    switch (finder->window) {
        case 1: return find_several_by(finder, at, end, 1);
        case 2: return find_several_by(finder, at, end, 2);
        default: return find_several_by(finder, at, end, 3);
    }
}

#endif
