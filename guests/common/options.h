/* Arguments of a guest, one after another: short options (-c, -m 3, -m3, several as in -vc), long ones (--max-count 3,
 * --max-count=3), and operands, which may stand among them; after `--` everything is an operand. `--help` writes the
 * usage to standard output and ends the guest well; whatever is wrong ends it with one line and exit code 2.
 *
 *     static const Option OPTIONS[] = {{'c', 'c', "count", NULL}, {'m', 'm', "max-count", "N"}, {0}};
 *     Arguments arguments = arguments_of(argc, argv, OPTIONS, USAGE);
 *     for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
 *         case 'c': count = 1; break;
 *         case 'm': most = number_of(&arguments, 0, 1000); break;
 *         case OPERAND: pattern = arguments.value; break;
 *     }
 */
#ifndef INSITU_OPTIONS_H
#define INSITU_OPTIONS_H

#include "io.h"

enum { NO_MORE = 0, OPERAND = -1 };

typedef struct {
    int which;         /* what next_argument() answers: above 0, and what the program likes; 0 ends the table */
    char letter;       /* 0: it has no short form */
    const char *word;  /* NULL: it has no long form */
    const char *value; /* what its value is, in capitals, as in "--max-count N"; NULL: it takes none */
} Option;

typedef struct {
    int count, at;
    char **words;
    const Option *options;
    const char *usage;
    const char *cluster; /* the letters that are left of a word such as -vc; NULL between words */
    int operands_only;
    const char *value; /* of the option, or the operand, that next_argument() has answered */
    char name[64];     /* of that option, as it was written */
} Arguments;

static Arguments arguments_of(int argc, char **argv, const Option *options, const char *usage) {
    return (Arguments){.count = argc, .at = 1, .words = argv, .options = options, .usage = usage};
}

static _Noreturn void print_usage(const char *usage) {
    _exit(write_all(1, usage, strlen(usage)) ? 1 : 0);
}

/* The option's name, for messages: `size` bytes at `from`, cut where they are too many. */
static void argument_named(Arguments *arguments, const char *dashes, const char *from, size_t size) {
    size_t used = strlen(dashes), room = sizeof arguments->name - 1 - used;
    if (size > room) size = room;
    memcpy(arguments->name, dashes, used);
    memcpy(arguments->name + used, from, size);
    arguments->name[used + size] = 0;
}

static _Noreturn void unknown_option(const Arguments *arguments) {
    die(2, arguments->name, ": no such option; --help lists them");
}

/* The next word is the option's value. */
static int value_follows(Arguments *arguments, const Option *option) {
    if (arguments->at == arguments->count) die(2, arguments->name, " needs a value, ", option->value);
    arguments->value = arguments->words[arguments->at++];
    return option->which;
}

static int next_long(Arguments *arguments, const char *word) {
    const char *equals = strchr(word, '=');
    size_t size = equals ? (size_t)(equals - word) : strlen(word);
    argument_named(arguments, "--", word, size);
    if (size == 4 && !memcmp(word, "help", 4) && !equals) print_usage(arguments->usage);
    for (const Option *option = arguments->options; option->which; option++) {
        if (!option->word || strlen(option->word) != size || memcmp(option->word, word, size)) continue;
        arguments->value = NULL;
        if (equals && !option->value) die(2, arguments->name, " takes no value");
        if (!option->value) return option->which;
        if (!equals) return value_follows(arguments, option);
        arguments->value = equals + 1;
        return option->which;
    }
    unknown_option(arguments);
}

static int next_short(Arguments *arguments) {
    const char *letter = arguments->cluster++;
    argument_named(arguments, "-", letter, 1);
    if (!*arguments->cluster) arguments->cluster = NULL;
    for (const Option *option = arguments->options; option->which; option++) {
        if (!option->letter || option->letter != *letter) continue;
        arguments->value = NULL;
        if (!option->value) return option->which;
        if (!arguments->cluster) return value_follows(arguments, option);
        arguments->value = arguments->cluster; /* -m3 */
        arguments->cluster = NULL;
        return option->which;
    }
    unknown_option(arguments);
}

/* Which option comes next, its value in arguments->value; OPERAND, likewise; or NO_MORE. */
static int next_argument(Arguments *arguments) {
    while (!arguments->cluster) {
        if (arguments->at >= arguments->count) return NO_MORE;
        const char *word = arguments->words[arguments->at++];
        if (arguments->operands_only || word[0] != '-' || !word[1]) {
            arguments->value = word;
            return OPERAND;
        }
        if (word[1] != '-') arguments->cluster = word + 1;
        else if (word[2]) return next_long(arguments, word + 2);
        else arguments->operands_only = 1;
    }
    return next_short(arguments);
}

/* The option's value as a whole number in decimal; dies unless it is one from `least` to `most`. */
static uint64_t number_of(const Arguments *arguments, uint64_t least, uint64_t most) {
    uint64_t number = 0;
    const char *c = arguments->value;
    int fits = *c != 0;
    for (; fits && *c; c++)
        fits = *c >= '0' && *c <= '9' && !__builtin_mul_overflow(number, 10, &number) &&
               !__builtin_add_overflow(number, (uint64_t)(*c - '0'), &number);
    if (!fits || number < least || number > most)
        die(2, arguments->name, " ", arguments->value, ": must be a whole number from ", decimal(least).digits, " to ",
            decimal(most).digits);
    return number;
}

/* For a guest that takes no argument but --help; `why` says what it does instead. */
static void take_no_argument(int argc, char **argv, const char *usage, const char *why) {
    if (argc == 2 && !strcmp(argv[1], "--help")) print_usage(usage);
    if (argc > 1) die(2, "takes no argument: ", why);
}

#endif
