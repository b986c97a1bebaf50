/* cat: standard input to standard output, and nothing else.
 *
 * The smallest useful guest, and the one that cold starts are measured with. It therefore links no C library: it has
 * its own entry point, calls the host's functions itself, and its only memory is a small stack and one buffer.
 */
#include <stddef.h>
#include <stdint.h>

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
#define EINTR 27 /* of wasi_snapshot_preview1: here and below, not the C library's numbers */
#define EAGAIN 6

typedef struct {
    const void *data;
    size_t size;
} Span; /* laid out as both `iovec` and `ciovec` of wasi_snapshot_preview1 */

WASI(args_sizes_get) int32_t args_sizes_get(size_t *count, size_t *bytes);
WASI(fd_read) int32_t fd_read(int32_t fd, const Span *spans, size_t count, size_t *done);
WASI(fd_write) int32_t fd_write(int32_t fd, const Span *spans, size_t count, size_t *done);
WASI(proc_exit) _Noreturn void proc_exit(int32_t code);

/* Large enough that the cost of a call to the host is lost in the cost of the copy (measured: see README.md). */
static uint8_t buffer[256 << 10];

static int32_t write_all(int32_t fd, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size) {
        Span span = {at, size};
        size_t done = 0;
        int32_t error = fd_write(fd, &span, 1, &done);
        if (error == EINTR || error == EAGAIN) continue;
        if (error) return error;
        at += done;
        size -= done;
    }
    return 0;
}

/* A literal's size is known here, so that no strlen() is needed, which would be the C library's. */
#define DIE(code, line) (write_all(2, line, sizeof line - 1), proc_exit(code))

__attribute__((export_name("_start"))) void _start(void) {
    size_t count = 0, bytes = 0;
    if (args_sizes_get(&count, &bytes)) DIE(1, "cat: cannot read the arguments\n");
    if (count > 1) DIE(2, "cat: takes no argument: it copies standard input to standard output\n");
    for (;;) {
        Span span = {buffer, sizeof buffer};
        size_t got = 0;
        int32_t error = fd_read(0, &span, 1, &got);
        if (error == EINTR || error == EAGAIN) continue;
        if (error) DIE(1, "cat: cannot read standard input\n");
        if (!got) break;
        if (write_all(1, buffer, got)) DIE(1, "cat: cannot write standard output\n");
    }
}
