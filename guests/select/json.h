/* JSON, one value a line: checked strictly (RFC 8259, UTF-8 and escapes included), and the values that paths lead to found
 * on the way. Nothing is copied: a value is the bytes that it is written with.
 */
#ifndef SELECT_JSON_H
#define SELECT_JSON_H

#include "number.h"
#include "table.h"

#define NESTING_MOST 128

static uint8_t *decoded; /* room for a string */
static int decoded_halves;

/* Bit i is set where byte i is one that a string has to be looked at for: quote, backslash, control, beyond ASCII. */
static inline uint32_t special_in_string(const uint8_t *at) {
    v128_t bytes = wasm_v128_load(at);
    v128_t quote = wasm_i8x16_eq(bytes, wasm_u8x16_splat('"')), escape = wasm_i8x16_eq(bytes, wasm_u8x16_splat('\\'));
    /* As signed numbers bytes beyond ASCII are below the control characters. */
    return wasm_i8x16_bitmask(wasm_v128_or(wasm_v128_or(quote, escape), wasm_i8x16_lt(bytes, wasm_i8x16_splat(0x20))));
}

/* How many bytes the UTF-8 character at `at` has; 0 when it is none. */
static size_t utf8_size(const uint8_t *at, const uint8_t *end) {
    uint8_t c = at[0];
    size_t size = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (!size || (size_t)(end - at) < size) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f) || (c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

static int hex4(const uint8_t *at, const uint8_t *end) {
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i], low = c | 0x20;
        int digit = is_digit(c) ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The character that the escape at `at` stands for, or the half of one (a surrogate) that stands alone; `size` becomes the
 * bytes that it is written with. */
static uint32_t escaped(const uint8_t *at, const uint8_t *end, size_t *size) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    *size = 2;
    const char *letter = end - at > 1 && at[1] ? strchr(letters, at[1]) : NULL;
    if (letter) return (uint8_t)meanings[letter - letters];
    int high = end - at > 1 && at[1] == 'u' ? hex4(at + 2, end) : -1;
    if (high < 0) malformed("a string has an escape that JSON does not know");
    *size = 6;
    if (high < 0xd800 || high > 0xdbff) return (uint32_t)high;
    int low = end - at > 7 && at[6] == '\\' && at[7] == 'u' ? hex4(at + 8, end) : -1;
    if (low < 0xdc00 || low > 0xdfff) return (uint32_t)high;
    *size = 12;
    return 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

static size_t put_utf8(uint8_t *to, uint32_t character) {
    if (character < 0x80) return to[0] = (uint8_t)character, 1;
    if (character < 0x800) {
        to[0] = (uint8_t)(0xc0 | character >> 6);
        to[1] = (uint8_t)(0x80 | (character & 0x3f));
        return 2;
    }
    if (character < 0x10000) {
        to[0] = (uint8_t)(0xe0 | character >> 12);
        to[1] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
        to[2] = (uint8_t)(0x80 | (character & 0x3f));
        return 3;
    }
    to[0] = (uint8_t)(0xf0 | character >> 18);
    to[1] = (uint8_t)(0x80 | (character >> 12 & 0x3f));
    to[2] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
    to[3] = (uint8_t)(0x80 | (character & 0x3f));
    return 4;
}

/* Behind the string whose opening quote is at `at`; dies when it is none. `escapes` becomes whether it has any. */
static const uint8_t *json_string(const uint8_t *at, const uint8_t *end, int *escapes) {
    *escapes = 0;
    for (at++; at < end;) {
        uint32_t special = special_in_string(at);
        if (!special) {
            at += 16;
            continue;
        }
        at += __builtin_ctz(special);
        if (at >= end) break;
        size_t size;
        if (*at == '"') return at + 1;
        if (*at == '\\') {
            escaped(at, end, &size);
            *escapes = 1;
        } else if (*at < 0x20) {
            malformed("a string has a control character that is not escaped");
        } else if (!(size = utf8_size(at, end))) {
            malformed("a string is not UTF-8");
        }
        at += size;
    }
    malformed("a string has no end");
}

/* What a string (with its quotes) means. It lies in the record, or in `decoded` until the next call. Half a character has
 * the three bytes that UTF-8 would give its number; `decoded_halves` says whether there was one. */
static Text json_text(const uint8_t *at, size_t size) {
    const uint8_t *end = at + size - 1, *escape = memchr(++at, '\\', size - 2);
    decoded_halves = 0;
    if (!escape) return (Text){at, (size_t)(end - at)};
    if (!decoded) decoded = take(RECORD_MOST + 2 * BYTES_AFTER);
    size_t used = 0;
    while (at < end) {
        size_t part = (size_t)(escape ? escape - at : end - at);
        memcpy(decoded + used, at, part);
        used += part;
        at += part;
        if (!escape) break;
        size_t written;
        uint32_t character = escaped(at, end, &written);
        decoded_halves |= character >= 0xd800 && character <= 0xdfff;
        used += put_utf8(decoded + used, character);
        at += written;
        escape = memchr(at, '\\', (size_t)(end - at));
    }
    return (Text){decoded, used};
}

static const uint8_t *json_number(const uint8_t *at, const uint8_t *end) {
    at += at < end && *at == '-';
    if (at == end || !is_digit(*at)) malformed("a value is none that JSON knows");
    if (*at == '0' && end - at > 1 && is_digit(at[1])) malformed("a number begins with 0");
    while (at < end && is_digit(*at)) at++;
    if (at < end && *at == '.') {
        if (++at == end || !is_digit(*at)) malformed("a number has no digit behind its point");
        while (at < end && is_digit(*at)) at++;
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        at += at < end && (*at == '-' || *at == '+');
        if (at == end || !is_digit(*at)) malformed("a number has no digit in its exponent");
        while (at < end && is_digit(*at)) at++;
    }
    return at;
}

static inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    return at;
}

static const uint8_t *json_word(const uint8_t *at, const uint8_t *end, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(end - at) < size || memcmp(at, word, size)) malformed("a value is none that JSON knows");
    return at + size;
}

/* Of the columns in `wanted` (bits) those whose path has this key, or this place in an array, at `depth`. They are missing
 * until they are found below it: of a key that occurs twice the last one counts. */
static uint64_t columns_below(uint64_t wanted, unsigned depth, Text key) {
    uint64_t below = 0;
    for (uint64_t left = wanted; left; left &= left - 1) {
        int i = __builtin_ctzll(left);
        Column *column = &table.column[i];
        const Text *step = &column->steps[depth];
        if (depth >= column->step_count || step->size != key.size || memcmp(step->at, key.at, key.size)) continue;
        column->value.kind = VALUE_MISSING;
        below |= (uint64_t)1 << i;
    }
    return below;
}

/* Behind the value at `at`. Of the columns in `wanted`, whose first `depth` steps have led here, those that end here get
 * it as their value. */
static const uint8_t *json_value(const uint8_t *at, const uint8_t *end, uint64_t wanted, unsigned depth) {
    if (at == end) malformed("a value is missing");
    const uint8_t *begin = at;
    Kind kind = VALUE_OTHER;
    int escapes;
    if (depth == NESTING_MOST && (*at == '{' || *at == '[')) malformed("values are nested more than 128 deep");
    switch (*at) {
        case '"':
            kind = VALUE_STRING;
            at = json_string(at, end, &escapes);
            break;
        case '{':
            at = skip_blanks(at + 1, end);
            if (at < end && *at == '}') {
                at++;
                break;
            }
            for (;;) {
                if (at == end || *at != '"') malformed("an object has no string where a key must be");
                const uint8_t *key = at;
                at = json_string(at, end, &escapes);
                uint64_t below = 0;
                if (wanted) {
                    Text text = escapes ? json_text(key, (size_t)(at - key)) : (Text){key + 1, (size_t)(at - key) - 2};
                    below = columns_below(wanted, depth, text);
                }
                at = skip_blanks(at, end);
                if (at == end || *at != ':') malformed("an object has no : behind a key");
                at = json_value(skip_blanks(at + 1, end), end, below, depth + 1);
                at = skip_blanks(at, end);
                if (at < end && *at == '}') break;
                if (at == end || *at != ',') malformed("an object has neither , nor } behind a value");
                at = skip_blanks(at + 1, end);
            }
            at++;
            break;
        case '[':
            at = skip_blanks(at + 1, end);
            if (at < end && *at == ']') {
                at++;
                break;
            }
            for (uint64_t place = 0;; place++) {
                uint64_t below = 0;
                if (wanted) {
                    Decimal number = decimal(place);
                    below = columns_below(wanted, depth, (Text){(const uint8_t *)number.digits, strlen(number.digits)});
                }
                at = json_value(at, end, below, depth + 1);
                at = skip_blanks(at, end);
                if (at < end && *at == ']') break;
                if (at == end || *at != ',') malformed("an array has neither , nor ] behind a value");
                at = skip_blanks(at + 1, end);
            }
            at++;
            break;
        case 't': at = json_word(at, end, "true"); break;
        case 'f': at = json_word(at, end, "false"); break;
        case 'n':
            kind = VALUE_NULL;
            at = json_word(at, end, "null");
            break;
        default: kind = VALUE_NUMBER, at = json_number(at, end);
    }
    for (uint64_t left = wanted; left; left &= left - 1) {
        Column *column = &table.column[__builtin_ctzll(left)];
        if (column->step_count == depth) column->value = (Value){kind, begin, (size_t)(at - begin)};
    }
    return at;
}

/* The path that a column's name is: keys, and places in arrays from 0, with points between; \. is a point of a key. */
static void column_path(Column *column) {
    const uint8_t *at = column->name.at, *end = at + column->name.size;
    size_t most = 1;
    for (const uint8_t *c = at; c < end; c++) most += *c == '.';
    column->steps = malloc(most * sizeof *column->steps);
    uint8_t *text = malloc(column->name.size + 1);
    if (!column->steps || !text) die(2, "not enough memory");
    Text *step = column->steps;
    *step = (Text){text, 0};
    for (; at < end; at++) {
        if (*at == '.') {
            *++step = (Text){text, 0};
            continue;
        }
        if (*at == '\\' && end - at > 1 && (at[1] == '.' || at[1] == '\\')) at++;
        *text++ = *at;
        step->size++;
    }
    column->step_count = (size_t)(step - column->steps) + 1;
}

/* The value of a line, without the blanks around it; none when it is blank. Finds the columns' values. */
static Text json_record(Line line) {
    const uint8_t *end = line.at + line.size, *at = skip_blanks(line.at, end);
    if (at == end) return (Text){at, 0};
    for (size_t i = 0; i < table.count; i++) table.column[i].value.kind = VALUE_MISSING;
    uint64_t all = table.count == 64 ? ~0ull : ((uint64_t)1 << table.count) - 1;
    const uint8_t *stop = json_value(at, end, all, 0);
    if (skip_blanks(stop, end) != end) malformed("something stands behind the value");
    return (Text){at, (size_t)(stop - at)};
}

/* A JSON string of UTF-8 text, escaped as little as can be. */
static void write_json_string(Text text) {
    static const char hex[] = "0123456789abcdef";
    const uint8_t *at = text.at, *end = at + text.size, *plain = at;
    output_byte('"');
    while (at < end) {
        size_t size = utf8_size(at, end);
        if (!size) malformed("a field is not UTF-8, as JSON must be");
        if (*at >= 0x20 && *at != '"' && *at != '\\') {
            at += size;
            continue;
        }
        output_add(plain, (size_t)(at - plain));
        static const char special[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
        const char *letter = *at ? strchr(special, *at) : NULL;
        output_byte('\\');
        if (letter) output_byte(letters[letter - special]);
        else {
            output_add("u00", 3);
            output_byte(hex[*at >> 4]);
            output_byte(hex[*at & 15]);
        }
        plain = ++at;
    }
    output_add(plain, (size_t)(at - plain));
    output_byte('"');
}

#endif
