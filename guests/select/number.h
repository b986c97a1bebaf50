/* Decimal numbers as they are written, compared exactly: 0.1 is a tenth, and 1e400 is less than 1e401. */
#ifndef SELECT_NUMBER_H
#define SELECT_NUMBER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at, *end; /* from the first digit that is not 0 to the last one, a point among them */
    int64_t magnitude;       /* of that digit: 0 for units, -1 for tenths */
    int sign;                /* -1, 0, 1 */
} Number;

/* No text has so many digits: exponents beyond it are taken for it, so that sums of them fit. */
#define EXPONENT_MOST ((int64_t)1 << 60)

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* [+-] digits, with a point anywhere, and an exponent if there is one; all of it, or it is none and 0 comes back. */
static int number_from(const uint8_t *text, size_t size, Number *number) {
    const uint8_t *at = text, *end = text + size, *point = NULL;
    int negative = at < end && *at == '-', digits = 0;
    at += at < end && (*at == '-' || *at == '+');
    *number = (Number){.at = NULL};
    const uint8_t *first = NULL;
    for (; at < end; at++) {
        if (*at == '.' && !point) point = at;
        else if (!is_digit(*at)) break;
        else {
            digits = 1;
            if (*at != '0' && !first) first = at;
        }
    }
    if (!digits) return 0;
    const uint8_t *stop = at;
    int64_t exponent = 0;
    if (at < end) {
        if (*at != 'e' && *at != 'E') return 0;
        at++;
        int down = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        if (at == end) return 0;
        for (; at < end; at++) {
            if (!is_digit(*at)) return 0;
            exponent = exponent > EXPONENT_MOST / 16 ? EXPONENT_MOST : exponent * 10 + (*at - '0');
        }
        if (down) exponent = -exponent;
    }
    if (!first) return 1; /* zero, whatever its sign and its exponent */
    if (!point) point = stop;
    number->at = first;
    number->end = stop;
    number->magnitude = exponent + (first < point ? point - first - 1 : point - first);
    number->sign = negative ? -1 : 1;
    return 1;
}

/* Below 0, 0 or above 0, as the one is less than the other, equal or more. */
static int numbers_compare(const Number *one, const Number *other) {
    if (one->sign != other->sign) return one->sign - other->sign;
    if (!one->sign) return 0;
    if (one->magnitude != other->magnitude) return one->magnitude < other->magnitude ? -one->sign : one->sign;
    const uint8_t *a = one->at, *b = other->at;
    while (a < one->end || b < other->end) {
        if (a < one->end && *a == '.') a++;
        if (b < other->end && *b == '.') b++;
        int x = a < one->end ? *a++ : '0', y = b < other->end ? *b++ : '0';
        if (x != y) return x < y ? -one->sign : one->sign;
    }
    return 0;
}

#endif
