/* gunzip: unpacks standard input: one gzip member (RFC 1952) or several, one after another, with zeros behind them as
 * tapes have. Checksums and lengths are checked; whatever is wrong ends it, and what it has written by then is no result.
 */
#include <zlib.h>

#include "../common/options.h"

const char *const program_name = "gunzip";

static const char USAGE[] =
    "usage: gunzip\n"
    "Unpacks standard input, which gzip has packed: one member or several.\n"
    "      --help\n";

#define GZIP_WINDOW (16 + MAX_WBITS) /* a window of 32 KiB, and a gzip header before it */

static uint8_t input[256 << 10];
static uint8_t plain[256 << 10];
static uint64_t input_read; /* bytes */
static uint64_t members = 1;
static z_stream stream;

static _Noreturn void damaged(const char *why) {
    die(2, "member ", decimal(members).digits, ", at byte ", decimal(input_read - stream.avail_in).digits,
        " of the input: ", why);
}

/* More input, if there is none at hand; false at its end. */
static int more_input(void) {
    if (stream.avail_in) return 1;
    stream.next_in = input;
    stream.avail_in = (uInt)read_some(input, sizeof input);
    input_read += stream.avail_in;
    return stream.avail_in != 0;
}

/* Unpacks one member: its header, its blocks, its checksum and its length. */
static void unpack(void) {
    for (int state = Z_OK; state != Z_STREAM_END;) {
        if (!more_input()) damaged("the input ends before the member does");
        stream.next_out = plain;
        stream.avail_out = sizeof plain;
        state = inflate(&stream, Z_NO_FLUSH);
        if (state == Z_MEM_ERROR) die(2, "not enough memory");
        if (state == Z_DATA_ERROR || state == Z_NEED_DICT) damaged(stream.msg ? stream.msg : "it is damaged");
        if (write_all(1, plain, sizeof plain - stream.avail_out))
            die(1, "cannot write standard output: ", strerror(errno));
    }
}

/* Past zeros, up to the input's end; false when a member follows. */
static int at_the_end(void) {
    int zeros = 0;
    for (; more_input(); stream.next_in++, stream.avail_in--) {
        if (*stream.next_in) break;
        zeros = 1;
    }
    if (!stream.avail_in) return 1;
    if (zeros) damaged("behind it there are zeros, and then something else");
    return 0;
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, USAGE, "it unpacks standard input");
    if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK) die(2, "not enough memory");
    if (!more_input()) die(2, "the input is empty, which is nothing that gzip has packed");
    for (;; members++, inflateReset(&stream)) {
        unpack();
        if (at_the_end()) return 0;
    }
}
