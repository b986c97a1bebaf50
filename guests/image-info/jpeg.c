/* A JPEG's headers: segments up to the first scan, which is where its pixels begin and reading ends. */
#include "info.h"

/* The quantisation tables of the JPEG standard's annex K in zigzag order, for quality 50. */
static const uint8_t standard[2][64] = {
    {16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49,
     35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56,
     80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99},
    {17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99},
};

typedef struct {
    uint16_t tables[4][64];
    int have_table[4];
    struct {
        uint8_t id, across, down, table;
    } components[4];
    int frame, adobe; /* the frame's marker; Adobe's transform, -1: it does not say */
    int jfif;
} Heads;

static _Noreturn void truncated(void) {
    die(2, "the JPEG picture is truncated: it ends in its headers");
}

static unsigned number16(const uint8_t *at) {
    return (unsigned)at[0] << 8 | at[1];
}

static uint8_t byte(void) {
    uint8_t value;
    if (!take(&value, 1)) truncated();
    return value;
}

static void read_tables(Heads *heads, size_t size) {
    while (size) {
        uint8_t bytes[128], which = byte();
        size_t wide = which >> 4 ? 2 : 1, count = 64 * wide;
        if (which >> 4 > 1 || (which & 15) > 3 || size < 1 + count) die(2, "the JPEG picture has a malformed quantisation table");
        if (take(bytes, count) < count) truncated();
        for (int i = 0; i < 64; i++) heads->tables[which & 15][i] = (uint16_t)(wide == 2 ? number16(bytes + 2 * i) : bytes[i]);
        heads->have_table[which & 15] = 1;
        size -= 1 + count;
    }
}

static void read_frame(Heads *heads, Info *info, size_t size) {
    uint8_t head[6], component[3];
    if (heads->frame) die(2, "the JPEG picture has two frame headers");
    if (size < 6) die(2, "the JPEG picture has a malformed frame header");
    if (take(head, 6) < 6) truncated();
    info->bits = head[0];
    info->height = number16(head + 1);
    info->width = number16(head + 3);
    info->channels = head[5];
    if (size != 6 + 3 * (size_t)head[5]) die(2, "the JPEG picture has a malformed frame header");
    if (!info->width || !info->height)
        die(2, "the JPEG picture is ", decimal(info->width).digits, " x ", decimal(info->height).digits, " pixels; it is empty");
    for (int i = 0; i < head[5]; i++) {
        if (take(component, 3) < 3) truncated();
        if (i < 4) {
            heads->components[i].id = component[0];
            heads->components[i].across = component[1] >> 4;
            heads->components[i].down = component[1] & 15;
            heads->components[i].table = component[2] & 3;
        }
    }
}

/* An application segment; the rest of it is passed over. */
static void read_application(Heads *heads, Info *info, int marker, size_t size) {
    static const char exif[6] = "Exif\0", xmp[29] = "http://ns.adobe.com/xap/1.0/", icc[12] = "ICC_PROFILE";
    uint8_t head[32];
    size_t had = size < sizeof head ? size : sizeof head;
    if (marker == 0xe1 && size >= 6) {
        if (take(head, 6) < 6) truncated();
        size -= 6;
        if (!memcmp(head, exif, 6) && !info->exif) {
            if (!take_exif(info, size)) truncated();
            return;
        }
        had = size < 23 ? size : 23;
        if (take(head + 6, had) < had) truncated();
        size -= had;
        if (had == 23 && !memcmp(head, xmp, 29)) info->xmp = 1;
    } else {
        if (take(head, had) < had) truncated();
        size -= had;
        if (marker == 0xe0 && had >= 5 && !memcmp(head, "JFIF", 5)) heads->jfif = 1;
        if (marker == 0xe2 && had >= 12 && !memcmp(head, icc, 12)) info->icc = 1;
        if (marker == 0xee && had >= 12 && !memcmp(head, "Adobe", 5)) heads->adobe = head[11];
    }
    if (!pass_over(size)) truncated();
}

/* What the components are, by the rules that decoders follow. */
static const char *color_of(const Heads *heads, const Info *info) {
    switch (info->channels) {
        case 1: return "grey";
        case 3:
            if (heads->jfif) return "YCbCr";
            if (heads->adobe >= 0) return heads->adobe ? "YCbCr" : "RGB";
            return heads->components[0].id == 'R' && heads->components[1].id == 'G' && heads->components[2].id == 'B' ? "RGB" : "YCbCr";
        case 4: return heads->adobe == 2 ? "YCCK" : "CMYK";
        default: return "unknown";
    }
}

static const char *subsampling_of(const Heads *heads, const Info *info) {
    if (info->channels != 3) return NULL;
    int across = heads->components[0].across, down = heads->components[0].down;
    for (int i = 1; i < 3; i++)
        if (heads->components[i].across != 1 || heads->components[i].down != 1) return NULL;
    static const struct {
        int across, down;
        const char *name;
    } usual[] = {{1, 1, "4:4:4"}, {2, 1, "4:2:2"}, {2, 2, "4:2:0"}, {1, 2, "4:4:0"}, {4, 1, "4:1:1"}};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (usual[i].across == across && usual[i].down == down) return usual[i].name;
    return NULL;
}

/* The quality with which libjpeg and all that use it would have made exactly these tables; 0: none. Only what is exact
 * is told: a guess at other tables would be on nobody's scale. */
static int quality_of(const Heads *heads, const Info *info) {
    int tables = info->channels >= 3 ? 2 : 1;
    if (info->bits != 8 || info->channels > 4) return 0;
    for (int quality = 100; quality > 0; quality--) {
        int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality, same = 1;
        for (int which = 0; which < tables && same; which++) {
            int at = heads->components[which].table;
            same = heads->have_table[at];
            for (int i = 0; i < 64 && same; i++) {
                int value = (standard[which][i] * scale + 50) / 100;
                same = heads->tables[at][i] == (value < 1 ? 1 : value > 255 ? 255 : value);
            }
        }
        if (same) return quality;
    }
    return 0;
}

void jpeg_info(Info *info) {
    Heads heads = {.adobe = -1};
    pass_over(2);
    for (;;) {
        while (byte() != 0xff) {}
        uint8_t marker = byte();
        while (marker == 0xff) marker = byte();
        if (!marker || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue; /* stand alone */
        if (marker == 0xd9 || marker == 0xda) break;
        uint8_t length[2] = {byte(), byte()};
        if (number16(length) < 2) die(2, "the JPEG picture has a segment of an impossible length");
        size_t size = number16(length) - 2;
        if (marker == 0xdb) read_tables(&heads, size);
        else if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
            read_frame(&heads, info, size);
            heads.frame = marker;
        } else if (marker >= 0xe0 && marker <= 0xef) read_application(&heads, info, marker, size);
        else if (!pass_over(size)) truncated();
    }
    if (!heads.frame) die(2, "the JPEG picture has no frame header");
    static const char *const processes[] = {"baseline", "extended", "progressive", "lossless"};
    info->compression = heads.frame & 8 ? "arithmetic" : processes[heads.frame & 3];
    info->ordered = (heads.frame & 3) == 2;
    info->color = color_of(&heads, info);
    info->subsampling = subsampling_of(&heads, info);
    info->quality = quality_of(&heads, info);
}
