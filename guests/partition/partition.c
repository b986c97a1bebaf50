/* partition: deals lines out to the outputs 0 to N-1 by their key, in the order of the input.
 *
 * The output of a line is the CRC-32 of its key's bytes, modulo N: what jobs do between map and reduce, the same on
 * every machine and in every version. No line is changed, but that the last one gets an end if it has none.
 */
#include "../common/channels.h"
#include "../common/crc32.h"
#include "../common/lines.h"
#include "../common/order_options.h"

const char *const program_name = "partition";

static const char USAGE[] =
    "usage: partition [OPTION]... N\n"
    "Deals lines out to N outputs, /dev/out/0 and so on, by a hash of their key: equal keys, the same output.\n"
    "      --by POS1[,POS2]        the key, as in sort -k; 1,1 unless given: the first field\n"
    "  -t, --field-separator SEP   one byte, or \\0; TAB unless given\n"
    "  -z, --zero-terminated       lines end with NUL\n"
    "      --help\n";
enum { BY = 1, SEPARATOR, ZERO };
static const Option OPTIONS[] = {
    {BY, 0, "by", "POS1[,POS2]"}, {SEPARATOR, 't', "field-separator", "SEP"}, {ZERO, 'z', "zero-terminated", NULL}, {0}};

#define OUTPUTS_MOST 256 /* as many as a job has partitions */
#define OUTPUT_ROOM ((size_t)64 << 10)

typedef struct {
    int fd;
    size_t used;
    uint8_t *bytes;
} Target;

static Target targets[OUTPUTS_MOST];

static void open_targets(uint32_t count) {
    uint8_t *bytes = take_memory(count * OUTPUT_ROOM);
    if (!bytes) die(2, "not enough memory for ", decimal(count).digits, " outputs");
    for (uint32_t i = 0; i < count; i++, bytes += OUTPUT_ROOM) {
        targets[i] = (Target){.fd = channel_open("out", decimal(i).digits, O_WRONLY), .bytes = bytes};
        if (targets[i].fd < 0)
            die(2, "there is no output ", decimal(i).digits, ": a launch names all of 0 to ", decimal(count - 1).digits,
                " (--out 0=FILE); on a node there are 14 named channels at most");
    }
}

static void target_write(Target *target, const uint8_t *bytes, size_t size) {
    if (!write_all(target->fd, bytes, size)) return;
    die(1, "cannot write the output ", decimal((uint64_t)(target - targets)).digits, ": ", strerror(errno));
}

static void target_add(Target *target, const uint8_t *bytes, size_t size) {
    if (size > OUTPUT_ROOM - target->used) {
        target_write(target, target->bytes, target->used);
        target->used = 0;
    }
    if (size > OUTPUT_ROOM) {
        target_write(target, bytes, size);
    } else {
        memcpy(target->bytes + target->used, bytes, size);
        target->used += size;
    }
}

static Key key_by(const char *text) {
    Key key = parse_key(text);
    if (key.numeric || key.fold || key.reverse)
        bad_key(text, "of the letters only b, which skips blanks, has a meaning: keys are equal byte for byte");
    return key;
}

int main(int argc, char **argv) {
    Order order = {.separator = '\t', .end = '\n'};
    Key key = parse_key("1,1");
    uint32_t count = 0;
    Arguments arguments = arguments_of(argc, argv, OPTIONS, USAGE);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
            case BY: key = key_by(arguments.value); break;
            case SEPARATOR: order.separator = parse_separator(arguments.value); break;
            case ZERO: order.end = 0; break;
            default:
                if (count) die(2, "one argument, the number of outputs, is all that it takes");
                strcpy(arguments.name, "N");
                count = (uint32_t)number_of(&arguments, 1, OUTPUTS_MOST);
        }
    if (!count) die(2, "how many outputs? partition N takes it as its argument");

    open_targets(count);
    crc_begin();
    Lines lines;
    lines_begin(&lines, 0, "standard input", order.end);
    for (Line line; lines_next(&lines, &line);) {
        Piece piece = key_of(&order, &key, line.at, line.size);
        Target *target = &targets[crc32_of(piece.at, piece.size) % count];
        target_add(target, line.at, line.size);
        target_add(target, &order.end, 1);
    }
    for (uint32_t i = 0; i < count; i++) target_write(&targets[i], targets[i].bytes, targets[i].used);
    return 0;
}
