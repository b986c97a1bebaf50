/* Which kind of picture a file is, by its first bytes: those that the programs read, and others by name alone, so that
 * whoever brings one is told what is wrong.
 */
#ifndef INSITU_IMAGES_KINDS_H
#define INSITU_IMAGES_KINDS_H

#include "../io.h"

typedef enum { JPEG, PNG, WEBP, NO_KIND } Kind;

#define KIND_BYTES 32 /* enough of a file's beginning to know its kind */

static int begins(const uint8_t *data, size_t size, const char *bytes, size_t count) {
    return size >= count && !memcmp(data, bytes, count);
}

static Kind kind_of(const uint8_t *data, size_t size) {
    if (begins(data, size, "\xff\xd8\xff", 3)) return JPEG;
    if (begins(data, size, "\x89PNG\r\n\x1a\n", 8)) return PNG;
    if (begins(data, size, "RIFF", 4) && size >= 12 && !memcmp(data + 8, "WEBP", 4)) return WEBP;
    return NO_KIND;
}

/* What a file that is none of ours is called; NULL when that is not known either. */
static const char *foreign_kind(const uint8_t *data, size_t size) {
    static const struct {
        const char *name, *bytes;
        size_t offset, count;
    } kinds[] = {
        {"a GIF", "GIF8", 0, 4},
        {"a BMP", "BM", 0, 2},
        {"a TIFF", "II*\0", 0, 4},
        {"a TIFF", "MM\0*", 0, 4},
        {"a Photoshop", "8BPS", 0, 4},
        {"a JPEG XL", "\xff\x0a", 0, 2},
        {"a JPEG XL", "\0\0\0\x0cJXL ", 0, 8},
        {"a JPEG 2000", "\0\0\0\x0cjP  ", 0, 8},
        {"a JPEG 2000", "\xff\x4f\xff\x51", 0, 4},
        {"an AVIF", "ftypavif", 4, 8},
        {"an AVIF", "ftypavis", 4, 8},
        {"a HEIF", "ftypheic", 4, 8},
        {"a HEIF", "ftypheix", 4, 8},
        {"a HEIF", "ftypmif1", 4, 8},
        {"a PDF", "%PDF-", 0, 5},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size > kinds[i].offset && begins(data + kinds[i].offset, size - kinds[i].offset, kinds[i].bytes, kinds[i].count))
            return kinds[i].name;
    return NULL;
}

/* Dies: the input is none of the kinds that `supported` lists. */
static _Noreturn void refuse_kind(const uint8_t *data, size_t size, const char *supported) {
    if (!size) die(2, "the input is empty");
    const char *name = foreign_kind(data, size);
    if (name) die(2, "the input is ", name, " file; supported are ", supported);
    die(2, "the input is no picture of a supported kind, which are ", supported);
}

#endif
