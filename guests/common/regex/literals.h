/* A few short words of which every match contains one: a text is searched for them first, which is many times quicker
 * than an automaton. (price|cost): [0-9]+ has "price: " and "cost: ".
 *
 * Of each node: the words that it can be, if they are few (`whole`), and the best words that it must contain.
 */
#ifndef INSITU_REGEX_LITERALS_H
#define INSITU_REGEX_LITERALS_H

#include "pattern.h"

#define WORDS_MOST 16
#define WORD_MOST 15
#define SET_MOST 4     /* bytes of a set that count as words of one byte */
#define WORDS_DEPTH 24 /* of nodes that are looked into: deeper ones can be anything */

typedef struct {
    uint8_t count; /* 0: none are known */
    struct {
        uint8_t size, bytes[WORD_MOST];
    } word[WORDS_MOST];
} Words;

typedef struct {
    Words whole, best;
} Literals;

/* How often a byte is met in a text, in thousandths, roughly; at least 1. */
static unsigned byte_frequency(uint8_t byte) {
    static const uint8_t letters[26] = {70, 14, 26, 36, 105, 20, 18, 50, 60, 2, 7, 36, 22, 60, 66, 18, 2, 55, 56, 78, 25, 9, 20, 3, 18, 2};
    if (byte >= 'a' && byte <= 'z') return letters[byte - 'a'];
    if (byte == ' ') return 150;
    if (byte >= '0' && byte <= '9') return 3;
    if (byte >= 'A' && byte <= 'Z') return 4;
    if (byte == '.' || byte == ',' || byte == '"' || byte == '/' || byte == '-' || byte == '=' || byte == ':') return 12;
    return 2;
}

/* Of how many bytes of a text one begins such a word, in millionths: by the two rarest bytes of each. */
static uint64_t words_rate(const Words *words) {
    uint64_t rate = 0;
    for (int i = 0; i < words->count; i++) {
        unsigned one = 1000, two = 1000;
        for (int j = 0; j < words->word[i].size; j++) {
            unsigned frequency = byte_frequency(words->word[i].bytes[j]);
            if (frequency < one) two = one, one = frequency;
            else if (frequency < two) two = frequency;
        }
        rate += one * two;
    }
    return rate;
}

static const Words *better_words(const Words *one, const Words *other) {
    if (!one->count) return other;
    if (!other->count) return one;
    return words_rate(one) <= words_rate(other) ? one : other;
}

static Words words_of_nothing(void) { return (Words){.count = 1}; }

/* Both lists; none when that is too many. */
static int words_join(Words *words, const Words *more) {
    if (!words->count || !more->count || words->count + more->count > WORDS_MOST) return 0;
    for (int i = 0; i < more->count; i++) words->word[words->count++] = more->word[i];
    return 1;
}

/* Each of `words` followed by each of `more`; false, and nothing done, when that is too much. */
static int words_follow(Words *words, const Words *more) {
    if (!words->count || !more->count || words->count * more->count > WORDS_MOST) return 0;
    Words all = {.count = 0};
    for (int i = 0; i < words->count; i++)
        for (int j = 0; j < more->count; j++) {
            int size = words->word[i].size, added = more->word[j].size;
            if (size + added > WORD_MOST) return 0;
            all.word[all.count] = words->word[i];
            memcpy(all.word[all.count].bytes + size, more->word[j].bytes, (size_t)added);
            all.word[all.count++].size = (uint8_t)(size + added);
        }
    *words = all;
    return 1;
}

/* A word of no byte is in every text: such words say nothing. */
static int words_say_something(const Words *words) {
    for (int i = 0; i < words->count; i++)
        if (!words->word[i].size) return 0;
    return words->count;
}

static void literals_of(const Pattern *pattern, uint32_t index, unsigned depth, Literals *literals) {
    const Node *node = &pattern->nodes[index];
    literals->whole.count = literals->best.count = 0;
    if (depth == WORDS_DEPTH) return;
    Literals child;
    switch (node->kind) {
        case NODE_EMPTY:
        case NODE_NEED: literals->whole = words_of_nothing(); return;
        case NODE_BYTES: {
            Words *whole = &literals->whole;
            for (int byte = 0; byte < 256; byte++) {
                if (!set_has(&pattern->sets[node->set], (uint8_t)byte)) continue;
                /* Words are in lower case where case does not matter. */
                if (pattern->fold && byte >= 'A' && byte <= 'Z') continue;
                if (whole->count == SET_MOST) {
                    whole->count = 0;
                    return;
                }
                whole->word[whole->count].size = 1;
                whole->word[whole->count++].bytes[0] = (uint8_t)byte;
            }
            return;
        }
        case NODE_ALL_OF: {
            /* From the last child to the first: what has been put together is behind what comes. */
            Words run = words_of_nothing();
            int whole = 1;
            for (uint32_t at = node->last; at; at = pattern->nodes[at].before) {
                literals_of(pattern, at, depth + 1, &child);
                Words longer = child.whole;
                if (words_follow(&longer, &run)) {
                    run = longer;
                    continue;
                }
                whole = 0;
                if (words_say_something(&run)) literals->best = *better_words(&run, &literals->best);
                if (child.best.count) literals->best = *better_words(&child.best, &literals->best);
                run = child.whole.count ? child.whole : words_of_nothing();
            }
            if (words_say_something(&run)) literals->best = *better_words(&run, &literals->best);
            if (whole) literals->whole = run;
            return;
        }
        case NODE_ONE_OF: {
            int whole = 1, best = 1;
            for (uint32_t at = node->last; at && (whole || best); at = pattern->nodes[at].before) {
                literals_of(pattern, at, depth + 1, &child);
                const Words *most = words_say_something(&child.whole) ? better_words(&child.whole, &child.best) : &child.best;
                if (at == node->last) {
                    literals->best = *most;
                    literals->whole = child.whole;
                    whole = child.whole.count > 0;
                    best = most->count > 0;
                } else {
                    best = best && words_join(&literals->best, most);
                    whole = whole && words_join(&literals->whole, &child.whole);
                }
            }
            if (!best) literals->best.count = 0;
            if (!whole) literals->whole.count = 0;
            return;
        }
        case NODE_REPEAT:
            literals_of(pattern, node->last, depth + 1, &child);
            if (!node->least) {
                Words nothing = words_of_nothing();
                if (node->most == 1 && words_join(&child.whole, &nothing)) literals->whole = child.whole;
                return;
            }
            literals->best = words_say_something(&child.whole) ? *better_words(&child.whole, &child.best) : child.best;
            if (node->least != node->most) return;
            literals->whole = child.whole;
            for (int i = 1; i < node->least; i++)
                if (!words_follow(&literals->whole, &child.whole)) {
                    literals->whole.count = 0;
                    return;
                }
            return;
        default: return;
    }
}

/* Whether a match is exactly one of the words that `literals_of` calls whole: nothing else is required of its place. */
static int pattern_has_needs(const Pattern *pattern, uint32_t index) {
    const Node *node = &pattern->nodes[index];
    if (node->kind == NODE_NEED) return 1;
    for (uint32_t at = node->last; at; at = pattern->nodes[at].before)
        if (pattern_has_needs(pattern, at)) return 1;
    return 0;
}

#endif
