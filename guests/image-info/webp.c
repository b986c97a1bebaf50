/* A WebP's headers: RIFF chunks to the end; frames are counted, pixels passed over. */
#include "info.h"

static uint32_t number(const uint8_t *at, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)at[i] << 8 * i;
    return value;
}

static int is(const uint8_t *chunk, const char *type) {
    return !memcmp(chunk, type, 4);
}

/* The dimensions that a bitstream states. False when it ends before; dies when it is none. */
static int read_bitstream(Info *info, int lossless, uint64_t *size, int known) {
    uint8_t head[10];
    size_t need = lossless ? 5 : 10;
    if (*size < need) die(2, "the WebP picture has too short a bitstream");
    if (take(head, need) < need) return 0;
    *size -= need;
    if (lossless ? head[0] != 0x2f : memcmp(head + 3, "\x9d\x01\x2a", 3) != 0) die(2, "the WebP picture has a malformed bitstream");
    uint32_t bits = number(head + 1, 4);
    if (!known) {
        info->width = lossless ? (bits & 0x3fff) + 1 : number(head + 6, 2) & 0x3fff;
        info->height = lossless ? (bits >> 14 & 0x3fff) + 1 : number(head + 8, 2) & 0x3fff;
        info->alpha |= lossless && bits >> 28 & 1;
    }
    const char *way = lossless ? "lossless" : "lossy";
    info->compression = info->compression && strcmp(info->compression, way) ? "mixed" : way;
    return 1;
}

void webp_info(Info *info) {
    uint8_t head[12], chunk[8], extended[10];
    int known = 0; /* the dimensions, from the extended header */
    if (take(head, 12) < 12) die(2, "the WebP picture is truncated: it ends in its header");
    uint64_t left = number(head + 4, 4);
    left = left < 4 ? 0 : left - 4;
    while (left >= 8) {
        if (take(chunk, 8) < 8) {
            info->truncated = 1;
            break;
        }
        left -= 8;
        uint64_t size = number(chunk + 4, 4), padded = size + (size & 1);
        if (padded > left) info->truncated = 1;
        left -= padded < left ? padded : left;
        int whole = 1;
        uint64_t rest = padded;
        if (is(chunk, "VP8X") && size >= 10) {
            whole = take(extended, 10) == 10;
            if (whole) {
                known = 1;
                info->alpha = extended[0] >> 4 & 1;
                info->animated = extended[0] >> 1 & 1;
                info->width = number(extended + 4, 3) + 1;
                info->height = number(extended + 7, 3) + 1;
            }
            rest -= 10;
        } else if (is(chunk, "VP8 ") || is(chunk, "VP8L")) {
            whole = read_bitstream(info, chunk[3] == 'L', &rest, known || info->width);
        } else if (is(chunk, "ANIM") && size >= 6) {
            whole = take(head, 6) == 6;
            if (whole) info->loops = number(head + 4, 2);
            rest -= 6;
        } else if (is(chunk, "ANMF")) {
            info->frames += info->animated;
            /* Its own head, then maybe alpha, then a bitstream. */
            if (size >= 24 && (whole = pass_over(16) && take(chunk, 8) == 8)) {
                rest -= 24;
                uint64_t inner = number(chunk + 4, 4);
                if (is(chunk, "ALPH") && inner + (inner & 1) + 8 <= rest) {
                    inner += inner & 1;
                    whole = pass_over(inner) && take(chunk, 8) == 8;
                    rest -= inner + 8;
                }
                if (whole && (is(chunk, "VP8 ") || is(chunk, "VP8L"))) whole = read_bitstream(info, chunk[3] == 'L', &rest, 1);
            }
        } else if (is(chunk, "ICCP")) {
            info->icc = 1;
        } else if (is(chunk, "XMP ")) {
            info->xmp = 1;
        } else if (is(chunk, "ALPH")) {
            info->alpha = 1;
        } else if (is(chunk, "EXIF") && !info->exif) {
            whole = take_exif(info, size);
            rest -= size;
        }
        if (!whole || !pass_over(rest)) {
            info->truncated = 1;
            break;
        }
    }
    if (!info->width || !info->height) die(2, "the WebP picture is truncated or malformed: it states no dimensions");
    if (!info->animated) info->frames = 1;
    info->bits = 8;
    info->channels = info->alpha ? 4 : 3;
    info->color = info->compression && !strcmp(info->compression, "lossless") ? "RGB" : "YCbCr";
}
