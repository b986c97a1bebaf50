/* The options that say in which order lines are: those of GNU sort that `sort` and `merge` have. */
#ifndef INSITU_ORDER_OPTIONS_H
#define INSITU_ORDER_OPTIONS_H

#include "options.h"
#include "order.h"

#define ORDER_OPTIONS                                                                                                  \
    {'b', 'b', "ignore-leading-blanks", NULL}, {'f', 'f', "ignore-case", NULL}, {'n', 'n', "numeric-sort", NULL},      \
        {'r', 'r', "reverse", NULL}, {'s', 's', "stable", NULL}, {'u', 'u', "unique", NULL},                           \
        {'z', 'z', "zero-terminated", NULL}, {'k', 'k', "key", "POS1[,POS2]"},                                         \
        {'t', 't', "field-separator", "SEP"}

#define ORDER_USAGE                                                                                                    \
    "  -k, --key POS1[,POS2]       compare this piece of the lines; several: in their order. POS is FIELD[.BYTE],\n"   \
    "                              both from 1, and letters of b, f, n, r that are the key's own\n"                    \
    "  -t, --field-separator SEP   one byte, or \\0; without it a field begins with the blanks before it\n"            \
    "  -n, --numeric-sort          by the decimal number at the beginning, of any length\n"                            \
    "  -f, --ignore-case           small letters as capitals\n"                                                        \
    "  -b, --ignore-leading-blanks\n"                                                                                  \
    "  -r, --reverse\n"                                                                                                \
    "  -s, --stable                lines whose keys are equal stay in the order of the input\n"                        \
    "  -u, --unique                only the first of lines whose keys are equal\n"                                     \
    "  -z, --zero-terminated       lines end with NUL\n"                                                               \
    "      --help\n"

static _Noreturn void bad_key(const char *text, const char *why) {
    die(2, "key ", text, ": ", why);
}

/* A number in a key; one that is too large means as much as the largest. */
static uint32_t key_number(const char *text, const char **at) {
    if (**at < '0' || **at > '9') bad_key(text, "a position is FIELD[.BYTE] in digits, as in 2 or 2.3");
    uint64_t number = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        if (number < WHOLE_LINE) number = number * 10 + (uint64_t)(**at - '0');
    return number < WHOLE_LINE ? (uint32_t)number : WHOLE_LINE - 1;
}

/* The letters behind a position. */
static void key_letters(const char *text, const char **at, Key *key, uint8_t *blanks) {
    for (; **at && **at != ','; ++*at) switch (**at) {
            case 'b': *blanks = 1; break;
            case 'f': key->fold = 1; break;
            case 'n': key->numeric = 1; break;
            case 'r': key->reverse = 1; break;
            default: bad_key(text, "behind a position there may be b, f, n and r, and nothing else");
        }
}

static Key parse_key(const char *text) {
    Key key = {.end_field = WHOLE_LINE};
    const char *at = text;
    uint32_t number = key_number(text, &at);
    if (!number) bad_key(text, "fields are counted from 1");
    key.begin_field = number - 1;
    if (*at == '.') {
        at++;
        number = key_number(text, &at);
        if (!number) bad_key(text, "the bytes of a key's beginning are counted from 1");
        key.begin_skip = number - 1;
    }
    if (!key.begin_field && !key.begin_skip) key.begin_field = WHOLE_LINE;
    key_letters(text, &at, &key, &key.begin_blanks);
    if (*at != ',') return key;
    at++;
    number = key_number(text, &at);
    if (!number) bad_key(text, "fields are counted from 1");
    key.end_field = number - 1;
    if (*at == '.') {
        at++;
        key.end_take = key_number(text, &at);
    }
    key_letters(text, &at, &key, &key.end_blanks);
    if (*at) bad_key(text, "a key has two positions at most");
    return key;
}

static int parse_separator(const char *text) {
    if (!strcmp(text, "\\0")) return 0;
    if (!*text || text[1]) die(2, "--field-separator ", text, ": must be one byte, or \\0");
    return (uint8_t)*text;
}

typedef struct {
    Order order;
    Key all; /* the options that hold where a key has none of its own */
} OrderOptions;

static void order_begin(OrderOptions *options) {
    *options = (OrderOptions){.order = {.separator = -1, .end = '\n'},
                              .all = {.begin_field = WHOLE_LINE, .end_field = WHOLE_LINE}};
}

/* Takes an option of ORDER_OPTIONS; false for any other. */
static int order_option(OrderOptions *options, int which, const char *value) {
    Order *order = &options->order;
    switch (which) {
        case 'b': options->all.begin_blanks = options->all.end_blanks = 1; return 1;
        case 'f': options->all.fold = 1; return 1;
        case 'n': options->all.numeric = 1; return 1;
        case 'r': options->all.reverse = 1; return 1;
        case 's': order->stable = 1; return 1;
        case 'u': order->unique = 1; return 1;
        case 'z': order->end = 0; return 1;
        case 't': {
            int separator = parse_separator(value);
            if (order->separator >= 0 && order->separator != separator) die(2, "two field separators were given");
            order->separator = separator;
            return 1;
        }
        case 'k':
            if (order->count == KEYS_MOST) die(2, "more than ", decimal(KEYS_MOST).digits, " keys were given");
            order->keys[order->count++] = parse_key(value);
            return 1;
        default: return 0;
    }
}

static int is_plain(const Key *key) {
    return !(key->begin_blanks || key->end_blanks || key->numeric || key->fold);
}

/* When all options have been taken: keys without letters get those of all, and the last resort its place. */
static void order_end(OrderOptions *options) {
    Order *order = &options->order;
    Key *all = &options->all;
    for (Key *key = order->keys; key < order->keys + order->count; key++) {
        if (!is_plain(key) || key->reverse) continue;
        key->begin_blanks = all->begin_blanks;
        key->end_blanks = all->end_blanks;
        key->numeric = all->numeric;
        key->fold = all->fold;
        key->reverse = all->reverse;
    }
    if (!order->count && !is_plain(all)) order->keys[order->count++] = *all;
    if (!order->count || !(order->stable || order->unique))
        order->keys[order->count++] =
            (Key){.begin_field = WHOLE_LINE, .end_field = WHOLE_LINE, .reverse = all->reverse};
}

#endif
