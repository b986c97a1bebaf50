/* What the parts of `select` share: the columns that were asked for, the value of each in the record at hand, and text
 * put together for output or comparison.
 *
 *   select.c  arguments, and which way from which format to which
 *   csv.h     records of CSV                 json.h    records of JSON lines
 *   where.h   conditions                     number.h  numbers, exactly
 */
#ifndef SELECT_TABLE_H
#define SELECT_TABLE_H

#include "../common/lines.h"
#include "../common/options.h"

#define COLUMNS_MOST 64            /* that are written or asked about */
#define RECORD_MOST LINE_LIMIT     /* bytes */
#define FIELDS_MOST ((size_t)1 << 16)

typedef enum {
    VALUE_MISSING,
    VALUE_TEXT,   /* a field of CSV, without its quotes */
    VALUE_STRING, /* of JSON, with its quotes and as it is written */
    VALUE_NUMBER,
    VALUE_NULL,
    VALUE_OTHER, /* true, false, an object or an array */
} Kind;

typedef struct {
    Kind kind;
    const uint8_t *at;
    size_t size;
} Value;

typedef struct {
    const uint8_t *at;
    size_t size;
} Text;

/* A column by what it was called. Of CSV it becomes the place of a field; of JSON a path of keys. */
typedef struct {
    Text name;
    size_t field;
    Text *steps; /* of the path */
    size_t step_count;
    Value value; /* in the record at hand */
} Column;

static struct {
    Column column[COLUMNS_MOST];
    size_t count;
    size_t shown[COLUMNS_MOST], shown_count; /* what is written, in its order */
    int all;                                 /* all columns are written */
} table;

static Lines lines;
static uint64_t record_line; /* where the record at hand begins */

static _Noreturn void malformed(const char *why) {
    die(2, "line ", decimal(record_line).digits, ": ", why);
}

static void *take(size_t size) {
    void *memory = take_memory(size);
    if (!memory) die(2, "not enough memory");
    return memory;
}

/* `text` as the end of a message, cut where it is long. */
static const char *quoted(Text text) {
    static char word[128];
    size_t size = text.size < sizeof word - 4 ? text.size : sizeof word - 4;
    memcpy(word, text.at, size);
    memcpy(word + size, size < text.size ? "..." : "", size < text.size ? 4 : 1);
    return word;
}

/* The number of the column of this name, which is new if nobody has asked for it yet. */
static size_t column_named(Text name) {
    for (size_t i = 0; i < table.count; i++)
        if (table.column[i].name.size == name.size && !memcmp(table.column[i].name.at, name.at, name.size)) return i;
    if (table.count == COLUMNS_MOST)
        die(2, "more than ", decimal(COLUMNS_MOST).digits, " different columns are asked for");
    table.column[table.count].name = name;
    return table.count++;
}

static inline void output_byte(char byte) {
    if (output.used == sizeof output.bytes) output_flush();
    output.bytes[output.used++] = byte;
}

#endif
