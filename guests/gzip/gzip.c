/* gzip: packs standard input as one gzip member (RFC 1952) with zlib. The header has no name and no time, so that the
 * same input gives the same bytes: those that zlib gives anywhere at that level.
 */
#include <zlib.h>

#include "../common/options.h"

const char *const program_name = "gzip";

static const char USAGE[] =
    "usage: gzip [OPTION]\n"
    "Packs standard input. The result depends on nothing but the input and the level.\n"
    "  -1, --fast ... -9, --best   quick, or small; -6 unless given\n"
    "      --help\n";
static const Option OPTIONS[] = {
    {1, '1', "fast", NULL}, {2, '2', NULL, NULL}, {3, '3', NULL, NULL}, {4, '4', NULL, NULL}, {5, '5', NULL, NULL},
    {6, '6', NULL, NULL}, {7, '7', NULL, NULL}, {8, '8', NULL, NULL}, {9, '9', "best", NULL}, {0}};

#define GZIP_WINDOW (16 + MAX_WBITS) /* a window of 32 KiB, and a gzip header before it */
#define MEMORY_LEVEL 8               /* zlib's own default */

static uint8_t input[256 << 10];
static uint8_t packed[256 << 10];

int main(int argc, char **argv) {
    int level = Z_DEFAULT_COMPRESSION;
    Arguments arguments = arguments_of(argc, argv, OPTIONS, USAGE);
    for (int which; (which = next_argument(&arguments)) != NO_MORE; level = which)
        if (which == OPERAND) die(2, arguments.value, ": takes no file: it packs standard input");

    z_stream stream = {0};
    if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        die(2, "not enough memory");
    for (int ended = 0; !ended;) {
        stream.next_in = input;
        stream.avail_in = (uInt)read_some(input, sizeof input);
        ended = !stream.avail_in;
        do {
            stream.next_out = packed;
            stream.avail_out = sizeof packed;
            deflate(&stream, ended ? Z_FINISH : Z_NO_FLUSH);
            output_add(packed, sizeof packed - stream.avail_out);
        } while (!stream.avail_out);
    }
    output_flush();
    return 0;
}
