/* The little of EXIF that the programs heed: how a stored picture is turned for display, and a few words about it.
 *
 * EXIF is a TIFF structure: a directory of entries of 12 bytes (tag, type, count, and the value or its offset), which may
 * point at others. It comes from strangers, so every offset is checked, and no more than two directories are looked at.
 */
#ifndef INSITU_IMAGES_EXIF_H
#define INSITU_IMAGES_EXIF_H

#include "../io.h"

enum { EXIF_MAKE = 0x010f, EXIF_MODEL = 0x0110, EXIF_ORIENTATION = 0x0112, EXIF_SOFTWARE = 0x0131, EXIF_DATE = 0x0132,
       EXIF_MORE = 0x8769, EXIF_DATE_TAKEN = 0x9003 };

typedef struct {
    const uint8_t *tiff;
    size_t size;
    int big; /* most significant byte first */
    size_t first; /* the first directory */
} Exif;

static uint32_t exif_number(const uint8_t *at, int size, int big) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)at[i] << 8 * (big ? size - 1 - i : i);
    return value;
}

/* False when it is no such structure. */
static int exif_open(Exif *exif, const uint8_t *tiff, size_t size) {
    /* Some writers put JPEG's own heading before it in other formats, too. */
    if (size >= 6 && !memcmp(tiff, "Exif\0", 6)) tiff += 6, size -= 6;
    if (size < 8) return 0;
    int big = tiff[0] == 'M' && tiff[1] == 'M';
    if (!big && (tiff[0] != 'I' || tiff[1] != 'I')) return 0;
    if (exif_number(tiff + 2, 2, big) != 42) return 0;
    *exif = (Exif){tiff, size, big, exif_number(tiff + 4, 4, big)};
    return 1;
}

/* The entry of that tag in the directory at an offset: where its 12 bytes begin, or NULL. */
static const uint8_t *exif_entry(const Exif *exif, size_t directory, unsigned tag) {
    if (exif->size < 2 || directory > exif->size - 2) return NULL;
    uint32_t entries = exif_number(exif->tiff + directory, 2, exif->big);
    for (size_t at = directory + 2; entries-- && exif->size >= 12 && at <= exif->size - 12; at += 12)
        if (exif_number(exif->tiff + at, 2, exif->big) == tag) return exif->tiff + at;
    return NULL;
}

/* A text, up to its NUL; its size, which is 0 when there is none. */
static size_t exif_text(const Exif *exif, size_t directory, unsigned tag, const uint8_t **text) {
    const uint8_t *entry = exif_entry(exif, directory, tag);
    if (!entry || exif_number(entry + 2, 2, exif->big) != 2) return 0;
    uint32_t count = exif_number(entry + 4, 4, exif->big), offset = exif_number(entry + 8, 4, exif->big);
    *text = count <= 4 ? entry + 8 : exif->tiff + (offset < exif->size ? offset : 0);
    if (count > 4 && (offset > exif->size || count > exif->size - offset)) return 0;
    const uint8_t *end = memchr(*text, 0, count);
    return end ? (size_t)(end - *text) : count;
}

/* Where the directory lies that holds what a camera says; 0 when there is none. */
static size_t exif_more(const Exif *exif) {
    const uint8_t *entry = exif_entry(exif, exif->first, EXIF_MORE);
    return entry ? exif_number(entry + 8, 4, exif->big) : 0;
}

/* 1 (as stored) to 8; 1 when it does not say. */
static int exif_orientation(const uint8_t *tiff, size_t size) {
    Exif exif;
    if (!exif_open(&exif, tiff, size)) return 1;
    const uint8_t *entry = exif_entry(&exif, exif.first, EXIF_ORIENTATION);
    uint32_t value = entry ? exif_number(entry + 8, 2, exif.big) : 1;
    return value >= 1 && value <= 8 ? (int)value : 1;
}

/* Makes it say that the picture is shown as it is stored, if it says anything of that. */
static void exif_set_upright(uint8_t *tiff, size_t size) {
    Exif exif;
    if (!exif_open(&exif, tiff, size)) return;
    const uint8_t *entry = exif_entry(&exif, exif.first, EXIF_ORIENTATION);
    if (!entry) return;
    uint8_t *value = tiff + (entry - tiff) + 8;
    value[0] = exif.big ? 0 : 1;
    value[1] = exif.big ? 1 : 0;
}

#define EXIF_LEAST_SIZE 26

/* EXIF that says this orientation and nothing else. */
static void exif_write_least(uint8_t *tiff, int orientation) {
    static const uint8_t least[EXIF_LEAST_SIZE] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1};
    memcpy(tiff, least, sizeof least);
    tiff[19] = (uint8_t)orientation;
}

#endif
