/* The order of lines by keys, as GNU sort has it in the C locale, for `sort`, `merge` and `partition`.
 *
 * A key is a piece of the line (`-k 2.3,4b`) and a way to compare it: as bytes, with small letters as capitals (f), or
 * as a decimal number of any length (n); and that reversed (r). Lines whose keys are all equal are compared as bytes,
 * unless the order is stable or unique; `keys` then ends with a key for that, so that nobody else need think of it.
 *
 * Keys are compared by *chunks*, numbers of 64 bits whose order is that of the keys. A key that one chunk does not
 * decide goes on to the next; its lowest bits say whether there is one. So a sort can keep the first chunk of each line
 * beside it, and look at lines again only where chunks are equal.
 *
 *     bytes     seven bytes, then how many were left, 8 for "more than seven"
 *     numbers   first: sign, digits before the point up to 30, the first 17 digits, 1 for "there is more"
 *               second, if there is more: digits before the point, 1
 *               further: 17 digits each, 1 for "there is more"
 */
#ifndef INSITU_ORDER_H
#define INSITU_ORDER_H

#include "bytes.h"
#include "io.h"

#define KEYS_MOST 64
#define WHOLE_LINE UINT32_MAX

typedef struct {
    uint32_t begin_field, begin_skip; /* fields, then bytes to skip; WHOLE_LINE: neither */
    uint32_t end_field, end_take;     /* WHOLE_LINE: to its end; else fields to skip, then bytes to take, 0 for a field */
    uint8_t begin_blanks, end_blanks; /* blanks are skipped before counting bytes */
    uint8_t numeric, fold, reverse;
} Key;

typedef struct {
    Key keys[KEYS_MOST + 1];
    uint32_t count;
    int separator; /* between fields; -1: a field begins with the blanks before it */
    uint8_t end;   /* of lines: '\n' or 0 */
    uint8_t stable, unique;
} Order;

/* Where a key is compared: what is left of its bytes, and which chunk comes. Begins at step 0. */
typedef struct {
    const uint8_t *at;
    uint32_t size;
} Piece;

static inline int is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n'; /* a line end counts where lines end with NUL */
}

static inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && is_blank(*at)) at++;
    return at;
}

/* Past `fields` fields, each with the separator behind it; `last_open`: without that of the last one. */
static inline const uint8_t *skip_fields(const Order *order, const uint8_t *at, const uint8_t *end, uint32_t fields,
                                         int last_open) {
    if (order->separator >= 0) {
        while (at < end && fields--) {
            at = find_byte(at, end, (uint8_t)order->separator);
            if (at < end && (fields || !last_open)) at++;
        }
    } else {
        while (at < end && fields--) {
            at = skip_blanks(at, end);
            while (at < end && !is_blank(*at)) at++;
        }
    }
    return at;
}

static inline const uint8_t *skip_bytes(const uint8_t *at, const uint8_t *end, uint32_t count) {
    return count < (size_t)(end - at) ? at + count : end;
}

static inline Piece key_of(const Order *order, const Key *key, const uint8_t *line, size_t size) {
    const uint8_t *end = line + size, *from = line, *to = end;
    if (key->begin_field != WHOLE_LINE) from = skip_fields(order, line, end, key->begin_field, 0);
    if (key->begin_blanks) from = skip_blanks(from, end);
    if (key->begin_field != WHOLE_LINE) from = skip_bytes(from, end, key->begin_skip);
    if (key->end_field != WHOLE_LINE) {
        to = skip_fields(order, line, end, key->end_field + !key->end_take, !key->end_take);
        if (key->end_take) {
            if (key->end_blanks) to = skip_blanks(to, end);
            to = skip_bytes(to, end, key->end_take);
        }
        if (to < from) to = from;
    }
    return (Piece){from, (uint32_t)(to - from)};
}

static inline uint64_t capitals(uint64_t bytes) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t low = bytes & 0x7f * ones;
    uint64_t from_a = low + (0x80 - 'a') * ones, above_z = low + (0x7f - 'z') * ones;
    uint64_t small = (from_a ^ above_z) & ~bytes & 0x80 * ones;
    return bytes - (small >> 2);
}

static inline uint64_t bytes_chunk(const Key *key, Piece piece) {
    uint64_t bytes;
    memcpy(&bytes, piece.at, 8); /* BYTES_AFTER allows it */
    bytes = __builtin_bswap64(bytes);
    uint32_t left = piece.size < 8 ? piece.size : 8;
    if (left < 7) bytes = left ? bytes & ~(uint64_t)0 << (64 - 8 * left) : 0;
    if (key->fold) bytes = capitals(bytes);
    return (bytes & ~(uint64_t)0xff) | left;
}

#define DIGITS 17 /* of a chunk: below 2^57 */
#define WHOLE_MOST 31 /* digits before the point that the first chunk cannot tell apart */

typedef struct {
    Piece digits;   /* from the first that is not zero (behind the point: from the point) to the last such */
    uint32_t whole; /* how many of them stand before the point */
    int negative;
} Number;

/* The number that a piece begins with: blanks, one minus, digits, a point and digits; any of them may be missing. */
static inline Number number_at(Piece piece) {
    const uint8_t *end = piece.at + piece.size, *at = skip_blanks(piece.at, end);
    Number number = {.negative = at < end && *at == '-'};
    at += number.negative;
    while (at < end && *at == '0') at++;
    const uint8_t *first = at, *last = at;
    for (; at < end && (uint8_t)(*at - '0') < 10; at++) number.whole++;
    last = at;
    if (at < end && *at == '.') {
        if (!number.whole) first = last = at + 1;
        for (at++; at < end && (uint8_t)(*at - '0') < 10; at++)
            if (*at != '0') last = at + 1;
    }
    if (last == first) number.negative = 0;
    number.digits = (Piece){first, (uint32_t)(last - first)};
    return number;
}

/* The next DIGITS digits as a number, filled up with zeros; what is left of the piece stays in it. */
static inline uint64_t take_digits(Piece *digits) {
    uint64_t value = 0;
    int count = 0;
    for (; count < DIGITS && digits->size; digits->at++, digits->size--) {
        if (*digits->at == '.') continue;
        value = value * 10 + (*digits->at - '0');
        count++;
    }
    static const uint64_t tens[] = {1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull,
        100000000ull, 1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
        100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull};
    value *= tens[DIGITS - count];
    return value << 1 | (digits->size != 0);
}

#define POSITIVE ((uint64_t)1 << 63)

static inline uint64_t first_number_chunk(Piece piece) {
    Number number = number_at(piece);
    uint64_t chunk = (uint64_t)WHOLE_MOST << 58 | 1;
    if (number.whole < WHOLE_MOST) chunk = (uint64_t)number.whole << 58 | take_digits(&number.digits);
    return number.negative ? ~(POSITIVE | chunk) : POSITIVE | chunk;
}

/* The key's first chunk. */
static inline uint64_t first_chunk(const Key *key, Piece piece) {
    uint64_t chunk = key->numeric ? first_number_chunk(piece) : bytes_chunk(key, piece);
    return key->reverse ? ~chunk : chunk;
}

/* Whether the key has a chunk after this one, which is its `step`-th from 0. Of lines that are equal so far, `negative`
 * says whether they are negative numbers. */
static inline int has_more(const Key *key, uint64_t chunk, uint32_t step, int *negative) {
    if (key->reverse) chunk = ~chunk;
    if (!key->numeric) return (chunk & 0xff) == 8;
    if (!step) *negative = !(chunk & POSITIVE);
    return (*negative ? ~chunk : chunk) & 1;
}

/* The chunk that is the `step`-th from 0 and not the first. The piece is as the step before has left it. */
static inline uint64_t next_chunk(const Key *key, Piece *piece, uint32_t step, int negative) {
    uint64_t chunk;
    if (!key->numeric) {
        *piece = (Piece){piece->at + 7, piece->size - 7};
        chunk = bytes_chunk(key, *piece);
    } else {
        if (step == 1) {
            Number number = number_at(*piece);
            *piece = number.digits;
            chunk = (uint64_t)number.whole << 1 | 1;
        } else {
            chunk = take_digits(piece);
        }
        if (negative) chunk = ~chunk;
    }
    return key->reverse ? ~chunk : chunk;
}

/* Below, at or above 0 as the one piece comes before, with or after the other. */
static inline int compare_pieces(const Key *key, Piece a, Piece b) {
    int negative = 0;
    uint64_t left = first_chunk(key, a), right = first_chunk(key, b);
    for (uint32_t step = 0; left == right; step++) {
        if (!has_more(key, left, step, &negative)) return 0;
        left = next_chunk(key, &a, step + 1, negative);
        right = next_chunk(key, &b, step + 1, negative);
    }
    return left < right ? -1 : 1;
}

/* Likewise of two lines, by all keys. */
static int compare_lines(const Order *order, const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    for (const Key *key = order->keys; key < order->keys + order->count; key++) {
        int found = compare_pieces(key, key_of(order, key, a, a_size), key_of(order, key, b, b_size));
        if (found) return found;
    }
    return 0;
}

#endif
