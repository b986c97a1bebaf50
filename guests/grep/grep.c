/* grep: the lines that match, byte for byte as GNU grep has it in the C locale, reading binary data as text (-a).
 *
 * Other than there, no match is no failure: exit 0 and nothing (with -c: 0), because a launch that fails is answered as a
 * failure. Lines are looked for in whole blocks of the input, not one by one; of what is written, neighbouring lines are
 * written together.
 */
#include "../common/lines.h"
#include "../common/options.h"
#include "../common/regex/regex.h"

const char *const program_name = "grep";

static const char usage[] =
    "usage: grep [option]... PATTERN\n"
    "       grep [option]... -e PATTERN...\n"
    "Writes the lines of standard input that match a pattern, as GNU grep does in the C locale.\n"
    "  -G, --basic-regexp     patterns are basic regular expressions (default)\n"
    "  -E, --extended-regexp  patterns are extended regular expressions\n"
    "  -F, --fixed-strings    patterns are plain text\n"
    "  -e, --regexp PATTERN   one of several patterns; line ends separate patterns, too\n"
    "  -i, --ignore-case      upper and lower case letters (of ASCII) are the same\n"
    "  -w, --word-regexp      what matches must be whole words\n"
    "  -x, --line-regexp      what matches must be whole lines\n"
    "  -v, --invert-match     the lines that do not match\n"
    "  -c, --count            only how many lines\n"
    "  -n, --line-number      each line with its number: NUMBER:LINE\n"
    "  -o, --only-matching    only what matches, each on a line of its own\n"
    "  -m, --max-count N      the first N lines, then end\n"
    "  -a, --text             binary data are text: always so\n"
    "No match is no failure here: exit code 0, and an empty result or 0. Back-references are not supported.\n"
    "A line has at most 8 MiB.\n";

static const Option options[] = {
    {'G', 'G', "basic-regexp", NULL}, {'E', 'E', "extended-regexp", NULL}, {'F', 'F', "fixed-strings", NULL},
    {'e', 'e', "regexp", "PATTERN"},  {'i', 'i', "ignore-case", NULL},     {'w', 'w', "word-regexp", NULL},
    {'x', 'x', "line-regexp", NULL},  {'v', 'v', "invert-match", NULL},    {'c', 'c', "count", NULL},
    {'n', 'n', "line-number", NULL},  {'o', 'o', "only-matching", NULL},   {'m', 'm', "max-count", "N"},
    {'a', 'a', "text", NULL},         {0},
};

static struct {
    int invert, count, number, only_matching;
    uint64_t most;
} asked = {.most = UINT64_MAX};

static Regex regex;
static uint64_t selected;           /* lines */
static uint64_t lines_before;       /* how many there are before `counted`: only with -n */
static const uint8_t *counted;      /* in the block at hand */
static const uint8_t *held, *until; /* lines that are still to be written */

static Regex parse_arguments(int argc, char **argv) {
    Syntax syntax = SYNTAX_BASIC;
    Whole whole = WHOLE_ANY;
    int fold = 0;
    const char *operand = NULL;
    char **patterns = malloc((size_t)argc * sizeof *patterns);
    size_t count = 0;
    if (!patterns) die(2, "not enough memory");
    Arguments arguments = arguments_of(argc, argv, options, usage);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
        case 'G': syntax = SYNTAX_BASIC; break;
        case 'E': syntax = SYNTAX_EXTENDED; break;
        case 'F': syntax = SYNTAX_FIXED; break;
        case 'e': patterns[count++] = (char *)arguments.value; break;
        case 'i': fold = 1; break;
        case 'w': whole = whole == WHOLE_LINES ? whole : WHOLE_WORDS; break;
        case 'x': whole = WHOLE_LINES; break;
        case 'v': asked.invert = 1; break;
        case 'c': asked.count = 1; break;
        case 'n': asked.number = 1; break;
        case 'o': asked.only_matching = 1; break;
        case 'm': asked.most = number_of(&arguments, 0, INT64_MAX); break;
        case 'a': break;
        default:
            if (operand) die(2, arguments.value, ": one pattern is enough, or each with -e; the text comes on standard input");
            operand = arguments.value;
    }
    if (operand && count) die(2, operand, ": with -e there is no other pattern; the text comes on standard input");
    if (operand) patterns[count++] = (char *)operand;
    if (!count) die(2, "a pattern is missing; --help lists the options");
    Regex made = regex_begin(syntax, fold, whole);
    for (size_t i = 0; i < count; i++) regex_add(&made, patterns[i]);
    return made;
}

static void write_held(void) {
    output_add(held, (size_t)(until - held));
    held = until = NULL;
}

/* The number of the line that begins at `at`, and a colon. */
static void write_number(const uint8_t *at) {
    lines_before += count_bytes(counted, at, '\n');
    counted = at;
    Decimal number = decimal(lines_before + 1);
    output_add(number.digits, strlen(number.digits));
    output_add(":", 1);
}

static void write_matches(const uint8_t *begin, const uint8_t *end) {
    Match match;
    for (const uint8_t *from = begin; from < end && regex_match(&regex, begin, from, end, &match);) {
        if (match.at == end) break;
        if (match.size) {
            if (asked.number) write_number(begin);
            output_add(match.at, match.size);
            output_add("\n", 1);
        }
        from = match.at + (match.size ? match.size : 1);
    }
}

/* Lines that were asked for: [begin, end), with their ends. False once there are as many as were asked for. */
static int take_lines(const uint8_t *begin, const uint8_t *end) {
    int one_by_one = asked.number || asked.most != UINT64_MAX || (asked.only_matching && !asked.count);
    if (!one_by_one) {
        if (asked.count) {
            selected += asked.invert ? count_bytes(begin, end, '\n') : 1;
        } else {
            if (begin != until) write_held(), held = begin;
            until = end;
        }
        return 1;
    }
    while (begin < end) {
        const uint8_t *stop = find_byte(begin, end, '\n');
        if (selected == asked.most) return 0;
        selected++;
        if (asked.count || (asked.only_matching && asked.invert)) {
        } else if (asked.only_matching) {
            write_matches(begin, stop);
        } else {
            if (asked.number) write_number(begin);
            output_add(begin, (size_t)(stop + 1 - begin));
        }
        begin = stop + 1;
    }
    return selected < asked.most;
}

/* False once there are as many lines as were asked for. */
static int take_block(const uint8_t *at, const uint8_t *end) {
    counted = at;
    Match line;
    while (regex_line(&regex, at, end, &line)) {
        const uint8_t *behind = line.at + line.size + 1;
        if (!asked.invert ? !take_lines(line.at, behind) : at < line.at && !take_lines(at, line.at)) return 0;
        at = behind;
    }
    if (asked.invert && at < end && !take_lines(at, end)) return 0;
    write_held();
    if (asked.number) lines_before += count_bytes(counted, end, '\n');
    return 1;
}

int main(int argc, char **argv) {
    regex = parse_arguments(argc, argv);
    regex_ready(&regex, asked.only_matching && !asked.invert && !asked.count);
    static Lines lines;
    lines_begin(&lines, 0, "standard input", '\n');
    for (Line block; asked.most && lines_block(&lines, &block);) {
        uint8_t *end = lines.buffer + (block.at + block.size - lines.buffer);
        /* The last line may lack its end; there is room for it. */
        if (end[-1] != '\n') *end++ = '\n';
        if (!take_block(block.at, end)) break;
    }
    if (asked.count) {
        Decimal number = decimal(selected);
        output_add(number.digits, strlen(number.digits));
        output_add("\n", 1);
    }
    output_flush();
    return 0;
}
