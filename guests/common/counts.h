/* A table of counts by key, and its lines `KEY\tCOUNT\n` in the order of the keys' bytes. How a count is written says who
 * includes it: `static Decimal count_text(const Slot *)`.
 *
 * Open addressing with linear probing over a power of two of slots, at most three quarters full. Keys lie in blocks
 * that never move. To emit, the taken slots are gathered at the front and sorted in place, so that writing the result
 * needs no further memory.
 */
#ifndef INSITU_COUNTS_H
#define INSITU_COUNTS_H

#include "bytes.h"
#include "io.h"

#define KEY_LIMIT ((size_t)1 << 20) /* the longest key, in bytes */
/* With its header and malloc()'s own, just below a power of two: malloc() here rounds up to one. */
#define BLOCK_SIZE (2 * KEY_LIMIT - 64 - BYTES_AFTER)

typedef struct {
    uint64_t tag; /* the key's hash; while sorting, its first eight bytes as a number */
    uint64_t count;     /* what is counted is the includer's */
    const uint8_t *key; /* NULL: the slot is free */
    uint32_t size : 31; /* of the key */
    uint32_t mark : 1;  /* the includer's: how the count is to be read */
} Slot;

static Decimal count_text(const Slot *slot);

typedef struct Block {
    struct Block *next;
    uint8_t bytes[BLOCK_SIZE];
    uint8_t after[BYTES_AFTER];
} Block;

typedef struct {
    Slot *slots;
    size_t capacity, taken; /* of slots */
    Block *first, *current; /* blocks after `current` are empty: kept for use after counts_clear */
    size_t used;            /* of the current block */
    size_t blocks;          /* in use: first to current */
} Counts;

/* The first eight bytes at most, as a number; eight can be read (BYTES_AFTER). */
static inline uint64_t load64(const uint8_t *at, size_t size) {
    uint64_t value;
    memcpy(&value, at, 8);
    return size < 8 ? value & ~(~(uint64_t)0 << 8 * size) : value;
}

static inline int same_bytes(const uint8_t *a, const uint8_t *b, size_t size) {
    for (; size > 8; a += 8, b += 8, size -= 8)
        if (load64(a, 8) != load64(b, 8)) return 0;
    return load64(a, size) == load64(b, size);
}

static uint64_t key_hash(const uint8_t *key, size_t size) {
    uint64_t hash = size * 0x9e3779b97f4a7c15u;
    for (;; key += 8, size -= 8) {
        hash = (hash ^ load64(key, size)) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
        if (size <= 8) return hash ^ hash >> 29;
    }
}

/* False when there is no memory for it; the table is then as before. */
static int counts_resize(Counts *counts, size_t capacity) {
    Slot *slots = calloc(capacity, sizeof *slots);
    if (!slots) return 0;
    for (size_t i = 0; i < counts->capacity; i++) {
        if (!counts->slots[i].key) continue;
        size_t at = counts->slots[i].tag & (capacity - 1);
        while (slots[at].key) at = (at + 1) & (capacity - 1);
        slots[at] = counts->slots[i];
    }
    free(counts->slots);
    counts->slots = slots;
    counts->capacity = capacity;
    return 1;
}

static const uint8_t *counts_keep(Counts *counts, const uint8_t *key, size_t size) {
    if (!counts->current || size > BLOCK_SIZE - counts->used) {
        Block *block = counts->current ? counts->current->next : counts->first;
        if (!block) {
            block = malloc(sizeof *block);
            if (!block) return NULL;
            block->next = NULL;
            if (counts->current) counts->current->next = block;
            else counts->first = block;
        }
        counts->current = block;
        counts->blocks++;
        counts->used = 0;
    }
    uint8_t *kept = counts->current->bytes + counts->used;
    memcpy(kept, key, size);
    counts->used += size;
    return kept;
}

/* The slot of `key`, made with nothing when it is new; `size` is 1 to KEY_LIMIT, and BYTES_AFTER bytes behind it can be
 * read. NULL: out of memory. */
static Slot *counts_slot(Counts *counts, const uint8_t *key, size_t size) {
    if (counts->taken * 4 >= counts->capacity * 3 && !counts_resize(counts, counts->capacity ? counts->capacity * 2 : 4096))
        return NULL;
    uint64_t hash = key_hash(key, size);
    size_t at = hash & (counts->capacity - 1);
    for (; counts->slots[at].key; at = (at + 1) & (counts->capacity - 1)) {
        Slot *slot = &counts->slots[at];
        if (slot->tag == hash && slot->size == size && same_bytes(slot->key, key, size)) return slot;
    }
    const uint8_t *kept = counts_keep(counts, key, size);
    if (!kept) return NULL;
    counts->slots[at] = (Slot){.tag = hash, .key = kept, .size = (uint32_t)size};
    counts->taken++;
    return &counts->slots[at];
}

static int slot_before(const Slot *a, const Slot *b) {
    if (a->tag != b->tag) return a->tag < b->tag;
    uint32_t shorter = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->key, b->key, shorter);
    return order ? order < 0 : a->size < b->size;
}

static void slot_swap(Slot *a, Slot *b) {
    Slot kept = *a;
    *a = *b;
    *b = kept;
}

static void slots_sift(Slot *slots, size_t root, size_t count) {
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && slot_before(&slots[child], &slots[child + 1])) child++;
        if (!slot_before(&slots[root], &slots[child])) return;
        slot_swap(&slots[root], &slots[child]);
    }
}

/* Quicksort by the median of three; heapsort once `depth` levels have not been enough, so that no order of keys can
 * make it quadratic; insertion sort for the last few. Keys are distinct. */
static void slots_sort(Slot *slots, size_t count, unsigned depth) {
    while (count > 16) {
        if (!depth--) {
            for (size_t i = count / 2; i-- > 0;) slots_sift(slots, i, count);
            for (size_t end = count; --end > 0;) {
                slot_swap(&slots[0], &slots[end]);
                slots_sift(slots, 0, end);
            }
            return;
        }
        Slot *middle = &slots[count / 2], *last = &slots[count - 1];
        if (slot_before(middle, slots)) slot_swap(middle, slots);
        if (slot_before(last, middle)) slot_swap(last, middle);
        if (slot_before(middle, slots)) slot_swap(middle, slots);
        Slot pivot = *middle;
        size_t left = 0, right = count - 1;
        for (;;) {
            while (slot_before(&slots[left], &pivot)) left++;
            while (slot_before(&pivot, &slots[right])) right--;
            if (left >= right) break;
            slot_swap(&slots[left++], &slots[right--]);
        }
        /* The shorter part by recursion, the longer by going round: the stack stays shallow. */
        if (left < count - left) {
            slots_sort(slots, left, depth);
            slots += left;
            count -= left;
        } else {
            slots_sort(slots + left, count - left, depth);
            count = left;
        }
    }
    for (size_t i = 1; i < count; i++) {
        Slot moved = slots[i];
        size_t at = i;
        for (; at > 0 && slot_before(&moved, &slots[at - 1]); at--) slots[at] = slots[at - 1];
        slots[at] = moved;
    }
}

/* Writes a line for each key and empties the table, which keeps its memory. */
static void counts_emit(Counts *counts) {
    size_t count = 0;
    for (size_t i = 0; i < counts->capacity; i++)
        if (counts->slots[i].key) counts->slots[count++] = counts->slots[i];
    for (size_t i = 0; i < count; i++)
        counts->slots[i].tag = __builtin_bswap64(load64(counts->slots[i].key, counts->slots[i].size));
    slots_sort(counts->slots, count, 64);
    for (size_t i = 0; i < count; i++) {
        Decimal number = count_text(&counts->slots[i]);
        output_add(counts->slots[i].key, counts->slots[i].size);
        output_add("\t", 1);
        output_add(number.digits, strlen(number.digits));
        output_add("\n", 1);
    }
    if (counts->capacity) memset(counts->slots, 0, counts->capacity * sizeof *counts->slots);
    counts->taken = 0;
    counts->current = NULL;
    counts->used = counts->blocks = 0;
}

#endif
