/* words: how often each word occurs: lines `WORD\tCOUNT\n`, in the order of the words' bytes.
 *
 * A word is a longest run of bytes that are not ASCII white space, just as `tr -s '[:space:]' '\n'` would split in the
 * C locale; bytes mean nothing else here. The memory used is bounded: once the table is full its counts are written and
 * counting begins anew, so that a word may have several lines. `sum` adds them up.
 */
#include "../common/counts.h"
#include "../common/options.h"

const char *const program_name = "words";

static const char usage[] =
    "usage: words\n"
    "Counts the words of standard input: lines WORD<TAB>COUNT, in the order of the words' bytes. A word is what stands\n"
    "between white space. A word of a large input may have several lines: `sum` adds them up.\n";

/* Together about 64 MiB: 24 bytes for each slot, and the blocks of 2 MiB that hold the words. */
#define SLOT_BOUND ((size_t)1 << 20)
#define BLOCK_BOUND 16

static Counts counts;
#define INPUT_SIZE ((size_t)256 << 10)

static uint8_t input[INPUT_SIZE + BYTES_AFTER];
static uint8_t carried[KEY_LIMIT + BYTES_AFTER]; /* the beginning of a word whose end has not been read yet */
static size_t carried_size;

/* Bit i is set where byte i at `at` is white space: one of \t \n \v \f \r, which are neighbours, or a blank. */
static inline uint32_t spaces(const uint8_t *at) {
    v128_t bytes = wasm_v128_load(at), from_tab = wasm_i8x16_sub(bytes, wasm_u8x16_splat('\t'));
    v128_t found = wasm_v128_or(wasm_u8x16_lt(from_tab, wasm_u8x16_splat(5)), wasm_i8x16_eq(bytes, wasm_u8x16_splat(' ')));
    return wasm_i8x16_bitmask(found);
}

/* The first white space of [at, end), or `end`. */
static inline const uint8_t *find_space(const uint8_t *at, const uint8_t *end) {
    for (; at < end; at += 16) {
        uint32_t found = spaces(at);
        if (found) {
            at += __builtin_ctz(found);
            return at < end ? at : end;
        }
    }
    return end;
}

static Decimal count_text(const Slot *slot) {
    return decimal(slot->count);
}

static void count_word(const uint8_t *word, size_t size) {
    if (counts.taken >= SLOT_BOUND / 4 * 3 || counts.blocks > BLOCK_BOUND) counts_emit(&counts);
    Slot *slot = counts_slot(&counts, word, size);
    if (!slot) {
        /* Less memory than the bound was given: what has been counted can go out all the same. */
        counts_emit(&counts);
        slot = counts_slot(&counts, word, size);
        if (!slot) die(2, "not enough memory");
    }
    slot->count++;
}

static void carry(const uint8_t *part, size_t size) {
    if (size > KEY_LIMIT - carried_size)
        die(2, "a word is longer than ", decimal(KEY_LIMIT).digits, " bytes, which is the most that is allowed");
    memcpy(carried + carried_size, part, size);
    carried_size += size;
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, usage, "it counts the words of standard input");
    for (size_t got; (got = read_some(input, INPUT_SIZE));) {
        const uint8_t *at = input, *end = input + got;
        while (at < end) {
            const uint8_t *word = at;
            at = find_space(at, end);
            if (carried_size || at == end) {
                carry(word, (size_t)(at - word));
                if (at == end) break;
                count_word(carried, carried_size);
                carried_size = 0;
            } else if (at > word) {
                count_word(word, (size_t)(at - word));
            }
            at++;
        }
    }
    if (carried_size) count_word(carried, carried_size);
    counts_emit(&counts);
    output_flush();
    return 0;
}
