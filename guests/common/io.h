/* Reading and writing whole streams, and ending with one clear line: what every guest that uses the C library shares.
 *
 * Exit codes: 0 well, 2 the user's mistake (arguments or data), 1 anything else. No stdio: it would be half of a small
 * program, and nothing here needs formatting beyond a number.
 */
#ifndef INSITU_IO_H
#define INSITU_IO_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Set by each program: what its messages begin with. */
extern const char *const program_name;

/* Writes all of `size` bytes; 0, or -1 when the stream took no more. */
static int write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (done <= 0) return -1;
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

/* One line on standard error, made of the strings up to NULL, then exit. Control characters and line ends become
 * question marks: whatever a message quotes, it stays one line. */
static _Noreturn void die_of(int code, const char *const *parts) {
    char line[512];
    size_t used = 0;
    for (; *parts; parts++)
        for (const char *c = *parts; *c && used < sizeof line - 1; c++)
            line[used++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    line[used++] = '\n';
    write_all(2, line, used);
    _exit(code);
}

#define die(code, ...) die_of((code), (const char *const[]){program_name, ": ", __VA_ARGS__, NULL})

typedef struct {
    char digits[44]; /* room for a sign, 20 digits, a point and 18 more, and NUL */
} Decimal;

/* `value` in decimal: decimal(7).digits lives as long as the expression it is used in. */
static Decimal decimal(uint64_t value) {
    Decimal text;
    char *at = text.digits + sizeof text.digits;
    size_t size = 1;
    *--at = 0;
    do {
        *--at = (char)('0' + value % 10);
        size++;
    } while (value /= 10);
    memmove(text.digits, at, size);
    return text;
}

/* One read of the stream that messages call `name`: how many bytes came, 0 at the end. Dies on an error. */
static size_t read_from(int fd, const char *name, void *into, size_t size) {
    for (;;) {
        ssize_t got = read(fd, into, size);
        if (got >= 0) return (size_t)got;
        if (errno != EINTR && errno != EAGAIN) die(1, "cannot read ", name, ": ", strerror(errno));
    }
}

static size_t read_some(void *into, size_t size) {
    return read_from(0, "standard input", into, size);
}

/* Output through one buffer, so that many small lines cost few calls. */
static struct {
    size_t used;
    char bytes[256 << 10];
} output;

static void output_flush(void) {
    if (write_all(1, output.bytes, output.used)) die(1, "cannot write standard output: ", strerror(errno));
    output.used = 0;
}

static void output_add(const void *data, size_t size) {
    if (size > sizeof output.bytes - output.used) output_flush();
    if (size > sizeof output.bytes) {
        if (write_all(1, data, size)) die(1, "cannot write standard output: ", strerror(errno));
        return;
    }
    memcpy(output.bytes + output.used, data, size);
    output.used += size;
}

#endif
