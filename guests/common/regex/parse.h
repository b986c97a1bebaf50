/* Reading a pattern: fixed words, POSIX basic and extended regular expressions with GNU's additions (\| \+ \? in basic
 * ones, \w \W \s \S \b \B \< \> \` \' {,n} in both), in the C locale. What GNU grep reads as a plain character after a
 * warning is read so; a backslash before a letter or digit that has no meaning is refused, for whoever writes it
 * expects one. Back-references are refused: they are no regular language, and need another, slow machine.
 */
#ifndef INSITU_REGEX_PARSE_H
#define INSITU_REGEX_PARSE_H

#include "pattern.h"

typedef enum { SYNTAX_BASIC, SYNTAX_EXTENDED, SYNTAX_FIXED } Syntax;

typedef struct {
    Pattern *pattern;
    const uint8_t *begin, *at, *end;
    Syntax syntax;
    unsigned groups; /* that are open */
} Parser;

static _Noreturn void malformed_pattern(const Parser *parser, const uint8_t *where, const char *why) {
    die(2, "pattern, at byte ", decimal((uint64_t)(where - parser->begin) + 1).digits, ": ", why);
}

static int looking_at(const Parser *parser, char first, char second) {
    const uint8_t *at = parser->at;
    if (parser->end - at < 1 + (second != 0)) return 0;
    return at[0] == (uint8_t)first && (!second || at[1] == (uint8_t)second);
}

/* An operator that extended syntax writes plain and basic syntax with a backslash. */
static int looking_at_operator(const Parser *parser, char operator) {
    return parser->syntax == SYNTAX_EXTENDED ? looking_at(parser, operator, 0) : looking_at(parser, '\\', operator);
}

static void skip_operator(Parser *parser) { parser->at += parser->syntax == SYNTAX_EXTENDED ? 1 : 2; }

/* What [:name:] stands for; false when there is no such class. */
static int add_class(ByteSet *set, const uint8_t *name, size_t size) {
    static const struct {
        const char *name;
        uint8_t ranges[8]; /* first and last, in pairs up to 0, 0; which has no class of its own */
    } classes[] = {
        {"alnum", {'0', '9', 'A', 'Z', 'a', 'z'}}, {"alpha", {'A', 'Z', 'a', 'z'}}, {"blank", {'\t', '\t', ' ', ' '}},
        {"cntrl", {1, 31, 127, 127}}, {"digit", {'0', '9'}}, {"graph", {33, 126}}, {"lower", {'a', 'z'}},
        {"print", {32, 126}}, {"punct", {33, 47, 58, 64, 91, 96, 123, 126}}, {"space", {'\t', '\r', ' ', ' '}},
        {"upper", {'A', 'Z'}}, {"xdigit", {'0', '9', 'A', 'F', 'a', 'f'}},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strlen(classes[i].name) != size || memcmp(classes[i].name, name, size)) continue;
        for (const uint8_t *range = classes[i].ranges; range < classes[i].ranges + 8 && range[1]; range += 2)
            set_add_range(set, range[0], range[1]);
        if (size == 5 && name[0] == 'c') set_add(set, 0);
        return 1;
    }
    return 0;
}

/* What stands between [: and :], [= and =] or [. and .]; `at` is behind it then. */
static const uint8_t *bracket_name(Parser *parser, size_t *size) {
    const uint8_t *name = parser->at + 2;
    uint8_t mark = parser->at[1];
    for (const uint8_t *c = name; parser->end - c >= 2; c++) {
        if (c[0] != mark || c[1] != ']') continue;
        *size = (size_t)(c - name);
        parser->at = c + 2;
        return name;
    }
    malformed_pattern(parser, parser->at, "[ without its ]");
}

/* One byte of a bracket expression: itself, [.x.] or [=x=]. */
static uint8_t bracket_byte(Parser *parser) {
    if (!looking_at(parser, '[', '.') && !looking_at(parser, '[', '=')) return *parser->at++;
    const uint8_t *where = parser->at;
    size_t size;
    const uint8_t *name = bracket_name(parser, &size);
    if (size != 1) malformed_pattern(parser, where, "[.x.] and [=x=] take one byte here");
    return *name;
}

static uint32_t parse_bracket(Parser *parser) {
    const uint8_t *opened = parser->at++;
    ByteSet set = {0};
    int inverted = looking_at(parser, '^', 0);
    parser->at += inverted;
    for (const uint8_t *first = parser->at;;) {
        if (parser->at == parser->end) malformed_pattern(parser, opened, "[ without its ]");
        if (*parser->at == ']' && parser->at > first) break;
        if (looking_at(parser, '[', ':')) {
            const uint8_t *where = parser->at;
            size_t size;
            const uint8_t *name = bracket_name(parser, &size);
            if (!add_class(&set, name, size))
                malformed_pattern(parser, where,
                                  "no such class; there are alnum, alpha, blank, cntrl, digit, graph, lower, print, "
                                  "punct, space, upper, xdigit");
            continue;
        }
        const uint8_t *where = parser->at;
        uint8_t low = bracket_byte(parser), high = low;
        if (looking_at(parser, '-', 0) && parser->end - parser->at > 1 && parser->at[1] != ']') {
            parser->at++;
            if (looking_at(parser, '[', ':')) malformed_pattern(parser, where, "a range cannot end in a class");
            high = bracket_byte(parser);
            if (high < low) malformed_pattern(parser, where, "the range ends before it begins");
        }
        set_add_range(&set, low, high);
    }
    const uint8_t *closed = parser->at++;
    if (!inverted && closed - opened > 3 && opened[1] == ':' && closed[-1] == ':')
        malformed_pattern(parser, opened, "a class is written [[:space:]], not [:space:]");
    if (parser->pattern->fold) set_fold(&set);
    if (inverted)
        for (int i = 0; i < 4; i++) set.words[i] = ~set.words[i];
    return node_bytes(parser->pattern, &set);
}

static uint32_t node_class(Parser *parser, const char *name, int with_underscore, int inverted) {
    ByteSet set = {0};
    add_class(&set, (const uint8_t *)name, 5);
    if (with_underscore) set_add(&set, '_');
    if (inverted)
        for (int i = 0; i < 4; i++) set.words[i] = ~set.words[i];
    return node_bytes(parser->pattern, &set);
}

/* A repetition of `node`, if one stands here; else `node` itself. Sets `any` when it was one. */
static uint32_t parse_repetition(Parser *parser, uint32_t node, int *any) {
    uint64_t least = 0, most = NO_END;
    const uint8_t *where = parser->at;
    *any = 1;
    if (looking_at(parser, '*', 0)) parser->at++;
    else if (looking_at_operator(parser, '+')) least = 1, skip_operator(parser);
    else if (looking_at_operator(parser, '?')) most = 1, skip_operator(parser);
    else if (looking_at_operator(parser, '{')) {
        int extended = parser->syntax == SYNTAX_EXTENDED, digits = 0;
        const uint8_t *c = where + (extended ? 1 : 2), *end = parser->end;
        for (; c < end && *c >= '0' && *c <= '9'; c++, digits++) least = least > REPEAT_MOST ? least : least * 10 + *c - '0';
        if (c < end && *c == ',') {
            const uint8_t *after = ++c;
            digits = 1; /* {,n} and {,} are from 0 */
            if (c < end && *c >= '0' && *c <= '9') most = 0;
            for (; c < end && *c >= '0' && *c <= '9'; c++) most = most > REPEAT_MOST ? most : most * 10 + *c - '0';
            if (after == c) most = NO_END;
        } else {
            most = least;
        }
        int closed = digits && (extended ? c < end && *c == '}' : end - c >= 2 && c[0] == '\\' && c[1] == '}');
        if (!closed) {
            if (!extended) malformed_pattern(parser, where, "\\{ must be followed by m\\}, m,\\}, ,n\\} or m,n\\}");
            *any = 0; /* a plain brace */
            return node;
        }
        if (least > REPEAT_MOST || (most > REPEAT_MOST && most != NO_END))
            malformed_pattern(parser, where, "at most 32767 repetitions can be asked for");
        if (least > most) malformed_pattern(parser, where, "the first number is above the second");
        parser->at = c + (extended ? 1 : 2);
    } else {
        *any = 0;
        return node;
    }
    Node repeat = {.kind = NODE_REPEAT, .least = (uint16_t)least, .most = (uint16_t)most};
    node_append(parser->pattern, &repeat, node);
    return node_new(parser->pattern, repeat);
}

static uint32_t parse_alternatives(Parser *parser);

static uint32_t parse_group(Parser *parser) {
    const uint8_t *opened = parser->at;
    if (parser->groups == DEPTH_MOST)
        malformed_pattern(parser, opened, "too many groups in one another");
    skip_operator(parser);
    parser->groups++;
    uint32_t node = parse_alternatives(parser);
    if (!looking_at_operator(parser, ')')) malformed_pattern(parser, opened, "( without its )");
    skip_operator(parser);
    parser->groups--;
    return node;
}

/* Something with a backslash that is no operator of the syntax. */
static uint32_t parse_escape(Parser *parser, int *is_need) {
    const uint8_t *where = parser->at;
    if (parser->end - where < 2) malformed_pattern(parser, where, "a backslash at the end");
    parser->at += 2;
    uint8_t c = where[1];
    static const char needs[] = "`'<>bB";
    static const Need meanings[] = {NEED_LINE_BEGIN, NEED_LINE_END,  NEED_WORD_BEGIN,
                                    NEED_WORD_END,   NEED_WORD_EDGE, NEED_NO_WORD_EDGE};
    const char *need = memchr(needs, c, sizeof needs - 1);
    if (need) {
        *is_need = 1;
        return node_need(parser->pattern, meanings[need - needs]);
    }
    switch (c) {
        case 'w': return node_class(parser, "alnum", 1, 0);
        case 'W': return node_class(parser, "alnum", 1, 1);
        case 's': return node_class(parser, "space", 0, 0);
        case 'S': return node_class(parser, "space", 0, 1);
    }
    if (c >= '1' && c <= '9') malformed_pattern(parser, where, "back-references such as \\1 are not supported");
    if (c == '0' || is_letter(c))
        malformed_pattern(parser, where,
                          "a backslash before this letter or digit means nothing; there are \\w \\W \\s \\S \\b \\B, "
                          "and classes such as [[:digit:]]");
    return node_byte(parser->pattern, c);
}

/* One after another, up to `|`, a `)` that closes a group, or the end. */
static uint32_t parse_sequence(Parser *parser) {
    Pattern *pattern = parser->pattern;
    int extended = parser->syntax == SYNTAX_EXTENDED;
    Node list = {.kind = NODE_ALL_OF};
    int first = 1, operand = 0; /* nothing has been read; something that a basic repetition can repeat has been */
    while (parser->at < parser->end && !looking_at_operator(parser, '|')) {
        if (looking_at_operator(parser, ')')) {
            if (parser->groups) break;
            /* Alone it is a plain character in extended syntax, and a mistake in basic syntax. */
            if (!extended) malformed_pattern(parser, parser->at, "\\) without its \\(");
        }
        uint32_t node;
        int is_need = 0, repeated = 1;
        uint8_t c = *parser->at;
        if (extended && first) {
            /* A repetition of nothing, as in `*a`, is nothing. */
            node = node_new(pattern, (Node){.kind = NODE_EMPTY});
            node = parse_repetition(parser, node, &repeated);
            if (repeated) goto read;
            repeated = 1;
        }
        if (!extended && !operand && c == '\\' && parser->end - parser->at > 1 && strchr("+?{", parser->at[1])) {
            node = node_byte(pattern, parser->at[1]); /* likewise plain: nothing is there to repeat */
            parser->at += 2;
        } else if (c == '^' && (extended || first)) {
            parser->at++;
            is_need = 1;
            node = node_need(pattern, NEED_LINE_BEGIN);
        } else if (c == '$' && (extended || parser->end - parser->at == 1 ||
                                (parser->end - parser->at >= 3 && parser->at[1] == '\\' && (parser->at[2] == ')' || parser->at[2] == '|')))) {
            parser->at++;
            is_need = 1;
            node = node_need(pattern, NEED_LINE_END);
        } else if (looking_at_operator(parser, '(')) {
            node = parse_group(parser);
        } else if (c == '[') {
            node = parse_bracket(parser);
        } else if (c == '.') {
            ByteSet all = {{~0ull, ~0ull, ~0ull, ~0ull}};
            parser->at++;
            node = node_bytes(pattern, &all);
        } else if (c == '\\') {
            node = parse_escape(parser, &is_need);
        } else {
            parser->at++;
            node = node_byte(pattern, c);
        }
        if (!is_need) operand = 1;
        first = 0;
    read:
        while (repeated && (extended || operand)) node = parse_repetition(parser, node, &repeated);
        node_append(pattern, &list, node);
        first = 0;
    }
    return node_of_list(pattern, list);
}

static uint32_t parse_alternatives(Parser *parser) {
    Node list = {.kind = NODE_ONE_OF};
    for (;;) {
        node_append(parser->pattern, &list, parse_sequence(parser));
        if (!looking_at_operator(parser, '|')) return node_of_list(parser->pattern, list);
        skip_operator(parser);
    }
}

static uint32_t parse_fixed(Pattern *pattern, const uint8_t *text, size_t size) {
    Node list = {.kind = NODE_ALL_OF};
    for (size_t i = 0; i < size; i++) node_append(pattern, &list, node_byte(pattern, text[i]));
    return node_of_list(pattern, list);
}

/* One pattern, without line ends. */
static uint32_t parse_pattern(Pattern *pattern, Syntax syntax, const uint8_t *text, size_t size) {
    if (syntax == SYNTAX_FIXED) return parse_fixed(pattern, text, size);
    Parser parser = {.pattern = pattern, .begin = text, .at = text, .end = text + size, .syntax = syntax};
    return parse_alternatives(&parser);
}

#endif
