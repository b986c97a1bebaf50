/* One JSON object, a member at a time: valid whatever a file says, and of a bounded size. */
#include "info.h"

#define TEXT_LIMIT 256 /* bytes of a stranger's text that are told */

static int needs_comma;

static void add(const char *text) {
    output_add(text, strlen(text));
}

/* How many bytes of strict UTF-8 the next character has; 0: it is none. */
static size_t character_size(const uint8_t *at, size_t left) {
    if (*at < 0x80) return 1;
    size_t size = *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3 : *at >= 0xf0 && *at < 0xf5 ? 4 : 0;
    if (!size || size > left) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if (*at == 0xe0 && at[1] < 0xa0) return 0;
    if (*at == 0xed && at[1] > 0x9f) return 0;
    if (*at == 0xf0 && at[1] < 0x90) return 0;
    if (*at == 0xf4 && at[1] > 0x8f) return 0;
    return size;
}

static void add_string(const uint8_t *text, size_t size) {
    add("\"");
    for (size_t at = 0; at < size;) {
        size_t whole = character_size(text + at, size - at);
        uint8_t c = text[at];
        if (!whole) {
            add("\\ufffd");
            at++;
        } else if (c < 0x20 || c == 0x7f) {
            char escape[] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15], 0};
            add(escape);
            at++;
        } else {
            if (c == '"' || c == '\\') add("\\");
            output_add(text + at, whole);
            at += whole;
        }
    }
    add("\"");
}

static void member(const char *name) {
    if (needs_comma) add(", ");
    needs_comma = 1;
    add_string((const uint8_t *)name, strlen(name));
    add(": ");
}

void json_begin(void) {
    add("{");
}

void json_text(const char *name, const char *value) {
    json_bytes(name, (const uint8_t *)value, strlen(value));
}

void json_bytes(const char *name, const uint8_t *value, size_t size) {
    if (size > TEXT_LIMIT) {
        size = TEXT_LIMIT;
        while (size > TEXT_LIMIT - 3 && (value[size] & 0xc0) == 0x80) size--; /* not amid a character */
    }
    member(name);
    add_string(value, size);
}

void json_number(const char *name, uint64_t value) {
    member(name);
    add(decimal(value).digits);
}

void json_truth(const char *name, int value) {
    member(name);
    add(value ? "true" : "false");
}

void json_open(const char *name) {
    member(name);
    add("{");
    needs_comma = 0;
}

void json_close(void) {
    add("}");
    needs_comma = 1;
}

void json_end(void) {
    add("}\n");
    output_flush();
}
