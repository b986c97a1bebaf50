/* sum: adds up the numbers of each key: lines `KEY\tNUMBER\n` in, lines `KEY\tTOTAL\n` out, in the order of the keys'
 * bytes.
 *
 * A key is 1 byte to 1 MiB of anything but TAB and line end; a number is decimal digits, below 2^64, and so is a total.
 * The last line may lack its line end. Every distinct key is held in memory.
 */
#include "../common/counts.h"
#include "../common/lines.h"
#include "../common/options.h"

const char *const program_name = "sum";

static const char usage[] =
    "usage: sum\n"
    "Adds up the numbers of each key of standard input, lines KEY<TAB>NUMBER: lines KEY<TAB>TOTAL, in the order of the\n"
    "keys' bytes. A number and a total are whole, and below 2^64.\n";

#define ROOM_FOR_NUMBER 32 /* a TAB, and more digits than any number has */

static Counts counts;
static Lines lines;

static _Noreturn void malformed(const char *why) {
    die(2, "line ", decimal(lines.number).digits, why);
}

static void add_line(const uint8_t *line, size_t size) {
    if (size > KEY_LIMIT + ROOM_FOR_NUMBER) malformed(" is too long: a key has at most 1 MiB");
    const uint8_t *tab = find_byte(line, line + size, '\t');
    if (tab == line + size) malformed(" has no TAB: a line is KEY<TAB>NUMBER");
    size_t key_size = (size_t)(tab - line);
    if (!key_size) malformed(" has an empty key: a line is KEY<TAB>NUMBER");
    if (key_size > KEY_LIMIT) malformed(" has a key longer than 1 MiB");
    const uint8_t *digit = tab + 1, *end = line + size;
    if (digit == end) malformed(" has no number: a line is KEY<TAB>NUMBER");
    uint64_t number = 0;
    for (; digit < end; digit++) {
        if (*digit < '0' || *digit > '9') malformed(" has something other than digits after its first TAB");
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *digit - '0', &number))
            malformed(" has a number that does not fit 64 bits");
    }
    Slot *slot = counts_slot(&counts, line, key_size);
    if (!slot) malformed(": not enough memory for one more key");
    if (__builtin_add_overflow(slot->count, number, &slot->count))
        malformed(" brings its key's total above what 64 bits can hold");
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, usage, "it adds up the lines KEY<TAB>NUMBER of standard input");
    lines_begin(&lines, 0, "standard input", '\n');
    for (Line line; lines_next(&lines, &line);) add_line(line.at, line.size);
    counts_emit(&counts);
    output_flush();
    return 0;
}
