/* A PNG's headers: chunks up to its end; the pixels' chunks are passed over, as EXIF may stand behind them. */
#include "info.h"

static uint32_t number32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int is(const uint8_t *chunk, const char *type) {
    return !memcmp(chunk + 4, type, 4);
}

static void read_header(Info *info) {
    static const char *const colors[] = {"grey", NULL, "RGB", "palette", "grey", NULL, "RGB"};
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4};
    uint8_t header[17]; /* with its checksum */
    if (take(header, 17) < 17) die(2, "the PNG picture is truncated: it ends in its header");
    info->width = number32(header);
    info->height = number32(header + 4);
    info->bits = header[8];
    int type = header[9];
    if (type > 6 || !colors[type]) die(2, "the PNG picture has the colour type ", decimal((uint64_t)type).digits, ", which there is not");
    if (!info->width || !info->height || info->width >> 31 || info->height >> 31)
        die(2, "the PNG picture is ", decimal(info->width).digits, " x ", decimal(info->height).digits, " pixels, which none can be");
    info->color = colors[type];
    info->channels = channels[type];
    info->alpha = type >= 4;
    info->ordered = header[12] == 1;
}

void png_info(Info *info) {
    uint8_t chunk[8];
    info->compression = "lossless";
    pass_over(8);
    for (int first = 1;; first = 0) {
        if (take(chunk, 8) < 8) {
            if (first) die(2, "the PNG picture is truncated: it has no header");
            info->truncated = 1;
            return;
        }
        uint64_t size = number32(chunk);
        if (first != is(chunk, "IHDR") || (first && size != 13)) die(2, "the PNG picture does not begin with one header of 13 bytes");
        if (first) {
            read_header(info);
            continue;
        }
        if (is(chunk, "IEND")) return;
        int whole = 1;
        if (is(chunk, "tRNS")) info->alpha = 1;
        if (is(chunk, "iCCP")) info->icc = 1;
        if (is(chunk, "acTL") && size >= 8) {
            uint8_t counts[8];
            whole = take(counts, 8) == 8;
            if (whole) {
                info->animated = 1;
                info->frames = number32(counts);
                info->loops = number32(counts + 4);
            }
            size -= 8;
        } else if (is(chunk, "iTXt") && size >= 18) {
            uint8_t keyword[18];
            whole = take(keyword, 18) == 18;
            if (whole && !memcmp(keyword, "XML:com.adobe.xmp", 18)) info->xmp = 1;
            size -= 18;
        } else if (is(chunk, "eXIf") && !info->exif) {
            whole = take_exif(info, size);
            size = 0;
        }
        if (!whole || !pass_over(size + 4)) {
            info->truncated = 1;
            return;
        }
    }
}
