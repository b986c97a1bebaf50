/* Sorting lines by the chunks of their keys (see order.h).
 *
 * Each line has an entry of 16 bytes: the chunk at hand, and where in the line it is. Entries are sorted by their chunk;
 * then each run of equal ones goes on to its next chunk, or to its next key, and is sorted by that. So a line's bytes
 * are looked at once for each chunk that is needed to tell it from the others, not once for each comparison.
 *
 * What was equal in every key is in no order any more, but the entries' addresses still are: those of the lines in the
 * input. That is how the sort is stable.
 */
#ifndef INSITU_ENTRIES_H
#define INSITU_ENTRIES_H

#include "../common/order.h"

typedef struct {
    uint64_t chunk;
    const uint8_t *at; /* what of the key's bytes is left, within the line or at its end; NULL: dropped */
    uint32_t size;
} Entry;

static struct {
    Order order;
    const uint8_t *begin, *end; /* all lines; the last one has its end */
} text;

static inline const uint8_t *line_begin(const uint8_t *within) {
    const uint8_t *before = find_last_byte(text.begin, within, text.order.end);
    return before ? before + 1 : text.begin;
}

static inline void entry_begin(Entry *entry, const Key *key, const uint8_t *line, const uint8_t *end) {
    Piece piece = key_of(&text.order, key, line, (size_t)(end - line));
    *entry = (Entry){first_chunk(key, piece), piece.at, piece.size};
}

static inline void swap_entries(Entry *a, Entry *b) {
    Entry kept = *a;
    *a = *b;
    *b = kept;
}

/* What the entries of a range have in common: all is equal up to this chunk. */
typedef struct {
    const Key *key; /* NULL: none is left, and chunks are addresses */
    uint32_t step;
    int negative;
    uint32_t patience; /* how many bad pivots are borne */
} Level;

static uint32_t patience_for(size_t count) {
    return 2 * (64 - (uint32_t)__builtin_clzll(count | 1));
}

static const Entry *middle_of(const Entry *a, const Entry *b, const Entry *c) {
    if (a->chunk < b->chunk) return b->chunk < c->chunk ? b : a->chunk < c->chunk ? c : a;
    return a->chunk < c->chunk ? a : b->chunk < c->chunk ? c : b;
}

/* The middle of three, or of nine where there are many; when that has been bad too often, the middle between the least
 * and the greatest chunk, which needs 64 rounds at most whatever the chunks are. */
static uint64_t choose_pivot(const Entry *entries, size_t count, uint32_t *patience) {
    if (!*patience) {
        uint64_t least = entries->chunk, most = least;
        for (size_t i = 1; i < count; i++) {
            if (entries[i].chunk < least) least = entries[i].chunk;
            if (entries[i].chunk > most) most = entries[i].chunk;
        }
        return least + (most - least) / 2;
    }
    --*patience;
    const Entry *middle = entries + count / 2, *last = entries + count - 1;
    if (count < 128) return middle_of(entries, middle, last)->chunk;
    size_t step = count / 8;
    return middle_of(middle_of(entries, entries + step, entries + 2 * step),
                     middle_of(middle - step, middle, middle + step), middle_of(last - 2 * step, last - step, last))
        ->chunk;
}

/* Equal in every key: in the order of the input, or only the first of them. */
static int settle(Entry *entries, size_t count, Level *level) {
    if (!level->key || !(text.order.stable || text.order.unique)) return 0;
    if (text.order.unique) {
        Entry *first = entries;
        for (size_t i = 1; i < count; i++) {
            Entry *dropped = &entries[i];
            if (dropped->at < first->at) {
                dropped = first;
                first = &entries[i];
            }
            dropped->at = NULL;
        }
        return 0;
    }
    for (size_t i = 0; i < count; i++) entries[i].chunk = (uintptr_t)entries[i].at;
    level->key = NULL;
    return 1;
}

/* The next chunk of entries that are equal so far; false when nothing is left to do with them. */
static int descend(Entry *entries, size_t count, Level *level) {
    if (!level->key) return 0;
    if (has_more(level->key, entries->chunk, level->step, &level->negative)) {
        level->step++;
        for (size_t i = 0; i < count; i++) {
            Piece piece = {entries[i].at, entries[i].size};
            uint64_t chunk = next_chunk(level->key, &piece, level->step, level->negative);
            entries[i] = (Entry){chunk, piece.at, piece.size};
        }
    } else if (level->key + 1 < text.order.keys + text.order.count) {
        level->key++;
        level->step = 0;
        for (size_t i = 0; i < count; i++) {
            const uint8_t *end = find_byte(entries[i].at, text.end, text.order.end);
            entry_begin(&entries[i], level->key, line_begin(entries[i].at), end);
        }
    } else if (!settle(entries, count, level)) {
        return 0;
    }
    level->patience = patience_for(count);
    return 1;
}

#define FEW 12

static void sort_entries(Entry *entries, size_t count, Level level);

static void sort_few(Entry *entries, size_t count, Level level) {
    for (;;) {
        for (size_t i = 1; i < count; i++) {
            Entry moved = entries[i];
            size_t at = i;
            for (; at && moved.chunk < entries[at - 1].chunk; at--) entries[at] = entries[at - 1];
            entries[at] = moved;
        }
        if (entries[0].chunk != entries[count - 1].chunk) break;
        if (!descend(entries, count, &level)) return;
    }
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && entries[to].chunk == entries[from].chunk;) to++;
        Level below = level;
        if (to - from > 1 && descend(entries + from, to - from, &below)) sort_few(entries + from, to - from, below);
    }
}

/* Below, at, above the pivot: where the second and the third begin. */
static void part(Entry *entries, size_t count, uint64_t pivot, size_t *equal, size_t *above) {
    size_t low = 0, high = count;
    for (size_t i = 0; i < high;) {
        if (entries[i].chunk < pivot) swap_entries(&entries[low++], &entries[i++]);
        else if (entries[i].chunk > pivot) swap_entries(&entries[i], &entries[--high]);
        else i++;
    }
    *equal = low;
    *above = high;
}

/* Sorts entries whose chunks are those of `level`. The largest of the three parts is done by going round, the others by
 * recursion, each of which has at most half of the entries: the stack stays shallow. */
static void sort_entries(Entry *entries, size_t count, Level level) {
    while (count > FEW) {
        size_t equal, above;
        part(entries, count, choose_pivot(entries, count, &level.patience), &equal, &above);
        struct {
            Entry *entries;
            size_t count;
        } parts[] = {{entries, equal}, {entries + equal, above - equal}, {entries + above, count - above}};
        Level levels[] = {level, level, level};
        if (!parts[1].count || !descend(parts[1].entries, parts[1].count, &levels[1])) parts[1].count = 0;
        int largest = 0;
        for (int i = 1; i < 3; i++)
            if (parts[i].count > parts[largest].count) largest = i;
        for (int i = 0; i < 3; i++)
            if (i != largest && parts[i].count > 1) sort_entries(parts[i].entries, parts[i].count, levels[i]);
        entries = parts[largest].entries;
        count = parts[largest].count;
        level = levels[largest];
    }
    if (count > 1) sort_few(entries, count, level);
}

#endif
