/* sort: the lines of standard input in order, as `LC_ALL=C sort` writes them. See order.h for what the order is, and
 * entries.h for how it is made. All of the input is held in memory, and 16 bytes for each line of it.
 */
#include "entries.h"

#include "../common/memory.h"
#include "../common/order_options.h"

const char *const program_name = "sort";

static const char USAGE[] = 
    "usage: sort [OPTION]...\n"
    "The lines of standard input in order: by their bytes, or by keys.\n" ORDER_USAGE;
static const Option OPTIONS[] = {ORDER_OPTIONS, {0}};

static _Noreturn void too_large(void) {
    while (__builtin_wasm_memory_grow(0, 1) != SIZE_MAX) {} /* so that the limit itself can be told */
    size_t limit = __builtin_wasm_memory_size(0) / ((1 << 20) / PAGE_SIZE);
    die(2, "standard input and 16 bytes for each of its lines need more than the memory limit of ",
        decimal(limit).digits, " MiB: allow more memory, or partition the input first");
}

static void read_text(void) {
    size_t size;
    uint8_t *data = take_input(&size);
    if (!data) too_large();
    if (size && data[size - 1] != text.order.end) data[size++] = text.order.end;
    text.begin = data;
    text.end = data + size;
}

/* An entry for each line, and how many there are. */
static Entry *list_lines(size_t *count) {
    *count = count_bytes(text.begin, text.end, text.order.end);
    uint64_t size = (uint64_t)*count * sizeof(Entry) + BYTES_AFTER; /* these also stand behind the text, to be readable */
    Entry *entries = size > SIZE_MAX ? NULL : take_memory((size_t)size);
    if (!entries) too_large();
    Entry *entry = entries;
    for (const uint8_t *line = text.begin; line < text.end;) {
        const uint8_t *end = find_byte(line, text.end, text.order.end);
        entry_begin(entry++, text.order.keys, line, end);
        line = end + 1;
    }
    return entries;
}

int main(int argc, char **argv) {
    OrderOptions options;
    order_begin(&options);
    Arguments arguments = arguments_of(argc, argv, OPTIONS, USAGE);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;)
        if (!order_option(&options, which, arguments.value))
            die(2, arguments.value, ": takes no file: it sorts standard input");
    order_end(&options);
    text.order = options.order;

    read_text();
    size_t count;
    Entry *entries = list_lines(&count);
    sort_entries(entries, count, (Level){text.order.keys, 0, 0, patience_for(count)});
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].at) continue;
        const uint8_t *line = line_begin(entries[i].at);
        output_add(line, (size_t)(find_byte(entries[i].at, text.end, text.order.end) + 1 - line));
    }
    output_flush();
    return 0;
}
