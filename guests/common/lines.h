/* Reading a stream line by line, or by blocks of whole lines, through one large buffer.
 *
 *     Lines lines;
 *     lines_begin(&lines, 0, "standard input", '\n');
 *     for (Line line; lines_next(&lines, &line);) … line.at, line.size …
 *
 * A line's bytes are where they were read, without their line end, until the next call; BYTES_AFTER bytes behind them
 * can be read. The last line may lack its end. The buffer grows with the longest line, up to LINE_LIMIT; a longer line
 * ends the program with a message that names it.
 */
#ifndef INSITU_LINES_H
#define INSITU_LINES_H

#include "bytes.h"
#include "io.h"
#include "memory.h"

#define LINE_LIMIT ((size_t)8 << 20) /* bytes of the longest line, without its end: as jobs have it */
#define LINES_ROOM ((size_t)256 << 10)

typedef struct {
    const uint8_t *at;
    size_t size;
} Line;

typedef struct {
    int fd;
    const char *name; /* what messages call the stream */
    uint8_t end;      /* the byte that ends a line: '\n', or 0 */
    int ended;        /* nothing more can be read */
    uint64_t number;  /* of the line that lines_next() gave last, from 1 */
    uint8_t *buffer;
    size_t room;
    const uint8_t *at, *stop;  /* whole lines that have not been handed out */
    const uint8_t *read_until; /* the end of what has been read: an unfinished line lies from `stop` to here */
} Lines;

static void lines_begin(Lines *lines, int fd, const char *name, uint8_t end) {
    *lines = (Lines){.fd = fd, .name = name, .end = end, .room = LINES_ROOM};
    lines->buffer = take_memory(LINES_ROOM + BYTES_AFTER);
    if (!lines->buffer) die(2, "not enough memory to read ", name);
    lines->at = lines->stop = lines->read_until = lines->buffer;
}

/* A larger buffer, for a line that does not fit; the old one is not given back: all of them together are less than
 * twice the last. */
static void lines_widen(Lines *lines, size_t held) {
    size_t room = lines->room * 2 < LINE_LIMIT + LINES_ROOM ? lines->room * 2 : LINE_LIMIT + LINES_ROOM;
    uint8_t *wider = take_memory(room + BYTES_AFTER);
    if (!wider) die(2, "not enough memory for a line of more than ", decimal(held).digits, " bytes in ", lines->name);
    memcpy(wider, lines->buffer, held);
    lines->buffer = wider;
    lines->room = room;
}

/* Reads until there is at least one whole line from `at` to `stop`; false at the end of the stream. */
static int lines_fill(Lines *lines) {
    if (lines->ended) return 0;
    size_t held = (size_t)(lines->read_until - lines->stop);
    memmove(lines->buffer, lines->stop, held);
    for (;;) {
        if (lines->room - held < LINES_ROOM / 2) lines_widen(lines, held);
        uint8_t *into = lines->buffer + held;
        size_t space = lines->room - held < LINES_ROOM ? lines->room - held : LINES_ROOM;
        size_t got = read_from(lines->fd, lines->name, into, space);
        const uint8_t *last = find_last_byte(into, into + got, lines->end);
        held += got;
        /* No read is as long as the limit, so that only the first line of what is held can be longer than it. */
        size_t first = last ? (size_t)(find_byte(into, last, lines->end) - lines->buffer) : held;
        if (first > LINE_LIMIT)
            die(2, lines->name, " has a line longer than ", decimal(LINE_LIMIT).digits,
                " bytes, which is the most that is allowed");
        if (last || !got) {
            lines->ended = !got;
            lines->at = lines->buffer;
            lines->read_until = lines->buffer + held;
            lines->stop = last ? last + 1 : lines->read_until;
            return held > 0;
        }
    }
}

/* All whole lines at hand, with their ends (which the stream's last line may lack); false at the end of the stream.
 * Does not count lines. */
static int lines_block(Lines *lines, Line *block) {
    if (lines->at == lines->stop && !lines_fill(lines)) return 0;
    *block = (Line){lines->at, (size_t)(lines->stop - lines->at)};
    lines->at = lines->stop;
    return 1;
}

/* The next line; false at the end of the stream. */
static inline int lines_next(Lines *lines, Line *line) {
    if (lines->at == lines->stop && !lines_fill(lines)) return 0;
    const uint8_t *end = find_byte(lines->at, lines->stop, lines->end);
    *line = (Line){lines->at, (size_t)(end - lines->at)};
    lines->at = end == lines->stop ? end : end + 1;
    lines->number++;
    return 1;
}

#endif
