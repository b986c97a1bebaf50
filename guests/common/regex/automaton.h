/* A deterministic automaton over bytes, made as far as a text needs it.
 *
 * Its states are sets of steps. A state's row in `table` has, for each class of bytes, the row that follows, or UNKNOWN:
 * then the state is made, by one simulation of the steps. Memory is bounded: when there is no room for one more state all
 * are forgotten, and those that are still needed are made again. So a pattern costs at worst its size for each byte.
 *
 * Where a line begins is the first state that is made. Most bytes lead from it to itself, if the pattern begins with few
 * different bytes: these are looked for then, and the rest is skipped (`skips`).
 *
 * What a place requires of the byte behind it (as $ and \> do) is decided when that byte is read, one byte late.
 *
 * Two kinds: the one that LINES looks for goes through many lines, begins anew at each byte and at each line, and ends at
 * the first match (MATCHED); the one for the LONGEST match begins at one place, and its states say whether a match ends
 * there (ENDS_HERE) or ended before the last byte (ENDED_BEFORE).
 */
#ifndef INSITU_REGEX_AUTOMATON_H
#define INSITU_REGEX_AUTOMATON_H

#include "byteset.h"
#include "literals.h"
#include "steps.h"

#define TABLE_SIZE ((size_t)4 << 20) /* bytes */
#define POOL_SIZE ((size_t)1 << 20)  /* step numbers that all states together have at first */
#define POOL_MOST ((size_t)4 << 20)  /* and where that is too few, and there is memory */
#define STATES_MOST 16384u           /* a power of two */

enum { UNKNOWN, MATCHED, DEAD, FIRST_STATE }; /* rows that are none; of DEAD nothing matches until the line ends */
enum { ENDS_HERE = 1, ENDED_BEFORE = 2, PENDING = 4 };
typedef enum { FOR_LINES, FOR_LONGEST } Aim;
typedef enum { AFTER_OTHER, AFTER_WORD, AFTER_LINE_END } Context; /* what the byte before a place is */

typedef struct {
    uint32_t keys, count; /* its steps, in the pool */
    uint8_t context, flags;
} State;

typedef struct {
    Steps steps;
    Aim aim;
    uint8_t class_of[256], context_of[256], byte_of[256]; /* byte -> class; class -> context, one of its bytes */
    uint32_t classes;
    int revives; /* a state of no steps may have successors: where a match can begin depends on the byte before */
    uint32_t *table;  /* of rows: a state's number times `classes` */
    State *states;
    uint32_t state_count, states_most;
    uint32_t starts[3]; /* rows by context; UNKNOWN: not made */
    uint16_t *pool;
    size_t pool_size, pool_used;
    uint16_t *index; /* of states by hash; 0: free */
    uint32_t flushes;
    int skips;
    ByteFinder changes;      /* bytes that lead from the first state to another one */
    uint64_t skipped, stops; /* bytes, and how often skipping them ended */
    /* of the simulation */
    uint64_t *marks;
    uint16_t *stack, *found;
    uint32_t found_count;
    int done;
} Automaton;

/* Bytes that no set and no requirement tells apart are one class. */
static void classify(Automaton *automaton) {
    const Pattern *pattern = automaton->steps.pattern;
    int words = 0;
    for (uint32_t i = 0; i < automaton->steps.count; i++) {
        const Step *step = &automaton->steps.steps[i];
        words |= step->kind == STEP_NEED && step->need > NEED_LINE_END;
        automaton->revives |= step->kind == STEP_NEED && step->need == NEED_NO_WORD_BEFORE && automaton->aim == FOR_LINES;
    }
    automaton->classes = 1;
    for (uint32_t i = 0; i < pattern->set_count + 2; i++) {
        if (i == pattern->set_count + 1 && !words) break;
        uint16_t split[256] = {0}; /* old class -> the new class of its bytes that are in the set, + 1 */
        uint16_t inside[256] = {0}, outside[256] = {0};
        for (int byte = 0; byte < 256; byte++) {
            int in = i < pattern->set_count    ? set_has(&pattern->sets[i], (uint8_t)byte)
                     : i == pattern->set_count ? byte == '\n'
                                               : is_word_byte((uint8_t)byte);
            (in ? inside : outside)[automaton->class_of[byte]] = 1;
        }
        for (uint32_t class = 0, count = automaton->classes; class < count; class++)
            if (inside[class] && outside[class]) split[class] = (uint16_t)(automaton->classes++ + 1);
        for (int byte = 0; byte < 256; byte++) {
            int in = i < pattern->set_count    ? set_has(&pattern->sets[i], (uint8_t)byte)
                     : i == pattern->set_count ? byte == '\n'
                                               : is_word_byte((uint8_t)byte);
            uint16_t other = split[automaton->class_of[byte]];
            if (in && other) automaton->class_of[byte] = (uint8_t)(other - 1);
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        uint8_t class = automaton->class_of[byte];
        automaton->byte_of[class] = (uint8_t)byte;
        automaton->context_of[class] = byte == '\n' ? AFTER_LINE_END : words && is_word_byte((uint8_t)byte) ? AFTER_WORD : AFTER_OTHER;
    }
}

static void automaton_flush(Automaton *automaton) {
    memset(automaton->index, 0, 2 * STATES_MOST * sizeof *automaton->index);
    memset(automaton->starts, 0, sizeof automaton->starts);
    automaton->state_count = FIRST_STATE;
    automaton->pool_used = 0;
    automaton->flushes++;
}

static Automaton *automaton_of(const Pattern *pattern, uint32_t root, Aim aim) {
    Automaton *automaton = pattern_memory(sizeof *automaton);
    automaton->steps = steps_of_pattern(pattern, root);
    automaton->aim = aim;
    classify(automaton);
    automaton->table = pattern_memory(TABLE_SIZE);
    automaton->states = pattern_memory(STATES_MOST * sizeof(State));
    automaton->pool = pattern_memory(POOL_SIZE * sizeof(uint16_t));
    automaton->pool_size = POOL_SIZE;
    automaton->index = pattern_memory(2 * STATES_MOST * sizeof(uint16_t));
    automaton->marks = pattern_memory(STEPS_MOST / 64 * 8 + 8);
    automaton->stack = pattern_memory(STEPS_MOST * sizeof(uint16_t));
    automaton->found = pattern_memory(STEPS_MOST * sizeof(uint16_t));
    uint32_t fit = (uint32_t)(TABLE_SIZE / sizeof(uint32_t)) / automaton->classes;
    automaton->states_most = fit < STATES_MOST ? fit : STATES_MOST;
    automaton_flush(automaton);
    return automaton;
}

/* Whether a place between two contexts is what is needed. */
static int need_met(uint8_t need, Context before, Context after) {
    int word_before = before == AFTER_WORD, word_after = after == AFTER_WORD;
    switch (need) {
        case NEED_LINE_BEGIN: return before == AFTER_LINE_END;
        case NEED_LINE_END: return after == AFTER_LINE_END;
        case NEED_WORD_BEGIN: return !word_before && word_after;
        case NEED_WORD_END: return word_before && !word_after;
        case NEED_WORD_EDGE: return word_before != word_after;
        case NEED_NO_WORD_EDGE: return word_before == word_after;
        case NEED_NO_WORD_BEFORE: return !word_before;
        default: return !word_after;
    }
}

/* Marks `step` and what can be reached from it without reading a byte. `after` is the context behind the place, or -1
 * where that is not known yet: then requirements that ask for it are kept as they are. */
static void reach(Automaton *automaton, uint16_t step, Context before, int after) {
    const Step *steps = automaton->steps.steps;
    uint16_t *stack = automaton->stack;
    size_t depth = 0;
    uint64_t *marks = automaton->marks;
    for (uint32_t at = step;;) {
        if (!(marks[at >> 6] >> (at & 63) & 1)) {
            marks[at >> 6] |= (uint64_t)1 << (at & 63);
            const Step *here = &steps[at];
            if (here->kind == STEP_FORK) {
                /* Each step is pushed at most once: it is marked when it is taken. */
                stack[depth++] = here->other;
                at = here->next;
                continue;
            }
            if (here->kind == STEP_DONE) automaton->done = 1;
            if (here->kind == STEP_NEED) {
                int known = here->need == NEED_LINE_BEGIN || here->need == NEED_NO_WORD_BEFORE;
                if ((known || after >= 0) && need_met(here->need, before, after < 0 ? AFTER_OTHER : (Context)after)) {
                    at = here->next;
                    continue;
                }
            }
        }
        if (!depth) return;
        at = stack[--depth];
    }
}

/* The marked steps that a state consists of, in their order; takes the marks away. True when one of them is a
 * requirement that waits for the next byte. */
static int collect(Automaton *automaton) {
    int pending = 0;
    automaton->found_count = 0;
    for (uint32_t word = 0; word <= automaton->steps.count >> 6; word++) {
        uint64_t bits = automaton->marks[word];
        automaton->marks[word] = 0;
        for (; bits; bits &= bits - 1) {
            uint32_t at = word << 6 | (uint32_t)__builtin_ctzll(bits);
            const Step *step = &automaton->steps.steps[at];
            if (step->kind == STEP_FORK || step->kind == STEP_DONE) continue;
            if (step->kind == STEP_NEED) {
                if (step->need == NEED_LINE_BEGIN || step->need == NEED_NO_WORD_BEFORE) continue;
                pending = 1;
            }
            automaton->found[automaton->found_count++] = (uint16_t)at;
        }
    }
    return pending;
}

/* Hundreds of patterns in one have states of as many steps, and few of these fit the first pool. */
static void pool_grow(Automaton *automaton) {
    if (automaton->pool_size == POOL_MOST) return;
    uint16_t *pool = take_memory(POOL_MOST * sizeof *pool);
    if (!pool) return;
    memcpy(pool, automaton->pool, automaton->pool_used * sizeof *pool);
    automaton->pool = pool; /* the old one stays: somebody may be reading it */
    automaton->pool_size = POOL_MOST;
}

/* The row of the state that consists of `found`; makes it, and room for it, if there is none. */
static uint32_t state_row(Automaton *automaton, Context context, uint8_t flags) {
    uint32_t count = automaton->found_count;
    if (!count && !flags && !automaton->revives) return DEAD * automaton->classes;
    if (!(flags & PENDING)) context = AFTER_OTHER; /* it does not matter */
    uint32_t hash = count * 31u + context * 7u + flags;
    for (uint32_t i = 0; i < count; i++) hash = (hash ^ automaton->found[i]) * 0x9e3779b1u, hash ^= hash >> 15;
    uint32_t slot = hash & (2 * STATES_MOST - 1);
    for (; automaton->index[slot]; slot = (slot + 1) & (2 * STATES_MOST - 1)) {
        const State *state = &automaton->states[automaton->index[slot]];
        if (state->count == count && state->context == context && state->flags == flags &&
            !memcmp(automaton->pool + state->keys, automaton->found, count * sizeof(uint16_t)))
            return automaton->index[slot] * automaton->classes;
    }
    if (count > automaton->pool_size - automaton->pool_used) pool_grow(automaton);
    if (automaton->state_count == automaton->states_most || count > automaton->pool_size - automaton->pool_used) {
        automaton_flush(automaton);
        slot = hash & (2 * STATES_MOST - 1);
    }
    uint32_t number = automaton->state_count++;
    automaton->states[number] = (State){(uint32_t)automaton->pool_used, count, context, flags};
    memcpy(automaton->pool + automaton->pool_used, automaton->found, count * sizeof(uint16_t));
    automaton->pool_used += count;
    automaton->index[slot] = (uint16_t)number;
    memset(automaton->table + (size_t)number * automaton->classes, 0, automaton->classes * sizeof(uint32_t));
    return number * automaton->classes;
}

/* Where a text begins: behind a byte of this context. */
static uint32_t start_row(Automaton *automaton, Context context) {
    if (automaton->starts[context]) return automaton->starts[context];
    automaton->done = 0;
    reach(automaton, automaton->steps.start, context, -1);
    uint8_t flags = collect(automaton) ? PENDING : 0;
    uint32_t row = MATCHED * automaton->classes;
    if (!automaton->done || automaton->aim == FOR_LONGEST)
        row = state_row(automaton, context, flags | (automaton->done ? ENDS_HERE : 0));
    return automaton->starts[context] = row;
}

/* The row that follows `row` on a byte of `class`: what the table does not know yet. */
static uint32_t follow(Automaton *automaton, uint32_t row, uint8_t class) {
    uint32_t flushes = automaton->flushes, next;
    const State state = automaton->states[row / automaton->classes];
    const uint16_t *keys = automaton->pool + state.keys;
    const Step *steps = automaton->steps.steps;
    const Pattern *pattern = automaton->steps.pattern;
    Context after = (Context)automaton->context_of[class];
    uint8_t byte = automaton->byte_of[class];
    automaton->done = 0;
    uint32_t count = state.count;
    if (state.flags & PENDING) {
        for (uint32_t i = 0; i < state.count; i++) reach(automaton, keys[i], (Context)state.context, after);
        collect(automaton);
        count = automaton->found_count;
        keys = automaton->found;
    }
    uint8_t flags = automaton->done ? ENDED_BEFORE : 0;
    automaton->done = 0;
    if (automaton->aim == FOR_LINES && flags) {
        next = MATCHED * automaton->classes;
    } else if (automaton->aim == FOR_LINES && after == AFTER_LINE_END) {
        next = start_row(automaton, AFTER_LINE_END);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            const Step *step = &steps[keys[i]];
            if (step->kind == STEP_BYTES && set_has(&pattern->sets[step->set], byte)) reach(automaton, step->next, after, -1);
        }
        if (automaton->aim == FOR_LINES) reach(automaton, automaton->steps.start, after, -1);
        int done = automaton->done;
        if (collect(automaton)) flags |= PENDING;
        if (done && automaton->aim == FOR_LINES) next = MATCHED * automaton->classes;
        else next = state_row(automaton, after, flags | (done ? ENDS_HERE : 0));
    }
    if (automaton->flushes == flushes) automaton->table[row + class] = next;
    return next;
}

/* Above how many thousandths of a text's bytes, by guess, it is no gain to skip what leaves the first state as it is; and
 * how many bytes are to be skipped at a time at least. */
#define CHANGES_MOST 160
#define SKIP_LEAST 12

static void prepare_skips(Automaton *automaton) {
    ByteSet changes = {0};
    unsigned frequency = 0;
    for (int byte = 0; byte < 256; byte++) {
        /* Each time anew: making a state may have flushed all of them. */
        uint32_t row = start_row(automaton, AFTER_LINE_END), classes = automaton->classes;
        if (row != FIRST_STATE * classes) return;
        uint8_t class = automaton->class_of[byte];
        uint32_t next = automaton->table[row + class];
        if (next == UNKNOWN) next = follow(automaton, row, class);
        if (next == row) continue;
        set_add(&changes, (uint8_t)byte);
        frequency += byte_frequency((uint8_t)byte);
    }
    automaton->skips = frequency < CHANGES_MOST;
    automaton->changes = byte_finder_of(&changes);
}

/* Whether a line of [*at, end) matches. `*at` is where a line begins and `end` behind a line end; if so, `*at` becomes a
 * place in the first line that does. */
static int automaton_find(Automaton *automaton, const uint8_t **at, const uint8_t *end) {
    const uint8_t *class_of = automaton->class_of, *p = *at;
    const uint32_t classes = automaton->classes, first = FIRST_STATE * classes, matched = MATCHED * classes;
    if (p == end) return 0;
    uint32_t row = start_row(automaton, AFTER_LINE_END);
    if (row == matched) return 1;
    if (row == DEAD * classes) return 0; /* no line at all */
    for (;;) {
        /* Rows up to `special` are looked at; the others only lead on. */
        const int skips = automaton->skips && automaton->starts[AFTER_LINE_END] == first; /* else it has been forgotten */
        const uint32_t special = skips ? first : DEAD * classes;
        const uint32_t *table = automaton->table;
        if (row == first && skips) {
            const uint8_t *change = find_byte_of(&automaton->changes, p, end);
            automaton->skipped += (uint64_t)(change - p);
            automaton->skips = ++automaton->stops < 256 || automaton->skipped / automaton->stops >= SKIP_LEAST;
            p = change;
        }
        if (p == end) return 0;
        uint32_t next = table[row + class_of[*p]];
        while (next > special && end - p > 4) {
            row = next, next = table[row + class_of[*++p]];
            if (next <= special) break;
            row = next, next = table[row + class_of[*++p]];
            if (next <= special) break;
            row = next, next = table[row + class_of[*++p]];
            if (next <= special) break;
            row = next, next = table[row + class_of[*++p]];
        }
        while (next > special && p + 1 < end) row = next, next = table[row + class_of[*++p]];
        /* `next` follows `row` on the byte at `p`. */
        if (next == UNKNOWN) next = follow(automaton, row, class_of[*p]);
        if (next == matched) {
            *at = p;
            return 1;
        }
        row = next, p++;
        if (row == DEAD * classes) {
            p = find_byte(p, end, '\n') + 1; /* the rest of the line cannot match */
            row = start_row(automaton, AFTER_LINE_END);
        }
        if (p >= end) return 0;
    }
}

/* The length of the longest match that begins at `at` in the line [begin, end), which '\n' follows; -1: none. */
static ptrdiff_t automaton_longest(Automaton *automaton, const uint8_t *begin, const uint8_t *at, const uint8_t *end) {
    Context context = at == begin ? AFTER_LINE_END : is_word_byte(at[-1]) ? AFTER_WORD : AFTER_OTHER;
    uint32_t row = start_row(automaton, context), classes = automaton->classes;
    ptrdiff_t longest = -1;
    for (const uint8_t *p = at; row != DEAD * classes; p++) {
        uint8_t flags = automaton->states[row / classes].flags;
        if (flags & ENDED_BEFORE) longest = p - 1 - at;
        if (flags & ENDS_HERE) longest = p - at;
        if (p > end) break;
        uint8_t class = automaton->class_of[*p];
        uint32_t next = automaton->table[row + class];
        row = next == UNKNOWN ? follow(automaton, row, class) : next;
    }
    return longest;
}

#endif
