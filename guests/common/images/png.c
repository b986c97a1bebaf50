/* PNG in and out, by libspng: row by row. An interlaced picture, whose rows do not come in order, is decoded whole.
 *
 * Grey stays grey, alpha stays. Rows of less than 8 bits become 8; palettes become true colours; a transparent colour
 * becomes an alpha channel.
 */
#include "png.h"

#include "../io.h"
#include "exif.h"
#include "room.h"

/* Chunks that are kept aside may be compressed: a small file must not become a large one in memory. */
#define CHUNK_LIMIT ((size_t)16 << 20)
#define CHUNKS_LIMIT ((size_t)48 << 20)

/* Two filters suit photos, and all of them take a tenth more time for nothing (see guests/README.md). */
#define FILTERS SPNG_FILTER_CHOICE_SUB | SPNG_FILTER_CHOICE_PAETH

static const char xmp_keyword[] = "XML:com.adobe.xmp";

typedef struct {
    spng_ctx *from;
    struct spng_ihdr header;
    int format; /* of its rows, as spng names it */
    int wide;   /* its rows are of 16 bits, whatever is asked for */
    uint8_t *row, *picture;
    size_t row_size;
    uint32_t next;
} Decoder;

void png_check(int error, const char *doing) {
    if (!error) return;
    if (error == SPNG_EMEM || error == SPNG_EZLIB_INIT) die(2, "not enough memory for this PNG picture");
    if (error == SPNG_EOF || error == SPNG_IO_EOF || error == SPNG_EIDAT_TOO_SHORT) die(2, "the PNG picture is truncated");
    die(2, doing, " the PNG picture: ", spng_strerror(error));
}

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Dies on absurd dimensions, and when the file ends before its end mark, which the decoder does not mind. */
static void check_whole(const uint8_t *data, size_t size) {
    size_t at = 8;
    if (size >= 24 && !memcmp(data + 12, "IHDR", 4)) check_sides(big_endian(data + 16), big_endian(data + 20));
    while (size - at >= 12) {
        uint32_t length = big_endian(data + at);
        for (int i = 4; i < 8; i++)
            if ((data[at + i] | 0x20) < 'a' || (data[at + i] | 0x20) > 'z')
                die(2, "cannot read the PNG picture: the chunk at byte ", decimal(at).digits, " has no valid type");
        if (length > size - at - 12) break;
        if (!memcmp(data + at + 4, "IEND", 4)) return;
        at += 12 + (size_t)length;
    }
    die(2, "the PNG picture is truncated");
}

/* The format of the rows, and what they have. */
static void plan(Source *source, Decoder *decoder, int has_transparency) {
    int wide = decoder->header.bit_depth == 16, type = decoder->header.color_type;
    decoder->format = SPNG_FMT_PNG;
    if (type == SPNG_COLOR_TYPE_INDEXED) {
        type = has_transparency ? SPNG_COLOR_TYPE_TRUECOLOR_ALPHA : SPNG_COLOR_TYPE_TRUECOLOR;
        decoder->format = has_transparency ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
    } else if (has_transparency && type == SPNG_COLOR_TYPE_GRAYSCALE) {
        type = SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
        decoder->format = wide ? SPNG_FMT_GA16 : SPNG_FMT_GA8;
    } else if (has_transparency && type == SPNG_COLOR_TYPE_TRUECOLOR) {
        type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA;
        decoder->format = wide ? SPNG_FMT_RGBA16 : SPNG_FMT_RGBA8;
    } else if (decoder->header.bit_depth < 8) {
        decoder->format = SPNG_FMT_G8;
    }
    source->channels = (type & 2 ? 3 : 1) + (type & 4 ? 1 : 0);
    source->wide = decoder->wide = wide;
}

static Bytes find_xmp(spng_ctx *from) {
    uint32_t count = 0;
    Bytes xmp = {0};
    if (spng_get_text(from, NULL, &count) || !count) return xmp;
    struct spng_text *texts = calloc(count, sizeof *texts);
    if (!texts) png_check(SPNG_EMEM, "");
    png_check(spng_get_text(from, texts, &count), "cannot read the texts of");
    for (uint32_t i = 0; i < count && !xmp.data; i++)
        if (texts[i].type == SPNG_ITXT && !strcmp(texts[i].keyword, xmp_keyword))
            xmp = (Bytes){(const uint8_t *)texts[i].text, texts[i].length};
    free(texts);
    return xmp;
}

void png_open(Source *source, const uint8_t *data, size_t size) {
    Decoder *decoder = room_or_die(sizeof *decoder);
    *decoder = (Decoder){0};
    check_whole(data, size);
    decoder->from = spng_ctx_new(0);
    if (!decoder->from) png_check(SPNG_EMEM, "");
    png_check(spng_set_png_buffer(decoder->from, data, size), "cannot read");
    png_check(spng_set_chunk_limits(decoder->from, CHUNK_LIMIT, CHUNKS_LIMIT), "cannot read");
    png_check(spng_get_ihdr(decoder->from, &decoder->header), "cannot read");
    struct spng_trns transparency;
    struct spng_iccp profile;
    struct spng_exif exif;
    source->decoder = decoder;
    source->width = decoder->header.width;
    source->height = decoder->header.height;
    plan(source, decoder, !spng_get_trns(decoder->from, &transparency));
    decoder->row_size = (size_t)source->width * source->channels * (decoder->wide ? 2 : 1);
    if (!spng_get_exif(decoder->from, &exif)) source->about.exif = (Bytes){(const uint8_t *)exif.data, exif.length};
    if (!spng_get_iccp(decoder->from, &profile)) source->about.icc = (Bytes){(const uint8_t *)profile.profile, profile.profile_len};
    source->about.xmp = find_xmp(decoder->from);
    source->about.png = decoder->from;
}

uint64_t png_source_need(const Source *source) {
    const Decoder *decoder = source->decoder;
    int interlaced = decoder->header.interlace_method != SPNG_INTERLACE_NONE;
    return (uint64_t)decoder->row_size * (interlaced ? source->height : 1) + (interlaced ? 0 : 4 * (uint64_t)decoder->row_size);
}

void png_start(Source *source) {
    Decoder *decoder = source->decoder;
    int interlaced = decoder->header.interlace_method != SPNG_INTERLACE_NONE;
    uint64_t size = interlaced ? (uint64_t)decoder->row_size * source->height : 0;
    if (interlaced) decoder->picture = room_or_die(size);
    else if (decoder->wide && !source->wide) decoder->row = room_or_die(decoder->row_size);
    int flags = SPNG_DECODE_TRNS | (interlaced ? 0 : SPNG_DECODE_PROGRESSIVE);
    png_check(spng_decode_image(decoder->from, decoder->picture, (size_t)size, decoder->format, flags), "cannot read");
}

void png_row(Source *source, uint8_t *row) {
    Decoder *decoder = source->decoder;
    const uint8_t *from = decoder->picture;
    if (from) {
        from += (size_t)decoder->next++ * decoder->row_size;
    } else {
        uint8_t *to = decoder->row ? decoder->row : row;
        int error = spng_decode_row(decoder->from, to, decoder->row_size);
        if (error != SPNG_EOI) png_check(error, "cannot read");
        from = to;
    }
    if (decoder->wide && !source->wide) {
        for (size_t i = 0; i < decoder->row_size / 2; i++) row[i] = from[2 * i + 1];
    } else if (from != row) {
        memcpy(row, from, decoder->row_size);
    }
}

void png_end(Source *source) {
    /* To the end: what follows the pixels may be damaged, too. */
    png_check(spng_decode_chunks(((Decoder *)source->decoder)->from), "cannot read");
}

/* What lies in these structures belongs to `from`, which must outlive `to`. */
void png_copy_chunks(spng_ctx *from, spng_ctx *to, int only_color) {
    struct spng_chrm_int chrm;
    struct spng_phys phys;
    struct spng_time time;
    uint32_t gamma, count = 0;
    uint8_t intent;
    if (!spng_get_srgb(from, &intent)) png_check(spng_set_srgb(to, intent), "cannot keep the sRGB intent of");
    if (!spng_get_gama_int(from, &gamma)) png_check(spng_set_gama_int(to, gamma), "cannot keep the gamma of");
    if (!spng_get_chrm_int(from, &chrm)) png_check(spng_set_chrm_int(to, &chrm), "cannot keep the primaries of");
    if (only_color) return;
    if (!spng_get_phys(from, &phys)) png_check(spng_set_phys(to, &phys), "cannot keep the resolution of");
    if (!spng_get_time(from, &time)) png_check(spng_set_time(to, &time), "cannot keep the time of");
    if (spng_get_text(from, NULL, &count) || !count) return;
    struct spng_text *texts = calloc(count, sizeof *texts);
    if (!texts) png_check(SPNG_EMEM, "");
    png_check(spng_get_text(from, texts, &count), "cannot read the texts of");
    png_check(spng_set_text(to, texts, count), "cannot keep the texts of");
    free(texts);
}

static int append(spng_ctx *context, void *user, void *data, size_t size) {
    (void)context;
    if (!file_add(user, data, size)) png_check(SPNG_EMEM, "");
    return 0;
}

static void write_about(spng_ctx *to, const struct spng_ihdr *header, const About *about) {
    struct spng_ihdr before;
    struct spng_sbit sbit;
    struct spng_bkgd background;
    if (about->png && !spng_get_ihdr(about->png, &before) && before.color_type == header->color_type && before.bit_depth == header->bit_depth) {
        if (!spng_get_sbit(about->png, &sbit)) png_check(spng_set_sbit(to, &sbit), "cannot keep the sample depth of");
        if (!spng_get_bkgd(about->png, &background)) png_check(spng_set_bkgd(to, &background), "cannot keep the background of");
    }
    if (about->icc.data) {
        struct spng_iccp profile = {.profile_name = "ICC profile", .profile_len = about->icc.size, .profile = (char *)about->icc.data};
        png_check(spng_set_iccp(to, &profile), "cannot keep the colour profile in");
    }
    if (about->exif.data) {
        struct spng_exif exif = {.length = about->exif.size, .data = (char *)about->exif.data};
        png_check(spng_set_exif(to, &exif), "cannot keep the EXIF in");
    }
    if (about->png) {
        png_copy_chunks(about->png, to, about->only_color); /* XMP is among its texts */
    } else if (about->xmp.data) {
        struct spng_text text = {.type = SPNG_ITXT, .text = (char *)about->xmp.data, .length = about->xmp.size, .language_tag = "", .translated_keyword = ""};
        memcpy(text.keyword, xmp_keyword, sizeof xmp_keyword);
        png_check(spng_set_text(to, &text, 1), "cannot keep the XMP in");
    }
}

spng_ctx *png_encoder(File *file, const struct spng_ihdr *header, int level) {
    spng_ctx *to = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr copy = *header;
    if (!to) png_check(SPNG_EMEM, "");
    png_check(spng_set_png_stream(to, append, file), "cannot write");
    png_check(spng_set_option(to, SPNG_IMG_COMPRESSION_LEVEL, level), "cannot write");
    png_check(spng_set_option(to, SPNG_FILTER_CHOICE, FILTERS), "cannot write");
    png_check(spng_set_ihdr(to, &copy), "cannot write");
    return to;
}

void png_target_start(Target *target) {
    static const uint8_t types[] = {0, SPNG_COLOR_TYPE_GRAYSCALE, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, SPNG_COLOR_TYPE_TRUECOLOR,
                                    SPNG_COLOR_TYPE_TRUECOLOR_ALPHA};
    struct spng_ihdr header = {.width = target->width, .height = target->height, .bit_depth = target->wide ? 16 : 8,
                               .color_type = types[target->channels]};
    spng_ctx *to = target->encoder = png_encoder(&target->file, &header, target->method);
    write_about(to, &header, target->about);
    png_check(spng_encode_image(to, NULL, 0, SPNG_FMT_PNG, SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE), "cannot write");
}

void png_target_row(Target *target, uint8_t *row) {
    size_t size = (size_t)target->width * target->channels * (target->wide ? 2 : 1);
    int error = spng_encode_row(target->encoder, row, size);
    if (error != SPNG_EOI) png_check(error, "cannot write");
}

void png_target_end(Target *target) {
    (void)target; /* the last row has ended it */
}
