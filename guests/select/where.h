/* Conditions: COLUMN OPERATOR VALUE, with `and` and `or` between them, of which `and` binds more tightly; and
 * COLUMN is [not] empty. Several of them must all hold.
 *
 * What a value is says how it is compared. A bare number is compared as a number, exactly: then what is no number is not equal
 * to it, and neither more nor less. Everything else, quoted or not, is compared as text, by its bytes. A string of JSON is
 * the text that it means and never a number, and other values of JSON are the text that they are written with. What is
 * missing or null is not equal to anything, and neither more nor less.
 */
#ifndef SELECT_WHERE_H
#define SELECT_WHERE_H

#include "../common/regex/regex.h"
#include "json.h"
#include "number.h"
#include "table.h"

#define TESTS_MOST 64
#define PATTERNS_MOST 8 /* each takes some megabytes */

typedef enum { IS_EQUAL, IS_NOT_EQUAL, IS_LESS, IS_AT_MOST, IS_MORE, IS_AT_LEAST, MATCHES, DOES_NOT_MATCH, IS_EMPTY, IS_NOT_EMPTY } Operator;
typedef enum { FIRST_OF_ALL, WITH_AND, WITH_OR } Joined; /* FIRST_OF_ALL: a condition begins */

typedef struct {
    Joined joined;
    size_t column;
    Operator operator;
    Text text;
    int numeric;
    Number number;
    Regex *regex;
} Test;

static struct {
    Test test[TESTS_MOST];
    size_t count, patterns;
} where;

static uint8_t *searched; /* a value and the line end that a pattern wants behind it */

typedef struct {
    const char *begin, *at;
} Condition;

static _Noreturn void malformed_condition(const Condition *condition, const char *why) {
    die(2, "--where, at byte ", decimal((uint64_t)(condition->at - condition->begin) + 1).digits, ": ", why);
}

static void skip_spaces(Condition *condition) {
    while (*condition->at == ' ' || *condition->at == '\t') condition->at++;
}

/* Up to the closing mark, which is doubled where it is meant; `at` is behind the opening one. */
static Text quoted_word(Condition *condition, char mark) {
    uint8_t *word = malloc(strlen(condition->at) + 1);
    if (!word) die(2, "not enough memory");
    size_t size = 0;
    for (const char *c = condition->at; *c; c++) {
        if (*c == mark && *++c != mark) {
            condition->at = c;
            return (Text){word, size};
        }
        word[size++] = (uint8_t)*c;
    }
    condition->at--;
    malformed_condition(condition, "what is quoted here has no end");
}

static Text bare_word(Condition *condition, const char *stops, const char *why) {
    const char *begin = condition->at;
    condition->at += strcspn(begin, stops);
    if (condition->at == begin) malformed_condition(condition, why);
    return (Text){(const uint8_t *)begin, (size_t)(condition->at - begin)};
}

static int skip_word(Condition *condition, const char *word) {
    size_t size = strlen(word);
    if (strncmp(condition->at, word, size) || !strchr(" \t", condition->at[size])) return 0;
    condition->at += size;
    skip_spaces(condition);
    return 1;
}

static Operator parse_operator(Condition *condition) {
    static const struct {
        const char *sign;
        Operator operator;
    } operators[] = {{"!=", IS_NOT_EQUAL}, {"<=", IS_AT_MOST}, {">=", IS_AT_LEAST}, {"!~", DOES_NOT_MATCH}, {"==", IS_EQUAL},
                     {"=", IS_EQUAL},      {"<", IS_LESS},     {">", IS_MORE},      {"~", MATCHES}};
    if (skip_word(condition, "is")) {
        int not = skip_word(condition, "not");
        if (!skip_word(condition, "empty")) malformed_condition(condition, "only `is empty` and `is not empty` can be asked for");
        return not ? IS_NOT_EMPTY : IS_EMPTY;
    }
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t size = strlen(operators[i].sign);
        if (strncmp(condition->at, operators[i].sign, size)) continue;
        /* `<>` is not `<` and a text that begins with `>`; such a text is quoted, or stands behind a blank. */
        if (condition->at[size] && strchr("=!<>~", condition->at[size])) break;
        condition->at += size;
        skip_spaces(condition);
        return operators[i].operator;
    }
    malformed_condition(condition, "one of = != < <= > >= ~ !~ or `is [not] empty` must stand here");
}

static Regex *parse_where_pattern(Condition *condition, Text text) {
    if (where.patterns++ == PATTERNS_MOST)
        malformed_condition(condition, "at most 8 patterns can be asked for");
    char *pattern = malloc(text.size + 1);
    Regex *regex = malloc(sizeof *regex);
    if (!searched) searched = take(RECORD_MOST + 2 * BYTES_AFTER);
    if (!pattern || !regex) die(2, "not enough memory");
    memcpy(pattern, text.at, text.size);
    pattern[text.size] = 0;
    *regex = regex_begin(SYNTAX_EXTENDED, 0, WHOLE_ANY);
    regex_add(regex, pattern);
    regex_ready(regex, 0);
    return regex;
}

/* One --where more. */
static void where_add(const char *words) {
    Condition condition = {words, words};
    for (Joined joined = FIRST_OF_ALL;;) {
        if (where.count == TESTS_MOST) malformed_condition(&condition, "at most 64 comparisons can be asked for");
        Test *test = &where.test[where.count++];
        *test = (Test){.joined = joined};
        skip_spaces(&condition);
        if (*condition.at == '[') {
            condition.at++;
            test->column = column_named(quoted_word(&condition, ']'));
        } else {
            test->column = column_named(bare_word(&condition, " \t=!<>~", "a column must stand here"));
        }
        skip_spaces(&condition);
        test->operator = parse_operator(&condition);
        if (test->operator < IS_EMPTY) {
            char mark = *condition.at;
            if (mark == '"' || mark == '\'') {
                condition.at++;
                test->text = quoted_word(&condition, mark);
            } else {
                test->text = bare_word(&condition, " \t", "a value must stand here");
                test->numeric = test->operator < MATCHES && number_from(test->text.at, test->text.size, &test->number);
            }
            if (test->operator >= MATCHES) test->regex = parse_where_pattern(&condition, test->text);
        }
        skip_spaces(&condition);
        if (!*condition.at) return;
        if (skip_word(&condition, "and")) joined = WITH_AND;
        else if (skip_word(&condition, "or")) joined = WITH_OR;
        else malformed_condition(&condition, "`and`, `or` or nothing must stand here; text with spaces is quoted");
    }
}

static int text_matches(Regex *regex, Text text) {
    memcpy(searched, text.at, text.size);
    searched[text.size] = '\n';
    Match line;
    return regex_line(regex, searched, searched + text.size + 1, &line);
}

static int order_holds(Operator operator, int order) {
    switch (operator) {
        case IS_EQUAL: return !order;
        case IS_NOT_EQUAL: return order;
        case IS_LESS: return order < 0;
        case IS_AT_MOST: return order <= 0;
        case IS_MORE: return order > 0;
        default: return order >= 0;
    }
}

static int test_holds(const Test *test) {
    const Value *value = &table.column[test->column].value;
    int negative = test->operator == IS_NOT_EQUAL || test->operator == DOES_NOT_MATCH || test->operator == IS_NOT_EMPTY;
    if (value->kind == VALUE_MISSING || value->kind == VALUE_NULL) return test->operator == IS_EMPTY || (negative && test->operator != IS_NOT_EMPTY);
    if (test->operator >= IS_EMPTY) return (value->size == (value->kind == VALUE_STRING ? 2 : 0)) != negative;
    if (test->numeric) {
        Number number;
        int is_number = (value->kind == VALUE_TEXT || value->kind == VALUE_NUMBER) && number_from(value->at, value->size, &number);
        return is_number ? order_holds(test->operator, numbers_compare(&number, &test->number)) : negative;
    }
    Text text = value->kind == VALUE_STRING ? json_text(value->at, value->size) : (Text){value->at, value->size};
    if (test->regex) return text_matches(test->regex, text) != negative;
    size_t shorter = text.size < test->text.size ? text.size : test->text.size;
    int order = memcmp(text.at, test->text.at, shorter);
    if (!order) order = text.size < test->text.size ? -1 : text.size > test->text.size;
    return order_holds(test->operator, order);
}

/* Whether the record at hand is one that was asked for. */
static int where_holds(void) {
    int any = 1, all = 1; /* of what `or` joins, before the last `or`; of what `and` joins since */
    for (size_t i = 0; i < where.count; i++) {
        const Test *test = &where.test[i];
        if (test->joined == FIRST_OF_ALL) {
            if (i && !any && !all) return 0;
            any = 0, all = 1;
        } else if (test->joined == WITH_OR) {
            any |= all;
            all = 1;
        }
        all = all && test_holds(test);
    }
    return any || all;
}

#endif
