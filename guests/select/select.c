/* select: columns and rows of CSV and of JSON lines.
 *
 * One record at a time, of at most 8 MiB, is in memory. Nothing is put right on the way: what is malformed ends it, with the
 * line's number; the rows before it may have been written by then.
 */
#include "../common/channels.h"
#include "csv.h"
#include "where.h"

const char *const program_name = "select";

static const char usage[] =
    "usage: select --csv|--jsonl [option]...\n"
    "Columns and rows of the CSV or the JSON lines on standard input.\n"
    "  --csv               comma-separated values: RFC 4180; the first row has the columns' names\n"
    "  --jsonl             JSON, one value a line\n"
    "  --columns A,B,2     these columns, in this order: names, or numbers from 1; of JSON keys, and for\n"
    "                      values within values paths such as user.name and tags.0 (\\. is a point in a\n"
    "                      key). A name with a comma is in double quotes. Default: all, as they are\n"
    "  --where CONDITION   rows of which it holds; may be given again, then all must hold:\n"
    "                        price > 10       = != < <= > >=, with a bare number as numbers, exactly\n"
    "                        name >= 'b'      or with any other value as text, by its bytes\n"
    "                        name ~ '^A.*z$'  matches an extended regular expression; !~ does not\n"
    "                        name is empty    and: is not empty\n"
    "                        [unit price] < 3 and name != x or id = 7\n"
    "  --delimiter C       of CSV, read and written: one byte, or tab (default ,)\n"
    "  --no-header         CSV has no names; columns are numbers. With --to csv: none are written\n"
    "  --to csv|jsonl      what is written (default: what is read). JSON from CSV is objects of strings,\n"
    "                      or arrays with --no-header; CSV from JSON needs --columns\n"
    "A row may have 8 MiB. What is malformed ends it with exit code 2 and the line's number.\n";

enum { CSV = 1, JSONL, SHOW, WHERE, DELIMITER, NO_HEADER, TO };

static const Option options[] = {
    {CSV, 0, "csv", NULL},           {JSONL, 0, "jsonl", NULL},       {SHOW, 0, "columns", "A,B,2"},
    {WHERE, 0, "where", "CONDITION"}, {DELIMITER, 0, "delimiter", "C"}, {NO_HEADER, 0, "no-header", NULL},
    {TO, 0, "to", "csv|jsonl"},       {0},
};

static struct {
    int from, to, no_header;
} asked;

/* Names as one row of CSV. */
static void show_columns(const char *names) {
    const uint8_t *at = (const uint8_t *)names;
    if (!*at) die(2, "--columns: a column is missing");
    for (;; at++) {
        uint8_t *name = malloc(strlen((const char *)at) + 1);
        if (!name) die(2, "not enough memory");
        size_t size = 0;
        if (*at == '"') {
            int open = 1;
            for (at++; *at; at++) {
                if (*at == '"' && *++at != '"') {
                    open = 0;
                    break;
                }
                name[size++] = *at;
            }
            if (open || (*at && *at != ',')) die(2, "--columns ", names, ": a quote is open, or something stands behind it");
        } else {
            for (; *at && *at != ','; at++) name[size++] = *at;
        }
        if (!size) die(2, "--columns ", names, ": a column is missing");
        if (table.shown_count == COLUMNS_MOST)
            die(2, "--columns: at most ", decimal(COLUMNS_MOST).digits, " can be asked for");
        table.shown[table.shown_count++] = column_named((Text){name, size});
        if (!*at) return;
    }
}

static void parse_arguments(int argc, char **argv) {
    const char *delimiter = NULL;
    table.all = 1;
    Arguments arguments = arguments_of(argc, argv, options, usage);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
        case CSV:
        case JSONL:
            if (asked.from && asked.from != which) die(2, "either --csv or --jsonl, not both");
            asked.from = which;
            break;
        case SHOW:
            if (!table.all) die(2, "--columns is given twice");
            table.all = 0;
            show_columns(arguments.value);
            break;
        case WHERE: where_add(arguments.value); break;
        case DELIMITER: delimiter = arguments.value; break;
        case NO_HEADER: asked.no_header = 1; break;
        case TO:
            asked.to = !strcmp(arguments.value, "csv") ? CSV : !strcmp(arguments.value, "jsonl") ? JSONL : 0;
            if (!asked.to) die(2, "--to ", arguments.value, ": must be csv or jsonl");
            break;
        default: die(2, arguments.value, ": takes no operand; the data come on standard input");
    }
    if (!asked.from) die(2, "--csv or --jsonl must say what is read; --help lists the options");
    if (!asked.to) asked.to = asked.from;
    if (asked.from == JSONL && asked.to == JSONL && (delimiter || asked.no_header))
        die(2, delimiter ? "--delimiter" : "--no-header", " is of CSV, and neither what is read nor what is written is");
    if (delimiter) {
        if (!strcmp(delimiter, "tab")) delimiter = "\t";
        if (strlen(delimiter) != 1 || strchr("\"\r\n", *delimiter))
            die(2, "--delimiter ", delimiter, ": must be one byte, and neither a quote nor a line end; tab is one, too");
        csv.delimiter = (uint8_t)*delimiter;
    }
    if (asked.from == JSONL && asked.to == CSV && table.all) die(2, "CSV from JSON lines needs --columns");
}

/* Finds the columns' places, by the names in the row at hand or by numbers. */
static void find_fields(void) {
    for (size_t i = 0; i < table.count; i++) {
        Column *column = &table.column[i];
        size_t found = csv.count;
        for (size_t field = 0; !asked.no_header && field < csv.count; field++) {
            if (csv.field[field].size != column->name.size || memcmp(csv.field[field].at, column->name.at, column->name.size))
                continue;
            if (found != csv.count) die(2, "two columns are named ", quoted(column->name), "; a number tells them apart");
            found = field;
        }
        if (found == csv.count) {
            size_t number = 0;
            const uint8_t *at = column->name.at, *end = at + column->name.size;
            for (; at < end && is_digit(*at) && number <= FIELDS_MOST; at++) number = number * 10 + (size_t)(*at - '0');
            if (at == end && number && number <= csv.count) found = number - 1;
        }
        if (found == csv.count)
            die(2, "no column is ", quoted(column->name), asked.no_header ? "; without a header they are numbers, from 1 to " : "; there are ",
                decimal(csv.count).digits, asked.no_header ? "" : " columns");
        column->field = found;
    }
}

static Text field_shown(size_t i) {
    return table.all ? csv.field[i] : csv.field[table.column[table.shown[i]].field];
}

static void write_csv_row(void) {
    size_t count = table.all ? csv.count : table.shown_count, size = 0;
    for (size_t i = 0; i < count; i++) {
        Text field = field_shown(i);
        if (i) output_byte((char)csv.delimiter);
        write_csv_field(field, csv.plain);
        size = field.size;
    }
    write_csv_end(count, size);
}

/* The keys of the objects that rows become, as they are written. */
typedef struct {
    char *at;
    size_t size;
} Key;

#define KEYS_MOST 4096 /* each is held against each other */

static Key *keys;

/* Writes `text` as a key and takes it out of the output again. */
static Key key_of(Text text) {
    output_flush();
    if (text.size > sizeof output.bytes / 8) malformed("a column's name is longer than 32768 bytes");
    write_json_string(text);
    output_byte(':');
    Key key = {malloc(output.used), output.used};
    if (!key.at) die(2, "not enough memory");
    memcpy(key.at, output.bytes, output.used);
    output.used = 0;
    return key;
}

static void keys_of_header(void) {
    size_t count = table.all ? csv.count : table.shown_count;
    if (count > KEYS_MOST) die(2, "objects of more than ", decimal(KEYS_MOST).digits, " columns are not written");
    keys = malloc(count * sizeof *keys);
    if (!keys) die(2, "not enough memory");
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(field_shown(i));
        for (size_t j = 0; j < i; j++)
            if (keys[j].size == keys[i].size && !memcmp(keys[j].at, keys[i].at, keys[i].size))
                die(2, "two columns are named ", quoted(field_shown(i)), ", which JSON would not tell apart");
    }
}

static void write_json_row(void) {
    size_t count = table.all ? csv.count : table.shown_count;
    output_byte(keys ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        if (i) output_byte(',');
        if (keys) output_add(keys[i].at, keys[i].size);
        write_json_string(field_shown(i));
    }
    output_byte(keys ? '}' : ']');
    output_byte('\n');
}

static void from_csv(void) {
    csv_begin();
    int first = 1;
    for (size_t width = 0; csv_next();) {
        if (first) {
            first = 0;
            width = csv.count;
            find_fields();
            if (!asked.no_header) {
                if (asked.to == JSONL) keys_of_header();
                else write_csv_row();
                continue;
            }
        }
        if (csv.count != width)
            die(2, "line ", decimal(record_line).digits, ": a row of ", decimal(csv.count).digits, " fields, where the first has ",
                decimal(width).digits);
        for (size_t i = 0; i < table.count; i++) {
            Text field = csv.field[table.column[i].field];
            table.column[i].value = (Value){VALUE_TEXT, field.at, field.size};
        }
        if (!where_holds()) continue;
        if (asked.to == JSONL) write_json_row();
        else write_csv_row();
    }
}

static void write_csv_value(const Value *value, size_t *size) {
    Text text = {value->at, value->size};
    if (value->kind == VALUE_MISSING || value->kind == VALUE_NULL) text.size = 0;
    if (value->kind == VALUE_STRING) {
        text = json_text(value->at, value->size);
        if (decoded_halves) malformed("a string has an escape of half a character (a lone surrogate), which no text in CSV can have");
    }
    write_csv_field(text, 0);
    *size = text.size;
}

static void from_json(void) {
    for (size_t i = 0; i < table.count; i++) column_path(&table.column[i]);
    size_t count = table.shown_count, size = 0;
    keys = malloc((count + 1) * sizeof *keys);
    if (!keys) die(2, "not enough memory");
    for (size_t i = 0; i < count; i++) {
        Text name = table.column[table.shown[i]].name;
        if (asked.to == JSONL) {
            for (size_t j = 0; j < i; j++)
                if (table.shown[j] == table.shown[i]) die(2, "--columns has ", quoted(name), " twice, which JSON would not tell apart");
            keys[i] = key_of(name);
        } else if (!asked.no_header) {
            if (i) output_byte((char)csv.delimiter);
            write_csv_field(name, 0);
        }
    }
    if (asked.to == CSV && !asked.no_header) output_byte('\n');
    for (Line line; lines_next(&lines, &line);) {
        record_line = lines.number;
        Text record = json_record(line);
        if (!record.size || !where_holds()) continue;
        if (table.all) {
            output_add(record.at, record.size);
            output_byte('\n');
            continue;
        }
        if (asked.to == JSONL) output_byte('{');
        for (size_t i = 0; i < count; i++) {
            const Value *value = &table.column[table.shown[i]].value;
            if (i) output_byte(asked.to == CSV ? (char)csv.delimiter : ',');
            if (asked.to == CSV) {
                write_csv_value(value, &size);
                continue;
            }
            output_add(keys[i].at, keys[i].size);
            if (value->kind == VALUE_MISSING) output_add("null", 4);
            else output_add(value->at, value->size);
        }
        if (asked.to == CSV) write_csv_end(count, size);
        else output_add("}\n", 2);
    }
}

/* Whoever launched it may ask what the result is. */
static void tell_type(void) {
    int meta = channel_open("out", "meta", O_WRONLY);
    if (meta < 0) return;
    const char *type = asked.to == CSV ? "{\"content_type\":\"text/csv\"}" : "{\"content_type\":\"application/x-ndjson\"}";
    if (write_all(meta, type, strlen(type))) die(1, "cannot write /dev/out/meta: ", strerror(errno));
    close(meta);
}

int main(int argc, char **argv) {
    record_line = 1; /* of what is wrong before the first record */
    parse_arguments(argc, argv);
    tell_type();
    lines_begin(&lines, 0, "standard input", '\n');
    /* A byte order mark is no part of the first name. */
    if (lines_fill(&lines) && lines.stop - lines.at >= 3 && !memcmp(lines.at, "\xef\xbb\xbf", 3)) lines.at += 3;
    if (asked.from == CSV) from_csv();
    else from_json();
    output_flush();
    return 0;
}
