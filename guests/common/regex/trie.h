/* Alternatives that share beginnings, as a tree: thousands of words or patterns would otherwise be a step each in all states
 * of the automaton, of which then few fit, and all cost much to make.
 *
 *   price|pri[cz]e[sd]?|print       p -> r -> i -> c -> e (ends)
 *                                                  [cz] -> e -> what is left: [sd]?
 *                                                  n -> t (ends)
 *
 * Each node of it reads one set of bytes. What an alternative goes on with, from its first part that is not a set, hangs
 * where it begins. A tree's nodes lie side by side, each behind its parent.
 */
#ifndef INSITU_REGEX_TRIE_H
#define INSITU_REGEX_TRIE_H

#include "pattern.h"

#define SHARED_LEAST 17 /* alternatives: fewer are words to look for first (literals.h), or no burden */

static uint32_t trie_node(Pattern *pattern, Trie node) {
    if (!pattern->trie) {
        pattern->trie = pattern_memory(NODES_MOST * sizeof(Trie));
        pattern->trie_count = 1; /* 0 is none */
    }
    if (pattern->trie_count == NODES_MOST) die(2, "the patterns are too long");
    pattern->trie[pattern->trie_count] = node;
    return pattern->trie_count++;
}

static uint32_t trie_child(Pattern *pattern, uint32_t at, uint32_t set) {
    uint32_t child = pattern->trie[at].child;
    while (child && pattern->trie[child].set != set) child = pattern->trie[child].sibling;
    if (child) return child;
    child = trie_node(pattern, (Trie){.set = (uint16_t)set, .sibling = pattern->trie[at].child});
    return pattern->trie[at].child = child;
}

/* A fixed word more of those of NODE_WORDS. */
static void trie_add(Pattern *pattern, const uint8_t *text, size_t size) {
    if (!pattern->words) pattern->words = trie_node(pattern, (Trie){0});
    uint32_t at = pattern->words;
    for (size_t i = 0; i < size; i++) at = trie_child(pattern, at, set_of_byte(pattern, text[i]));
    pattern->trie[at].ends = 1;
}

/* Of the node `index` the last `parts` children, or all of it if it has none, are still to come at `at`. */
static void trie_hang(Pattern *pattern, uint32_t at, uint32_t index, uint32_t parts) {
    if (!pattern->rests) {
        pattern->rests = pattern_memory(NODES_MOST * sizeof(Rest));
        pattern->rest_count = 1; /* likewise */
    }
    /* Each node hangs once at most, so there is room. */
    pattern->rests[pattern->rest_count] = (Rest){.node = index, .parts = parts, .next = pattern->trie[at].rest};
    pattern->trie[at].rest = pattern->rest_count++;
}

static uint32_t count_children(const Pattern *pattern, uint32_t index) {
    uint32_t count = 0;
    for (uint32_t at = pattern->nodes[index].last; at; at = pattern->nodes[at].before) count++;
    return count;
}

static void share_sequence(Pattern *pattern, uint32_t root, uint32_t index) {
    uint32_t count = count_children(pattern, index), left = count, at = root;
    uint32_t *parts = malloc(count * sizeof *parts); /* from the last to the first */
    if (!parts) die(2, "not enough memory for the pattern");
    for (uint32_t i = 0, child = pattern->nodes[index].last; child; child = pattern->nodes[child].before) parts[i++] = child;
    for (; left && pattern->nodes[parts[left - 1]].kind == NODE_BYTES; left--)
        at = trie_child(pattern, at, pattern->nodes[parts[left - 1]].set);
    if (left) trie_hang(pattern, at, index, left);
    else pattern->trie[at].ends = 1;
    free(parts);
}

static void share_alternatives(Pattern *pattern, uint32_t root, uint32_t index) {
    const Node *node = &pattern->nodes[index];
    switch (node->kind) {
        case NODE_ONE_OF:
            for (uint32_t at = node->last; at; at = pattern->nodes[at].before) share_alternatives(pattern, root, at);
            return;
        case NODE_ALL_OF: share_sequence(pattern, root, index); return;
        case NODE_BYTES: pattern->trie[trie_child(pattern, root, node->set)].ends = 1; return;
        case NODE_EMPTY: pattern->trie[root].ends = 1; return;
        default: trie_hang(pattern, root, index, 0);
    }
}

static uint32_t count_alternatives(const Pattern *pattern, uint32_t index) {
    if (pattern->nodes[index].kind != NODE_ONE_OF) return 1;
    uint32_t count = 0;
    for (uint32_t at = pattern->nodes[index].last; at; at = pattern->nodes[at].before) count += count_alternatives(pattern, at);
    return count;
}

/* Gives each node of many alternatives its tree (`set`). `shared`: this one's alternatives are already in that of its parent. */
static void share_beginnings(Pattern *pattern, uint32_t index, int shared) {
    int either = pattern->nodes[index].kind == NODE_ONE_OF;
    if (either && !shared && count_alternatives(pattern, index) >= SHARED_LEAST) {
        uint32_t root = trie_node(pattern, (Trie){0});
        share_alternatives(pattern, root, index);
        pattern->trie[root].sibling = pattern->trie_count;
        pattern->nodes[index].set = root;
        shared = 1;
    }
    for (uint32_t at = pattern->nodes[index].last; at; at = pattern->nodes[at].before)
        share_beginnings(pattern, at, shared && either && pattern->nodes[at].kind == NODE_ONE_OF);
}

#endif
