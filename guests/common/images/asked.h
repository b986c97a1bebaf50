/* What is asked for in the same words by several programs, and what is said of the result. */
#ifndef INSITU_IMAGES_ASKED_H
#define INSITU_IMAGES_ASKED_H

#include "../channels.h"
#include "../options.h"
#include "picture.h"
#include "room.h"

/* The option's value as a kind; dies when it is none. */
static inline Kind kind_asked(const Arguments *arguments) {
    if (!strcmp(arguments->value, "jpeg") || !strcmp(arguments->value, "jpg")) return JPEG;
    if (!strcmp(arguments->value, "png")) return PNG;
    if (!strcmp(arguments->value, "webp")) return WEBP;
    die(2, arguments->name, " ", arguments->value, ": must be jpeg, png or webp");
}

/* The option's value as a colour, RRGGBB or #RRGGBB; dies when it is none. */
static inline void color_asked(const Arguments *arguments, uint8_t *rgb) {
    const char *digits = arguments->value + (*arguments->value == '#');
    if (strlen(digits) != 6 || strspn(digits, "0123456789abcdefABCDEF") != 6)
        die(2, arguments->name, " ", arguments->value, ": must be six hexadecimal digits, RRGGBB");
    unsigned long color = strtoul(digits, NULL, 16);
    for (int i = 0; i < 3; i++) rgb[i] = (uint8_t)(color >> (16 - 8 * i));
}

/* The option --max-pixels. */
static inline void max_pixels_asked(const Arguments *arguments) {
    set_pixels_limit(number_of(arguments, 1, (uint64_t)SIDE_LIMIT * SIDE_LIMIT));
}

#define HELP_MAX_PIXELS "  --max-pixels N     refuse pictures of more (default 268435456, which is 2 to the 28th)\n"

/* Over HTTP the result has the source's type unless this says otherwise; and that may be wrong: objects are often stored
 * without one. */
static inline void tell_kind(Kind kind) {
    static const char *const types[] = {"{\"content_type\": \"image/jpeg\"}", "{\"content_type\": \"image/png\"}", "{\"content_type\": \"image/webp\"}"};
    int meta = channel_open("out", "meta", O_WRONLY);
    if (meta < 0) return;
    if (write_all(meta, types[kind], strlen(types[kind]))) die(1, "cannot write /dev/out/meta: ", strerror(errno));
    close(meta);
}

#endif
