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

static const uint8_t is_space[256] = {[' '] = 1, ['\t'] = 1, ['\n'] = 1, ['\v'] = 1, ['\f'] = 1, ['\r'] = 1};
static Counts counts;
static uint8_t input[256 << 10];
static uint8_t carried[KEY_LIMIT]; /* the beginning of a word whose end has not been read yet */
static size_t carried_size;

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
    if (size > sizeof carried - carried_size)
        die(2, "a word is longer than ", decimal(KEY_LIMIT).digits, " bytes, which is the most that is allowed");
    memcpy(carried + carried_size, part, size);
    carried_size += size;
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, usage, "it counts the words of standard input");
    for (size_t got; (got = read_some(input, sizeof input));) {
        const uint8_t *at = input, *end = input + got;
        while (at < end) {
            const uint8_t *word = at;
            while (at < end && !is_space[*at]) at++;
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
