/* Patterns made ready, and where a text matches them: the door to the rest of this folder.
 *
 *   pattern.h    patterns as a tree               parse.h      text -> tree
 *   steps.h      tree -> steps                    automaton.h  steps -> states, as a text needs them
 *   literals.h   tree -> words to look for first  finder.h     looks for them
 *   trie.h       alternatives that begin alike
 *
 * Bytes are characters, and letters are those of ASCII (the C locale). Of several matches in a line the leftmost
 * counts, and of those the longest, as POSIX has it.
 */
#ifndef INSITU_REGEX_H
#define INSITU_REGEX_H

#include "automaton.h"
#include "finder.h"
#include "parse.h"
#include "trie.h"

/* Of a million bytes, where words that are looked for begin, by guess: beyond it that is no gain. */
#define RATE_MOST 20000

#define LISTED_MOST 4096 /* nodes of fixed words that are in a tree of nodes as well as in the trie */

typedef enum { WHOLE_ANY, WHOLE_WORDS, WHOLE_LINES } Whole; /* what a match must be all of */

typedef struct {
    const uint8_t *at;
    size_t size;
} Match;

typedef struct {
    Pattern pattern;
    Node list; /* of the patterns that have been added */
    int unlisted; /* more fixed words than are put into the list: they are in the trie */
    Syntax syntax;
    Whole whole;
    uint32_t plain_root;
    Automaton *lines, *longest; /* NULL: not made yet */
    Automaton *plain;           /* of longest matches that need not be whole words */
    int nullable;               /* no byte can match it */
    uint8_t can_begin[256];     /* bytes with which a match can begin */
    Finder finder;
    int has_finder;
    int exact;             /* what the finder finds matches */
    uint64_t gone, wasted; /* bytes that the finder has seen, and those of lines that it found for nothing */
} Regex;

static Regex regex_begin(Syntax syntax, int fold, Whole whole) {
    return (Regex){.pattern = pattern_empty(fold), .list = {.kind = NODE_ONE_OF}, .syntax = syntax, .whole = whole};
}

/* One or, with line ends in it, several patterns more. Dies with what is wrong and where. */
static void regex_add(Regex *regex, const char *text) {
    /* Not strchr(): it may look for the end of all of it first, each time. */
    for (const char *end = text + strlen(text);;) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t size = (size_t)((stop ? stop : end) - text);
        if (regex->syntax == SYNTAX_FIXED) trie_add(&regex->pattern, (const uint8_t *)text, size);
        if (regex->syntax == SYNTAX_FIXED && regex->pattern.node_count > LISTED_MOST) regex->unlisted = 1;
        else
            node_append(&regex->pattern, &regex->list,
                        parse_pattern(&regex->pattern, regex->syntax, (const uint8_t *)text, size));
        if (!stop) return;
        text = stop + 1;
    }
}

static int is_nullable(const Pattern *pattern, uint32_t index) {
    const Node *node = &pattern->nodes[index];
    int any = 0, all = 1;
    for (uint32_t at = node->last; at; at = pattern->nodes[at].before) {
        int nullable = is_nullable(pattern, at);
        any |= nullable;
        all &= nullable;
    }
    switch (node->kind) {
        case NODE_BYTES: return 0;
        case NODE_ONE_OF: return any;
        case NODE_REPEAT: return !node->least || all;
        case NODE_WORDS: return pattern->trie[pattern->words].ends;
        default: return all;
    }
}

/* The patterns as one tree; their matches must be whole words or lines where that was asked for. */
static uint32_t regex_root(Regex *regex) {
    Pattern *pattern = &regex->pattern;
    uint32_t count = 0;
    for (uint32_t at = regex->list.last; at; at = pattern->nodes[at].before) count++;
    if (pattern->words) pattern->trie[pattern->words].sibling = pattern->trie_count;
    /* Words are looked for one by one only where they are few. */
    regex->plain_root = regex->unlisted || (regex->syntax == SYNTAX_FIXED && count > WORDS_MOST)
                            ? node_new(pattern, (Node){.kind = NODE_WORDS})
                            : node_of_list(pattern, regex->list);
    share_beginnings(pattern, regex->plain_root, 0);
    regex->nullable = is_nullable(pattern, regex->plain_root);
    switch (regex->whole) {
        case WHOLE_WORDS: return node_between(pattern, NEED_NO_WORD_BEFORE, regex->plain_root, NEED_NO_WORD_AFTER);
        case WHOLE_LINES: return node_between(pattern, NEED_LINE_BEGIN, regex->plain_root, NEED_LINE_END);
        default: return regex->plain_root;
    }
}

static void find_first_bytes(Regex *regex) {
    Automaton *automaton = regex->longest;
    const Step *steps = automaton->steps.steps;
    size_t depth = 1;
    automaton->stack[0] = automaton->steps.start;
    while (depth) {
        uint32_t at = automaton->stack[--depth];
        if (automaton->marks[at >> 6] >> (at & 63) & 1) continue;
        automaton->marks[at >> 6] |= (uint64_t)1 << (at & 63);
        if (steps[at].kind == STEP_BYTES)
            for (int byte = 0; byte < 256; byte++)
                regex->can_begin[byte] |= set_has(&regex->pattern.sets[steps[at].set], (uint8_t)byte);
        /* At most one more than is taken: there is room for all steps. */
        if (steps[at].kind == STEP_FORK) automaton->stack[depth++] = steps[at].other;
        if (steps[at].kind == STEP_FORK || steps[at].kind == STEP_NEED) automaton->stack[depth++] = steps[at].next;
    }
    memset(automaton->marks, 0, STEPS_MOST / 64 * 8 + 8);
}

/* Makes ready what looks for lines, and `matches`: what says where in a line. */
static void regex_ready(Regex *regex, int matches) {
    uint32_t root = regex_root(regex);
    Literals literals;
    literals_of(&regex->pattern, root, 0, &literals);
    if (words_say_something(&literals.whole) && !pattern_has_needs(&regex->pattern, root)) {
        regex->has_finder = regex->exact = 1;
        regex->finder = finder_of(&literals.whole, regex->pattern.fold);
    } else if (literals.best.count && words_rate(&literals.best) < RATE_MOST) {
        regex->has_finder = 1;
        regex->finder = finder_of(&literals.best, regex->pattern.fold);
    }
    if (!regex->exact) {
        regex->lines = automaton_of(&regex->pattern, root, FOR_LINES);
        prepare_skips(regex->lines);
    }
    if (!matches) return;
    regex->longest = automaton_of(&regex->pattern, root, FOR_LONGEST);
    find_first_bytes(regex);
    if (regex->whole == WHOLE_WORDS && regex->nullable)
        regex->plain = automaton_of(&regex->pattern, regex->plain_root, FOR_LONGEST);
}

/* The next match in the line [begin, end), which '\n' follows, from `from` on; false when there is none. */
static int regex_match(Regex *regex, const uint8_t *begin, const uint8_t *from, const uint8_t *end, Match *match) {
    for (const uint8_t *at = from; at <= end; at++) {
        if (regex->exact && regex->finder.words.count == 1) {
            at = finder_next(&regex->finder, at, end);
            if (!at) return 0;
        } else if (!regex->nullable) {
            while (at < end && !regex->can_begin[*at]) at++;
            if (at == end) return 0;
        }
        ptrdiff_t size = automaton_longest(regex->longest, begin, at, end);
        if (size < 0) continue;
        /* As GNU has it, no byte is a whole word only where nothing longer matches, whole or not. */
        if (!size && regex->plain && automaton_longest(regex->plain, begin, at, end)) continue;
        *match = (Match){at, (size_t)size};
        return 1;
    }
    return 0;
}

/* Whether a line of [from, end) matches, and the first that does, without its line end. `from` is where a line begins,
 * `end` behind a line end. */
static int regex_line(Regex *regex, const uint8_t *from, const uint8_t *end, Match *line) {
    while (from < end) {
        const uint8_t *place = from;
        if (regex->has_finder) place = finder_next(&regex->finder, from, end);
        else if (!automaton_find(regex->lines, &place, end)) place = NULL;
        if (!place) return 0;
        const uint8_t *before = find_last_byte(from, place, '\n'), *begin = before ? before + 1 : from;
        const uint8_t *stop = find_byte(place, end, '\n');
        int matches = 1;
        if (regex->has_finder && !regex->exact) {
            const uint8_t *at = begin;
            matches = automaton_find(regex->lines, &at, stop + 1);
            regex->gone += (uint64_t)(stop - from);
            if (!matches) regex->wasted += (uint64_t)(stop - begin);
            /* In this text the words are so frequent that looking for them is no gain. */
            if (regex->wasted > 65536 && regex->wasted > regex->gone / 4) regex->has_finder = 0;
        }
        if (matches) {
            *line = (Match){begin, (size_t)(stop - begin)};
            return 1;
        }
        from = stop + 1;
    }
    return 0;
}

#endif
