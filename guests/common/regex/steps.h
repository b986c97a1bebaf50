/* A pattern as steps: read one byte of a set, go two ways, require something of the place, be done. Repetitions with
 * numbers are written out, so their number is bounded: a pattern such as (a{1,999}){1,999} is refused.
 */
#ifndef INSITU_REGEX_STEPS_H
#define INSITU_REGEX_STEPS_H

#include "pattern.h"

#define STEPS_MOST 60000

typedef enum { STEP_DONE, STEP_BYTES, STEP_FORK, STEP_NEED } StepKind;

typedef struct {
    uint8_t kind, need;
    uint16_t set, next, other;
} Step;

typedef struct {
    const Pattern *pattern;
    Step *steps;
    uint32_t count;
    uint16_t start;
} Steps;

static uint16_t step_add(Steps *steps, Step step) {
    if (steps->count == STEPS_MOST)
        die(2, "the pattern has more than ", decimal(STEPS_MOST).digits, " steps when its repetitions are written out");
    steps->steps[steps->count] = step;
    return (uint16_t)steps->count++;
}

static uint16_t steps_fork(Steps *steps, uint16_t one, uint16_t other) {
    return step_add(steps, (Step){.kind = STEP_FORK, .next = one, .other = other});
}

static uint16_t steps_of(Steps *steps, uint32_t index, uint16_t next);

/* What is left of an alternative. */
static uint16_t steps_of_rest(Steps *steps, const Rest *rest, uint16_t next) {
    const Node *nodes = steps->pattern->nodes;
    if (!rest->parts) return steps_of(steps, rest->node, next);
    uint32_t child = nodes[rest->node].last;
    for (uint32_t left = rest->parts; left; left--, child = nodes[child].before) next = steps_of(steps, child, next);
    return next;
}

/* Alternatives that share beginnings. The nodes of their trie were made from the root on, so from the last to the first
 * each is made after its children. `entry[node]` is where what follows the node's byte begins. */
static uint16_t steps_of_trie(Steps *steps, uint32_t root, uint16_t next) {
    const Pattern *pattern = steps->pattern;
    const Trie *trie = pattern->trie;
    const uint32_t end = trie[root].sibling;
    uint16_t *entry = malloc((end - root) * sizeof *entry);
    if (!entry) die(2, "not enough memory for the pattern");
    for (uint32_t at = end; at-- > root;) {
        int any = trie[at].ends;
        uint16_t here = next;
        for (uint32_t child = trie[at].child; child; child = trie[child].sibling) {
            uint16_t way = step_add(steps, (Step){.kind = STEP_BYTES, .set = trie[child].set, .next = entry[child - root]});
            here = any ? steps_fork(steps, way, here) : way;
            any = 1;
        }
        for (uint32_t rest = trie[at].rest; rest; rest = pattern->rests[rest].next) {
            uint16_t way = steps_of_rest(steps, &pattern->rests[rest], next);
            here = any ? steps_fork(steps, way, here) : way;
            any = 1;
        }
        entry[at - root] = here;
    }
    uint16_t begin = entry[0];
    free(entry);
    return begin;
}

/* The steps of a node, made from its end: `next` is what follows it. Returns where it begins. */
static uint16_t steps_of(Steps *steps, uint32_t index, uint16_t next) {
    const Node *nodes = steps->pattern->nodes, *node = &nodes[index];
    switch (node->kind) {
        case NODE_BYTES: return step_add(steps, (Step){.kind = STEP_BYTES, .set = (uint16_t)node->set, .next = next});
        case NODE_NEED: return step_add(steps, (Step){.kind = STEP_NEED, .need = (uint8_t)node->least, .next = next});
        case NODE_WORDS: return steps_of_trie(steps, steps->pattern->words, next);
        case NODE_ALL_OF:
            for (uint32_t child = node->last; child; child = nodes[child].before) next = steps_of(steps, child, next);
            return next;
        case NODE_ONE_OF: {
            if (node->set) return steps_of_trie(steps, node->set, next);
            uint16_t entry = steps_of(steps, node->last, next);
            for (uint32_t child = nodes[node->last].before; child; child = nodes[child].before)
                entry = steps_fork(steps, steps_of(steps, child, next), entry);
            return entry;
        }
        case NODE_REPEAT: {
            uint16_t entry = next;
            uint32_t required = node->least;
            if (node->most == NO_END) {
                uint16_t loop = steps_fork(steps, next, next);
                uint16_t body = steps_of(steps, node->last, loop);
                steps->steps[loop].next = body;
                entry = required ? body : loop;
                required -= required > 0;
            } else {
                for (uint32_t i = node->least; i < node->most; i++)
                    entry = steps_fork(steps, steps_of(steps, node->last, entry), next);
            }
            for (; required; required--) {
                uint16_t before = entry;
                entry = steps_of(steps, node->last, before);
                if (entry == before) break; /* nothing, however often */
            }
            return entry;
        }
        default: return next; /* NODE_EMPTY */
    }
}

static Steps steps_of_pattern(const Pattern *pattern, uint32_t root) {
    Steps steps = {.pattern = pattern, .steps = pattern_memory((STEPS_MOST) * sizeof(Step))};
    steps.start = steps_of(&steps, root, step_add(&steps, (Step){.kind = STEP_DONE}));
    return steps;
}

#endif
