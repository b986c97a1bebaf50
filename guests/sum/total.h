/* Decimal numbers and their totals, exactly: a whole number of units of 10^-places, in 192 bits.
 *
 * A number is a minus or none, digits, and a point and digits or none; below 2^64 and above -2^64, with at most PLACES
 * digits behind the point. A total has as many digits behind the point as the longest of its numbers, and in the end the
 * same bounds. On the way it may be beyond them, or the order of the numbers would matter: 2^64 lines fit 192 bits.
 */
#ifndef INSITU_TOTAL_H
#define INSITU_TOTAL_H

#include "../common/io.h"

#define PLACES 18 /* 2^64 * 10^18 is below 2^127 */

typedef struct {
    uint64_t part[3]; /* of the units, in two's complement, the lowest first */
    uint32_t places;
} Total;

typedef struct {
    unsigned __int128 units; /* without the sign */
    uint32_t places;
    int negative;
} Number;

static unsigned __int128 ten_to(uint32_t power) {
    static const uint64_t tens[PLACES + 1] = {1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull,
        100000000ull, 1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
        100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull, 1000000000000000000ull};
    return tens[power];
}

/* Digits from *at on, as a number; false when that does not fit 64 bits. */
static int take_number(const uint8_t **at, const uint8_t *end, uint64_t *number) {
    for (*number = 0; *at < end && (uint8_t)(**at - '0') < 10; ++*at)
        if (__builtin_mul_overflow(*number, 10, number) || __builtin_add_overflow(*number, **at - '0', number)) return 0;
    return 1;
}

/* NULL, or what is wrong with it. */
static const char *parse_number(const uint8_t *at, const uint8_t *end, Number *number) {
    static const char *const none = " has something that is no number behind its first TAB; -12.50 would be one";
    *number = (Number){.negative = at < end && *at == '-'};
    at += number->negative;
    const uint8_t *digits = at;
    uint64_t whole;
    if (!take_number(&at, end, &whole)) return " has a number that does not fit 64 bits";
    if (at == digits) return none;
    number->units = whole;
    if (at < end && *at == '.') {
        digits = ++at;
        uint64_t fraction;
        int fits = take_number(&at, end, &fraction);
        if (fits && at == digits) return none;
        if (!fits || at - digits > PLACES) return " has a number with more than 18 digits behind its point";
        number->places = (uint32_t)(at - digits);
        number->units = whole * ten_to(number->places) + fraction;
    }
    return at < end ? none : NULL;
}

static Total total_of(int64_t whole) {
    uint64_t sign = whole < 0 ? ~0ull : 0;
    return (Total){.part = {(uint64_t)whole, sign, sign}};
}

static void total_add(Total *total, const Number *number) {
    unsigned __int128 more = number->units;
    if (number->places > total->places) {
        unsigned __int128 product = 0, by = ten_to(number->places - total->places);
        for (int i = 0; i < 3; i++) {
            product = (product >> 64) + total->part[i] * by;
            total->part[i] = (uint64_t)product;
        }
        total->places = number->places;
    } else if (number->places < total->places) {
        more *= ten_to(total->places - number->places);
    }
    uint64_t sign = number->negative && more ? ~0ull : 0;
    if (sign) more = -more;
    const uint64_t parts[3] = {(uint64_t)more, (uint64_t)(more >> 64), sign};
    unsigned __int128 sum = 0;
    for (int i = 0; i < 3; i++) {
        sum = (sum >> 64) + total->part[i] + parts[i];
        total->part[i] = (uint64_t)sum;
    }
}

/* Whether it is below 2^64 and above -2^64. */
static int total_fits(const Total *total) {
    __int128 sum = (__int128)((unsigned __int128)total->part[1] << 64 | total->part[0]);
    if (total->part[2] != (sum < 0 ? ~0ull : 0)) return 0; /* not even 128 bits hold it */
    unsigned __int128 size = sum < 0 ? -(unsigned __int128)sum : (unsigned __int128)sum;
    return !total->places ? !(uint64_t)(size >> 64) : size < ten_to(total->places) << 64;
}

/* Of a total that fits. */
static Decimal total_text(const Total *total) {
    __int128 sum = (__int128)((unsigned __int128)total->part[1] << 64 | total->part[0]);
    unsigned __int128 size = sum < 0 ? -(unsigned __int128)sum : (unsigned __int128)sum, unit = ten_to(total->places);
    Decimal text, whole = decimal((uint64_t)(size / unit));
    char *at = text.digits;
    if (sum < 0) *at++ = '-';
    strcpy(at, whole.digits);
    at += strlen(at);
    if (total->places) {
        uint64_t fraction = (uint64_t)(size % unit);
        *at = '.';
        for (uint32_t place = total->places; place; place--, fraction /= 10) at[place] = (char)('0' + fraction % 10);
        at[total->places + 1] = 0;
    }
    return text;
}

#endif
