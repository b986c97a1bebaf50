/* sum: adds up the numbers of each key: lines `KEY\tNUMBER\n` in, lines `KEY\tTOTAL\n` out, in the order of the keys'
 * bytes.
 *
 * A key is 1 byte to 1 MiB of anything but TAB and line end; numbers and totals are those of total.h. The last line may
 * lack its line end. Every distinct key is held in memory.
 */
#include "total.h"

#include "../common/counts.h"
#include "../common/lines.h"
#include "../common/options.h"

const char *const program_name = "sum";

static const char usage[] =
    "usage: sum\n"
    "Adds up the numbers of each key of standard input, lines KEY<TAB>NUMBER: lines KEY<TAB>TOTAL, in the order of the\n"
    "keys' bytes. Numbers are decimal, such as 12 or -0.50, with at most 18 digits behind the point; totals are exact.\n"
    "Numbers and totals are below 2^64, and above its negative; on the way a total may be beyond, in whatever order.\n";

#define ROOM_FOR_NUMBER 48 /* a TAB, and more digits than any number has */

static Counts counts;
static Lines lines;

static _Noreturn void malformed(const char *why) {
    die(2, "line ", decimal(lines.number).digits, why);
}

/* A slot's count is its total while that is whole and fits 64 bits with its sign; then, marked, it is where a Total is. */
static Decimal count_text(const Slot *slot) {
    Total total = total_of((int64_t)slot->count);
    return total_text(slot->mark ? (const Total *)(uintptr_t)slot->count : &total);
}

static Total *new_total(void) {
    static Total *free, *end;
    if (free == end) {
        free = take_memory(PAGE_SIZE);
        if (!free) malformed(": not enough memory for one more key's total");
        end = free + PAGE_SIZE / sizeof *free;
    }
    return free++;
}

static void slot_add(Slot *slot, const Number *number) {
    if (!slot->mark) {
        if (!number->places && number->units <= INT64_MAX) {
            int64_t sum, more = number->negative ? -(int64_t)number->units : (int64_t)number->units;
            if (!__builtin_add_overflow((int64_t)slot->count, more, &sum)) {
                slot->count = (uint64_t)sum;
                return;
            }
        }
        Total *total = new_total();
        *total = total_of((int64_t)slot->count);
        slot->count = (uintptr_t)total;
        slot->mark = 1;
    }
    total_add((Total *)(uintptr_t)slot->count, number);
}

static void add_line(const uint8_t *line, size_t size) {
    if (size > KEY_LIMIT + ROOM_FOR_NUMBER) malformed(" is too long: a key has at most 1 MiB");
    const uint8_t *tab = find_byte(line, line + size, '\t');
    if (tab == line + size) malformed(" has no TAB: a line is KEY<TAB>NUMBER");
    size_t key_size = (size_t)(tab - line);
    if (!key_size) malformed(" has an empty key: a line is KEY<TAB>NUMBER");
    if (key_size > KEY_LIMIT) malformed(" has a key longer than 1 MiB");
    if (tab + 1 == line + size) malformed(" has no number: a line is KEY<TAB>NUMBER");
    Number number;
    const char *wrong = parse_number(tab + 1, line + size, &number);
    if (wrong && line[size - 1] == '\r' && !parse_number(tab + 1, line + size - 1, &number))
        malformed(" ends with a carriage return (CR): lines must end with LF alone");
    if (wrong) malformed(wrong);
    Slot *slot = counts_slot(&counts, line, key_size);
    if (!slot) malformed(": not enough memory for one more key");
    slot_add(slot, &number);
}

/* Dies when a total is beyond the bounds, before anything is written; of several such keys it names the first. */
static void check_totals(void) {
    const Slot *wrong = NULL;
    for (const Slot *slot = counts.slots; slot < counts.slots + counts.capacity; slot++) {
        if (!slot->key || !slot->mark || total_fits((const Total *)(uintptr_t)slot->count)) continue;
        uint32_t shorter = wrong && wrong->size < slot->size ? wrong->size : slot->size;
        int order = wrong ? memcmp(slot->key, wrong->key, shorter) : -1;
        if (order < 0 || (!order && slot->size < wrong->size)) wrong = slot;
    }
    if (!wrong) return;
    char key[100] = {0};
    memcpy(key, wrong->key, wrong->size < sizeof key ? wrong->size : sizeof key - 1);
    die(2, "the total is 2^64 or above, or -2^64 or below, of the key ", key, wrong->size < sizeof key ? "" : "...");
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, usage, "it adds up the lines KEY<TAB>NUMBER of standard input");
    lines_begin(&lines, 0, "standard input", '\n');
    for (Line line; lines_next(&lines, &line);) add_line(line.at, line.size);
    check_totals();
    counts_emit(&counts);
    output_flush();
    return 0;
}
