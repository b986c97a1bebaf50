/* What is asked for in the same words by several programs, and what is said of the result. */
#ifndef INSITU_IMAGES_ASKED_H
#define INSITU_IMAGES_ASKED_H

#include "../channels.h"
#include "../options.h"
#include "picture.h"

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

/* Over HTTP the result has the source's type unless this says otherwise. */
static inline void tell_kind(Kind kind) {
    static const char *const types[] = {"{\"content_type\": \"image/jpeg\"}", "{\"content_type\": \"image/png\"}", "{\"content_type\": \"image/webp\"}"};
    int meta = channel_open("out", "meta", O_WRONLY);
    if (meta < 0) return;
    if (write_all(meta, types[kind], strlen(types[kind]))) die(1, "cannot write /dev/out/meta: ", strerror(errno));
    close(meta);
}

#endif
