/* How a stored picture is turned for display: the one entry of EXIF that a mark must heed, lest it lies on its side. */
#include "watermark.h"

static uint32_t number(const uint8_t *at, int size, int big) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)at[i] << 8 * (big ? size - 1 - i : i);
    return value;
}

int exif_orientation(const uint8_t *tiff, size_t size) {
    if (size < 8) return 1;
    int big = tiff[0] == 'M' && tiff[1] == 'M';
    if (!big && (tiff[0] != 'I' || tiff[1] != 'I')) return 1;
    if (number(tiff + 2, 2, big) != 42) return 1;
    uint32_t directory = number(tiff + 4, 4, big);
    if (directory > size - 2) return 1;
    uint32_t entries = number(tiff + directory, 2, big);
    for (size_t at = (size_t)directory + 2; entries-- && at + 12 <= size; at += 12) {
        if (number(tiff + at, 2, big) != 0x0112) continue;
        uint32_t value = number(tiff + at + 8, 2, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
