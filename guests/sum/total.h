/* Decimal numbers and their totals, exactly: a whole number of units of 10^-places, in 128 bits.
 *
 * A number is a minus or none, digits, and a point and digits or none; below 2^64 and above -2^64, with at most PLACES
 * digits behind the point. A total has as many digits behind the point as the longest of its numbers, and the same bounds.
 */
#ifndef INSITU_TOTAL_H
#define INSITU_TOTAL_H

#include "../common/io.h"

#define PLACES 18 /* 2^64 * 10^18 is below 2^127 */

typedef struct {
    uint64_t low, high; /* of the units, in two's complement; not __int128, which would have it aligned to 16 bytes */
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

/* False when the total would reach 2^64 or -2^64; it is then not to be used. */
static int total_add(Total *total, const Number *number) {
    __int128 sum = (__int128)((unsigned __int128)total->high << 64 | total->low), more = (__int128)number->units;
    if (number->places > total->places) {
        sum *= (__int128)ten_to(number->places - total->places);
        total->places = number->places;
    } else if (number->places < total->places) {
        more *= (__int128)ten_to(total->places - number->places);
    }
    sum += number->negative ? -more : more;
    total->low = (uint64_t)sum;
    total->high = (uint64_t)(sum >> 64);
    unsigned __int128 size = sum < 0 ? -(unsigned __int128)sum : (unsigned __int128)sum;
    return !total->places ? !(uint64_t)(size >> 64) : size < ten_to(total->places) << 64;
}

static Decimal total_text(const Total *total) {
    __int128 sum = (__int128)((unsigned __int128)total->high << 64 | total->low);
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
