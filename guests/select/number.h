/* Decimal numbers as they are written, compared exactly: 0.1 is a tenth, and 1e400 is less than 1e401. */
#ifndef SELECT_NUMBER_H
#define SELECT_NUMBER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at, *end; /* from the first digit that is not 0 to the last one, a point among them */
    int64_t place;           /* of that digit, without the exponent: 0 for units, -1 for tenths */
    const uint8_t *exponent; /* its digits, none of them a 0 in front; of any number */
    size_t exponent_size;
    int exponent_sign; /* -1, 1 */
    int sign;          /* -1, 0, 1 */
} Number;

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
    number->exponent_sign = 1;
    if (at < end) {
        if (*at != 'e' && *at != 'E') return 0;
        at++;
        if (at < end && *at == '-') number->exponent_sign = -1;
        at += at < end && (*at == '-' || *at == '+');
        if (at == end) return 0;
        while (at < end && *at == '0') at++;
        number->exponent = at;
        for (; at < end; at++)
            if (!is_digit(*at)) return 0;
        number->exponent_size = (size_t)(end - number->exponent);
    }
    if (!first) return 1; /* zero, whatever its sign and its exponent */
    if (!point) point = stop;
    number->at = first;
    number->end = stop;
    number->place = first < point ? point - first - 1 : point - first;
    number->sign = negative ? -1 : 1;
    return 1;
}

#define FAR_APART ((int64_t)1 << 40) /* places: more than any text has digits */

/* How far the first digit of the one is above that of the other; FAR_APART or more (or less) where it is farther. */
static int64_t magnitudes_apart(const Number *one, const Number *other) {
    size_t size = one->exponent_size > other->exponent_size ? one->exponent_size : other->exponent_size;
    int64_t apart = 0;
    for (size_t left = size; left; left--) {
        if (left <= one->exponent_size) apart += one->exponent_sign * (one->exponent[one->exponent_size - left] - '0');
        if (left <= other->exponent_size) apart -= other->exponent_sign * (other->exponent[other->exponent_size - left] - '0');
        /* What comes is 18 at most in each place: it makes no difference any more. */
        if (apart > 2 * FAR_APART || apart < -2 * FAR_APART) break;
        if (left > 1) apart *= 10;
    }
    return apart + one->place - other->place;
}

/* Below 0, 0 or above 0, as the one is less than the other, equal or more. */
static int numbers_compare(const Number *one, const Number *other) {
    if (one->sign != other->sign) return one->sign - other->sign;
    if (!one->sign) return 0;
    int64_t apart = magnitudes_apart(one, other);
    if (apart) return apart < 0 ? -one->sign : one->sign;
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
