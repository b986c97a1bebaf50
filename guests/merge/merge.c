/* merge: sorted inputs as one, as `LC_ALL=C sort -m` writes it: standard input first, then every named channel in the
 * order of the names' bytes, or those that the arguments name. See order.h for what the order is.
 *
 * Of each input there is one buffer in memory, and its next line in a heap, with the first chunk of its first key beside
 * it. An input that is not sorted ends the merge at that line, as `sort -c` would: half a merge is no result.
 */
#include "../common/channels.h"
#include "../common/lines.h"
#include "../common/order_options.h"

const char *const program_name = "merge";

static const char USAGE[] =
    "usage: merge [OPTION]... [INPUT]...\n"
    "Merges sorted inputs: those that are named, - being standard input; without any, standard input and every named\n"
    "channel. Each must be in the order that the options say.\n" ORDER_USAGE;
static const Option OPTIONS[] = {ORDER_OPTIONS, {0}};

typedef struct {
    Lines lines;
    size_t rank; /* among the inputs: of equal lines, that of the first input comes first */
    Line line;   /* the next one */
    uint64_t chunk;
} Input;

/* A copy of a line, beyond the next reading of its input. */
typedef struct {
    uint8_t *bytes;
    size_t room, size;
} Kept;

static Order order;
static Input *heap[NAMES_MOST + 1];
static size_t waiting; /* in the heap */

static Line keep(Kept *kept, Line line) {
    if (line.size + BYTES_AFTER > kept->room) {
        kept->room = 2 * line.size + PAGE_SIZE;
        kept->bytes = take_memory(kept->room);
        if (!kept->bytes) die(2, "not enough memory for a line of ", decimal(line.size).digits, " bytes");
    }
    memcpy(kept->bytes, line.at, line.size);
    kept->size = line.size;
    return (Line){kept->bytes, line.size};
}

static inline int compare_to(const Input *a, Line line, uint64_t chunk) {
    if (a->chunk != chunk) return a->chunk < chunk ? -1 : 1;
    return compare_lines(&order, a->line.at, a->line.size, line.at, line.size);
}

static inline int comes_before(const Input *a, const Input *b) {
    int found = compare_to(a, b->line, b->chunk);
    return found ? found < 0 : a->rank < b->rank;
}

/* The input's next line; false at its end. */
static int advance(Input *input) {
    static Kept kept;
    Line last = input->line;
    uint64_t chunk = input->chunk;
    /* Only to be compared with the next one: one place serves all inputs. */
    if (last.at && input->lines.at == input->lines.stop) last = keep(&kept, last);
    if (!lines_next(&input->lines, &input->line)) return 0;
    input->chunk = first_chunk(order.keys, key_of(&order, order.keys, input->line.at, input->line.size));
    if (last.at && compare_to(input, last, chunk) < 0)
        die(2, input->lines.name, ", line ", decimal(input->lines.number).digits,
            ": not in order; each input must be sorted with the same options");
    return 1;
}

static void sift(size_t at) {
    Input *moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < waiting; at = child) {
        if (child + 1 < waiting && comes_before(heap[child + 1], heap[child])) child++;
        if (comes_before(moved, heap[child])) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void add_input(const char *name, size_t rank) {
    int standard = !strcmp(name, "-");
    int fd = standard ? 0 : channel_open("in", name, O_RDONLY);
    if (fd < 0) die(2, "there is no input ", name, ": launch with --in ", name, "=FILE");
    Input *input = calloc(1, sizeof *input);
    if (!input) die(2, "not enough memory");
    lines_begin(&input->lines, fd, standard ? "standard input" : name, order.end);
    input->rank = rank;
    if (advance(input)) heap[waiting++] = input;
}

static void write_line(Line line) {
    static Kept last;
    if (order.unique) {
        if (last.bytes && !compare_lines(&order, last.bytes, last.size, line.at, line.size)) return;
        keep(&last, line);
    }
    output_add(line.at, line.size);
    output_add(&order.end, 1);
}

int main(int argc, char **argv) {
    static Names names;
    OrderOptions options;
    order_begin(&options);
    Arguments arguments = arguments_of(argc, argv, OPTIONS, USAGE);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) {
        if (order_option(&options, which, arguments.value)) continue;
        for (size_t i = 0; i < names.count; i++)
            if (!strcmp(names.names[i], arguments.value)) die(2, "the input ", arguments.value, " is named twice");
        if (names.count == NAMES_MOST) die(2, "more than ", decimal(NAMES_MOST).digits, " inputs are named");
        names.names[names.count++] = (char *)arguments.value;
    }
    order_end(&options);
    order = options.order;

    size_t rank = 0;
    if (!names.count) {
        add_input("-", rank++);
        channel_names("in", &names);
    }
    for (size_t i = 0; i < names.count; i++) add_input(names.names[i], rank++);
    for (size_t at = waiting / 2; at-- > 0;) sift(at);
    while (waiting) {
        write_line(heap[0]->line);
        if (!advance(heap[0])) heap[0] = heap[--waiting];
        if (waiting) sift(0);
    }
    output_flush();
    return 0;
}
