/* What a pattern means, as a tree of nodes, and the sets of bytes in it.
 *
 * Children of a node are linked from the last to the first, as the steps are made from the end of a pattern to its
 * beginning. No set has the line end: a match lies in one line.
 */
#ifndef INSITU_REGEX_PATTERN_H
#define INSITU_REGEX_PATTERN_H

#include "../io.h"
#include "../memory.h"

#define SETS_MOST 4096     /* different sets of bytes */
#define NODES_MOST 200000  /* more than 128 KiB of patterns, the most that a launch has of arguments, can need */
#define DEPTH_MOST 200     /* of groups and repetitions in one another */
#define REPEAT_MOST 32767  /* as POSIX systems have it */
#define NO_END 0xffffu     /* of a repetition */

typedef enum { NODE_EMPTY, NODE_BYTES, NODE_ALL_OF, NODE_ONE_OF, NODE_REPEAT, NODE_NEED, NODE_WORDS } NodeKind;

/* What may be required of a place between two bytes. */
typedef enum {
    NEED_LINE_BEGIN,
    NEED_LINE_END,
    NEED_WORD_BEGIN,
    NEED_WORD_END,
    NEED_WORD_EDGE,
    NEED_NO_WORD_EDGE,
    NEED_NO_WORD_BEFORE,
    NEED_NO_WORD_AFTER,
} Need;

typedef struct {
    uint8_t kind, depth;
    uint16_t least, most; /* of a repetition; `least` is the Need, too */
    uint32_t set;         /* of NODE_BYTES; of NODE_ONE_OF the root of its alternatives' trie, if it has one */
    uint32_t last;        /* child; 0: none */
    uint32_t before;      /* sibling; 0: none */
} Node;

typedef struct {
    uint64_t words[4];
} ByteSet;

/* Alternatives that share beginnings (trie.h): one set of bytes; 0 is none. */
typedef struct {
    uint32_t child, sibling; /* a root has no sibling: there it is the end of its nodes */
    uint32_t rest;           /* what else can follow */
    uint16_t set;
    uint8_t ends;
} Trie;

typedef struct {
    uint32_t node, parts, next;
} Rest;

typedef struct {
    Node *nodes;
    uint32_t node_count;
    ByteSet *sets;
    uint32_t set_count;
    uint32_t single[256]; /* the set of one byte (or of a letter in both cases) + 1; 0: not made */
    Trie *trie;
    uint32_t trie_count, words; /* words: the root of NODE_WORDS */
    Rest *rests;
    uint32_t rest_count;
    int fold;      /* upper and lower case are one */
    uint32_t root; /* node */
} Pattern;

static inline int is_word_byte(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '_';
}

static inline int is_letter(uint8_t byte) { return (uint8_t)((byte | 0x20) - 'a') < 26; }

static inline int set_has(const ByteSet *set, uint8_t byte) { return set->words[byte >> 6] >> (byte & 63) & 1; }

static inline void set_add(ByteSet *set, uint8_t byte) { set->words[byte >> 6] |= (uint64_t)1 << (byte & 63); }

static void set_add_range(ByteSet *set, int first, int last) {
    for (int byte = first; byte <= last; byte++) set_add(set, (uint8_t)byte);
}

static void set_fold(ByteSet *set) {
    for (int upper = 'A'; upper <= 'Z'; upper++) {
        if (set_has(set, (uint8_t)upper)) set_add(set, (uint8_t)(upper | 0x20));
        if (set_has(set, (uint8_t)(upper | 0x20))) set_add(set, (uint8_t)upper);
    }
}

static void *pattern_memory(size_t size) {
    void *memory = take_memory(size);
    if (!memory) die(2, "not enough memory for the pattern");
    return memory;
}

static Pattern pattern_empty(int fold) {
    return (Pattern){
        .nodes = pattern_memory(NODES_MOST * sizeof(Node)),
        .node_count = 1,
        .sets = pattern_memory(SETS_MOST * sizeof(ByteSet)),
        .fold = fold,
    };
}

static uint32_t node_new(Pattern *pattern, Node node) {
    if (pattern->node_count == NODES_MOST) die(2, "the pattern is too long");
    if (node.depth > DEPTH_MOST)
        die(2, "the pattern has more than ", decimal(DEPTH_MOST).digits, " groups and repetitions in one another");
    pattern->nodes[pattern->node_count] = node;
    return pattern->node_count++;
}

/* A list of nodes grows at its end: `list` is its parent's `last`. */
static void node_append(Pattern *pattern, Node *parent, uint32_t child) {
    pattern->nodes[child].before = parent->last;
    parent->last = child;
    uint8_t depth = pattern->nodes[child].depth + 1;
    if (depth > parent->depth) parent->depth = depth;
}

/* The node of a list: of one child that child itself. */
static uint32_t node_of_list(Pattern *pattern, Node parent) {
    if (!parent.last) return node_new(pattern, (Node){.kind = NODE_EMPTY});
    if (!pattern->nodes[parent.last].before) return parent.last;
    return node_new(pattern, parent);
}

static uint32_t set_number(Pattern *pattern, const ByteSet *wanted) {
    ByteSet set = *wanted;
    set.words[0] &= ~((uint64_t)1 << '\n');
    for (uint32_t i = 0;; i++) {
        if (i == SETS_MOST) die(2, "the pattern has more than ", decimal(SETS_MOST).digits, " different sets of bytes");
        if (i == pattern->set_count) pattern->sets[pattern->set_count++] = set;
        else if (memcmp(&pattern->sets[i], &set, sizeof set)) continue;
        return i;
    }
}

static uint32_t node_bytes(Pattern *pattern, const ByteSet *wanted) {
    return node_new(pattern, (Node){.kind = NODE_BYTES, .set = set_number(pattern, wanted)});
}

static uint32_t set_of_byte(Pattern *pattern, uint8_t byte) {
    if (pattern->fold && is_letter(byte)) byte |= 0x20;
    if (!pattern->single[byte]) {
        ByteSet set = {0};
        set_add(&set, byte);
        if (pattern->fold) set_fold(&set);
        pattern->single[byte] = set_number(pattern, &set) + 1;
    }
    return pattern->single[byte] - 1;
}

static uint32_t node_byte(Pattern *pattern, uint8_t byte) {
    return node_new(pattern, (Node){.kind = NODE_BYTES, .set = set_of_byte(pattern, byte)});
}

static uint32_t node_need(Pattern *pattern, Need need) {
    return node_new(pattern, (Node){.kind = NODE_NEED, .least = (uint16_t)need});
}

/* `node` between two requirements. */
static uint32_t node_between(Pattern *pattern, Need before, uint32_t node, Need after) {
    Node list = {.kind = NODE_ALL_OF};
    node_append(pattern, &list, node_need(pattern, before));
    /* A copy: a node is in one list only. */
    node_append(pattern, &list, node_new(pattern, pattern->nodes[node]));
    node_append(pattern, &list, node_need(pattern, after));
    return node_of_list(pattern, list);
}

#endif
