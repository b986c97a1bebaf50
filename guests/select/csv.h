/* CSV as RFC 4180 and Python's csv module have it: fields in quotes may hold anything, and a doubled quote for one. A row
 * ends with LF, CRLF or CR. A row that has no quote and no CR within is cut where it was read; any other is copied field by
 * field, which may take several lines.
 */
#ifndef SELECT_CSV_H
#define SELECT_CSV_H

#include "table.h"

typedef enum { FIELD_BEGINS, IN_FIELD, IN_QUOTES, AFTER_QUOTE } Place;

static struct {
    uint8_t delimiter;
    Text *field;
    size_t count;
    int plain;     /* no field of the row has to be quoted to be written */
    uint8_t *text; /* the fields of a row that is copied */
    size_t used;
    Line line; /* what is left of the line at hand: a CR may end a row within it */
    int has_line;
} csv = {.delimiter = ','};

static void csv_begin(void) {
    csv.field = take(FIELDS_MOST * sizeof *csv.field);
    csv.text = take(RECORD_MOST);
}

static Text *csv_add_field(void) {
    if (csv.count == FIELDS_MOST) malformed("a row has more than 65536 fields");
    return &csv.field[csv.count++];
}

/* A line without quotes and CR. */
static void csv_cut(Line line) {
    const uint8_t *begin = line.at, *end = line.at + line.size;
    for (const uint8_t *at = begin; at < end; at += 16)
        for (uint32_t found = bytes_equal(at, csv.delimiter); found; found &= found - 1) {
            const uint8_t *stop = at + __builtin_ctz(found);
            if (stop >= end) break;
            *csv_add_field() = (Text){begin, (size_t)(stop - begin)};
            begin = stop + 1;
        }
    *csv_add_field() = (Text){begin, (size_t)(end - begin)};
}

static void csv_keep(uint8_t byte) {
    if (csv.used == RECORD_MOST) malformed("a row is longer than 8388608 bytes");
    csv.text[csv.used++] = byte;
}

/* A row with quotes or CR: through the lines that it takes. */
static void csv_copy(void) {
    Place place = FIELD_BEGINS;
    csv.used = 0;
    const uint8_t *begin = csv.text;
    for (;;) {
        const uint8_t *at = csv.line.at, *end = at + csv.line.size;
        for (; at < end; at++) {
            uint8_t c = *at;
            if (place == IN_QUOTES) {
                if (c == '"') place = AFTER_QUOTE;
                else csv_keep(c);
                continue;
            }
            if (c == csv.delimiter || c == '\r') {
                *csv_add_field() = (Text){begin, (size_t)(csv.text + csv.used - begin)};
                begin = csv.text + csv.used;
                place = FIELD_BEGINS;
                if (c != '\r') continue;
                csv.line = (Line){at + 1, (size_t)(end - at - 1)};
                csv.has_line = csv.line.size > 0;
                return;
            }
            if (c == '"' && place == FIELD_BEGINS) {
                place = IN_QUOTES;
            } else if (place == AFTER_QUOTE) {
                if (c != '"') malformed("a field goes on behind its closing quote");
                csv_keep(c);
                place = IN_QUOTES;
            } else {
                csv_keep(c);
                place = IN_FIELD;
            }
        }
        if (place != IN_QUOTES) break;
        csv_keep('\n');
        if (!lines_next(&lines, &csv.line)) malformed("a field in quotes has no end");
    }
    *csv_add_field() = (Text){begin, (size_t)(csv.text + csv.used - begin)};
    csv.has_line = 0;
}

/* The next row that is not blank; false at the end. */
static int csv_next(void) {
    do {
        if (!csv.has_line) {
            if (!lines_next(&lines, &csv.line)) return 0;
            csv.has_line = 1;
        }
        record_line = lines.number;
        csv.count = 0;
        Line line = csv.line;
        const uint8_t *end = line.at + line.size;
        if (line.size && end[-1] == '\r') line.size--, end--;
        csv.plain = find_byte(line.at, end, '"') == end && find_byte(line.at, end, '\r') == end;
        if (!line.size) {
            csv.has_line = 0;
        } else if (csv.plain) {
            csv_cut(line);
            csv.has_line = 0;
        } else if (*line.at == '\r') {
            csv.line = (Line){csv.line.at + 1, csv.line.size - 1}; /* a blank row within a line */
        } else {
            csv_copy();
        }
    } while (!csv.count);
    return 1;
}

/* A field as QUOTE_MINIMAL has it: in quotes where it would not be read as it is. `plain`: it is known not to be so. */
static void write_csv_field(Text text, int plain) {
    const uint8_t *at = text.at, *end = at + text.size;
    for (; !plain && at < end; at++)
        if (*at == csv.delimiter || *at == '"' || *at == '\n' || *at == '\r') break;
    if (plain || at == end) {
        output_add(text.at, text.size);
        return;
    }
    output_byte('"');
    for (at = text.at; at < end; at++) {
        if (*at == '"') output_byte('"');
        output_byte((char)*at);
    }
    output_byte('"');
}

/* A row that is one empty field must not look like a blank one. */
static void write_csv_end(size_t count, size_t size) {
    if (count == 1 && !size) output_add("\"\"", 2);
    output_byte('\n');
}

#endif
