/* PNG in and out, by libspng: row by row. An interlaced picture, whose rows do not come in order, is decoded whole.
 *
 * Grey stays grey, alpha stays. Rows of less than 8 bits become 8; palettes become true colours; a transparent colour
 * becomes an alpha channel.
 */
#include "png.h"

#include "../io.h"
#include "png_chunks.h"
#include "room.h"

/* Chunks that are kept aside may be compressed: a small file must not become a large one in memory. */
#define CHUNK_LIMIT ((size_t)16 << 20)
#define CHUNKS_LIMIT ((size_t)48 << 20)
#define TEXTS_LIMIT 1000 /* libspng's own */

/* Two filters suit photos, and all of them take a tenth more time for nothing (see guests/README.md). */
#define FILTERS SPNG_FILTER_CHOICE_SUB | SPNG_FILTER_CHOICE_PAETH

static const char xmp_keyword[] = "XML:com.adobe.xmp", comment_keyword[] = "Comment";

typedef struct {
    PngChunks chunks;
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

/* libspng's reader. */
static int give(spng_ctx *context, void *user, void *into, size_t size) {
    (void)context;
    return png_chunks_read(user, into, size) ? 0 : SPNG_IO_EOF;
}

/* As png_check(), and says which chunk is too large. */
static void check_reading(const Decoder *decoder, int error) {
    if (error == SPNG_ECHUNK_LIMITS) {
        char type[5];
        png_chunks_type(&decoder->chunks, type);
        die(2, "the PNG picture's chunk ", type, " at byte ", decimal(decoder->chunks.chunk).digits, " is more than is read: ",
            decimal(CHUNK_LIMIT >> 20).digits, " MiB unpacked, ", decimal(CHUNKS_LIMIT >> 20).digits, " MiB of texts and profile together, ",
            decimal(TEXTS_LIMIT).digits, " texts");
    }
    png_check(error, "cannot read");
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

static void read_texts(spng_ctx *from, About *about) {
    uint32_t count = 0;
    if (spng_get_text(from, NULL, &count) || !count) return;
    struct spng_text *texts = calloc(count, sizeof *texts);
    if (!texts) png_check(SPNG_EMEM, "");
    png_check(spng_get_text(from, texts, &count), "cannot read the texts of");
    Comment **end = &about->comments;
    for (uint32_t i = 0; i < count; i++) {
        Bytes text = {(const uint8_t *)texts[i].text, texts[i].length};
        if (!about->xmp.data && texts[i].type == SPNG_ITXT && !strcmp(texts[i].keyword, xmp_keyword)) about->xmp = text;
        if (!strcmp(texts[i].keyword, comment_keyword)) end = add_comment(end, text);
    }
    free(texts);
}

void png_open(Source *source, const uint8_t *data, size_t size, int only_color) {
    Decoder *decoder = room_or_die(sizeof *decoder);
    *decoder = (Decoder){0};
    png_chunks_open(&decoder->chunks, data, size, only_color);
    decoder->from = spng_ctx_new(0);
    if (!decoder->from) png_check(SPNG_EMEM, "");
    png_check(spng_set_png_stream(decoder->from, give, &decoder->chunks), "cannot read");
    png_check(spng_set_chunk_limits(decoder->from, CHUNK_LIMIT, CHUNKS_LIMIT), "cannot read");
    check_reading(decoder, spng_get_ihdr(decoder->from, &decoder->header));
    struct spng_trns transparency;
    struct spng_iccp profile;
    struct spng_exif exif;
    struct spng_phys phys;
    source->decoder = decoder;
    source->width = decoder->header.width;
    source->height = decoder->header.height;
    int error = spng_get_trns(decoder->from, &transparency); /* this reads all chunks up to the pixels */
    if (error != SPNG_ECHUNKAVAIL) check_reading(decoder, error);
    plan(source, decoder, !error);
    decoder->row_size = (size_t)source->width * source->channels * (decoder->wide ? 2 : 1);
    About *about = &source->about;
    if (!spng_get_exif(decoder->from, &exif)) about->exif = (Bytes){(const uint8_t *)exif.data, exif.length};
    if (!spng_get_iccp(decoder->from, &profile)) about->icc = (Bytes){(const uint8_t *)profile.profile, profile.profile_len};
    if (!spng_get_phys(decoder->from, &phys) && phys.ppu_x && phys.ppu_y)
        about->density = (Density){phys.unit_specifier ? PER_METRE : RATIO, phys.ppu_x, phys.ppu_y};
    read_texts(decoder->from, about);
    about->cicp = decoder->chunks.cicp;
    about->png = decoder->from;
    about->only_color = only_color;
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
    check_reading(decoder, spng_decode_image(decoder->from, decoder->picture, (size_t)size, decoder->format, flags));
}

void png_row(Source *source, uint8_t *row) {
    Decoder *decoder = source->decoder;
    const uint8_t *from = decoder->picture;
    if (from) {
        from += (size_t)decoder->next++ * decoder->row_size;
    } else {
        uint8_t *to = decoder->row ? decoder->row : row;
        int error = spng_decode_row(decoder->from, to, decoder->row_size);
        if (error != SPNG_EOI) check_reading(decoder, error);
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
    const Decoder *decoder = source->decoder;
    check_reading(decoder, spng_decode_chunks(decoder->from));
}

/* What lies in these structures belongs to `from`, which must outlive `to`. */
void png_copy_chunks(spng_ctx *from, spng_ctx *to, int only_color) {
    struct spng_chrm_int chrm;
    struct spng_time time;
    uint32_t gamma, count = 0;
    uint8_t intent;
    if (!spng_get_srgb(from, &intent)) png_check(spng_set_srgb(to, intent), "cannot keep the sRGB intent of");
    if (!spng_get_gama_int(from, &gamma)) png_check(spng_set_gama_int(to, gamma), "cannot keep the gamma of");
    if (!spng_get_chrm_int(from, &chrm)) png_check(spng_set_chrm_int(to, &chrm), "cannot keep the primaries of");
    if (only_color) return;
    if (!spng_get_time(from, &time)) png_check(spng_set_time(to, &time), "cannot keep the time of");
    if (spng_get_text(from, NULL, &count) || !count) return;
    struct spng_text *texts = calloc(count, sizeof *texts);
    if (!texts) png_check(SPNG_EMEM, "");
    png_check(spng_get_text(from, texts, &count), "cannot read the texts of");
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (texts[i].length) texts[kept++] = texts[i]; /* libspng writes no empty ones */
    if (kept) png_check(spng_set_text(to, texts, kept), "cannot keep the texts of");
    free(texts);
}

static int append(spng_ctx *context, void *user, void *data, size_t size) {
    (void)context;
    if (!file_add(user, data, size)) png_check(SPNG_EMEM, "");
    return 0;
}

/* UTF-8 beyond ASCII. What else there is in no known encoding is taken for Latin-1, which has a meaning for each byte. */
static int is_utf8(Bytes text) {
    int beyond = 0;
    for (size_t i = 0, more = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (more ? (byte & 0xc0) != 0x80 : (byte & 0xc0) == 0x80 || byte >= 0xf8 || byte == 0xc0 || byte == 0xc1) return 0;
        if (more) more--;
        else if (byte >= 0xc0) beyond = 1, more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
        if (i + 1 == text.size && more) return 0;
    }
    return beyond;
}

/* libspng takes a text up to its NUL, which others do not have. Answers how many it is: none, if it is empty. */
static uint32_t add_text(struct spng_text *text, int type, const char *keyword, Bytes bytes) {
    char *copy = bytes.size < SIZE_MAX ? malloc(bytes.size + 1) : NULL;
    if (!copy) png_check(SPNG_EMEM, "");
    memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = 0;
    *text = (struct spng_text){.type = type, .text = copy, .length = strlen(copy), .language_tag = "", .translated_keyword = ""};
    strcpy(text->keyword, keyword);
    return text->length ? 1 : 0;
}

/* Of a picture that was no PNG. */
static void write_texts(spng_ctx *to, const About *about) {
    uint32_t count = 0, used = 0;
    for (const Comment *comment = about->comments; comment; comment = comment->next) count++;
    struct spng_text *texts = calloc((size_t)count + 1, sizeof *texts);
    if (!texts) png_check(SPNG_EMEM, "");
    if (about->xmp.data) used += add_text(&texts[used], SPNG_ITXT, xmp_keyword, about->xmp);
    for (const Comment *comment = about->comments; comment; comment = comment->next)
        used += add_text(&texts[used], is_utf8(comment->text) ? SPNG_ITXT : SPNG_TEXT, comment_keyword, comment->text);
    if (used) png_check(spng_set_text(to, texts, used), "cannot keep the texts in");
    free(texts);
}

static void write_cicp(spng_ctx *to, Bytes cicp) {
    static struct spng_unknown_chunk chunk = {.type = {'c', 'I', 'C', 'P'}, .location = SPNG_AFTER_IHDR}; /* libspng keeps where it lies */
    if (!cicp.data) return;
    chunk.data = (void *)cicp.data;
    chunk.length = cicp.size;
    png_check(spng_set_unknown_chunks(to, &chunk, 1), "cannot keep the cICP in");
}

static void write_about(spng_ctx *to, const struct spng_ihdr *header, const About *about) {
    struct spng_ihdr before;
    struct spng_sbit sbit;
    struct spng_bkgd background;
    if (about->png && !about->only_color && !spng_get_ihdr(about->png, &before) && before.color_type == header->color_type && before.bit_depth == header->bit_depth) {
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
    write_cicp(to, about->cicp);
    Density density = density_of_png(about->density);
    if (density.unit) {
        struct spng_phys phys = {.ppu_x = density.x, .ppu_y = density.y, .unit_specifier = density.unit == PER_METRE};
        png_check(spng_set_phys(to, &phys), "cannot keep the resolution in");
    }
    if (about->png) png_copy_chunks(about->png, to, about->only_color); /* XMP and comments are among its texts */
    else write_texts(to, about);
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
