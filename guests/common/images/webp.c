/* WebP in and out, by libwebp. A picture is decoded whole, as its bitstreams are not made for less; encoded it is from
 * planes that are filled a strip at a time. Animations are refused.
 *
 * A file is a list of chunks: "RIFF" size "WEBP", then for each a name of four letters, a size, and that many bytes,
 * padded to an even count. What is written about a picture makes it an extended file, which begins with VP8X.
 */
#include "webp/decode.h"
#include "webp/encode.h"

#include "../io.h"
#include "picture.h"
#include "room.h"

#define STRIP 32 /* rows; even, as two rows share their colours */
#define WEBP_SIDE 16383

typedef struct {
    const uint8_t *data;
    size_t size;
    WebPBitstreamFeatures features;
    uint8_t *picture, *next;
    size_t stride;
} Decoder;

static uint32_t number(const uint8_t *at, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)at[i] << 8 * i;
    return value;
}

static _Noreturn void refuse(VP8StatusCode status) {
    switch (status) {
        case VP8_STATUS_OUT_OF_MEMORY: die(2, "not enough memory for this WebP picture");
        case VP8_STATUS_NOT_ENOUGH_DATA:
        case VP8_STATUS_SUSPENDED: die(2, "the WebP picture is truncated");
        case VP8_STATUS_UNSUPPORTED_FEATURE: die(2, "cannot read the WebP picture: it has a feature that is not supported");
        default: die(2, "cannot read the WebP picture: its data is damaged");
    }
}

/* The chunks' walk: finds what is written about the picture, and that the file is whole. */
static void read_chunks(Source *source, const uint8_t *data, size_t size) {
    uint32_t whole = number(data + 4, 4);
    if (whole < 12 || whole > size - 8) die(2, "the WebP picture is truncated");
    for (size_t at = 12, end = 8 + (size_t)whole; end - at >= 8;) {
        size_t length = number(data + at + 4, 4), left = end - at - 8;
        if (length > left) die(2, "the WebP picture is truncated, or one of its chunks is longer than it");
        Bytes bytes = {data + at + 8, length};
        if (!memcmp(data + at, "EXIF", 4) && !source->about.exif.data) {
            /* Some writers put JPEG's own heading before it. */
            if (length >= 6 && !memcmp(bytes.data, "Exif\0", 6)) bytes.data += 6, bytes.size -= 6;
            source->about.exif = bytes;
        }
        if (!memcmp(data + at, "ICCP", 4) && !source->about.icc.data) source->about.icc = bytes;
        if (!memcmp(data + at, "XMP ", 4) && !source->about.xmp.data) source->about.xmp = bytes;
        length += length & 1 && length < left;
        at += 8 + length;
    }
}

void webp_open(Source *source, const uint8_t *data, size_t size) {
    Decoder *decoder = room_or_die(sizeof *decoder);
    *decoder = (Decoder){0};
    decoder->data = data;
    decoder->size = size;
    VP8StatusCode status = WebPGetFeatures(data, size, &decoder->features);
    if (status) refuse(status);
    if (decoder->features.has_animation) die(2, "the WebP picture is an animation, which is not supported");
    read_chunks(source, data, size);
    source->decoder = decoder;
    source->width = (uint32_t)decoder->features.width;
    source->height = (uint32_t)decoder->features.height;
    source->channels = decoder->features.has_alpha ? 4 : 3;
    source->lossless = decoder->features.format == 2;
}

void webp_scale(Source *source, uint32_t least_width, uint32_t least_height) {
    double across = (double)least_width / source->width, down = (double)least_height / source->height;
    double scale = across > down ? across : down;
    if (scale > 0.6) return;
    source->width = (uint32_t)(source->width * scale + 0.999999);
    source->height = (uint32_t)(source->height * scale + 0.999999);
}

uint64_t webp_source_need(const Source *source) {
    const Decoder *decoder = source->decoder;
    uint64_t pixels = (uint64_t)decoder->features.width * decoder->features.height;
    uint64_t rows = (uint64_t)source->width * source->height * source->channels;
    /* A lossless one is decoded to four bytes a pixel first; the alpha beside a lossy one to one byte; and some rows. */
    return rows + pixels * (source->lossless ? 4 : decoder->features.has_alpha ? 1 : 0) + (uint64_t)decoder->features.width * 256 + (1 << 19);
}

void webp_start(Source *source) {
    Decoder *decoder = source->decoder;
    WebPDecoderConfig config;
    WebPInitDecoderConfig(&config);
    decoder->stride = (size_t)source->width * source->channels;
    decoder->picture = decoder->next = room_or_die((uint64_t)decoder->stride * source->height);
    config.output.colorspace = source->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = decoder->picture;
    config.output.u.RGBA.stride = (int)decoder->stride;
    config.output.u.RGBA.size = decoder->stride * source->height;
    if ((int)source->width != decoder->features.width || (int)source->height != decoder->features.height) {
        config.options.use_scaling = 1;
        config.options.scaled_width = (int)source->width;
        config.options.scaled_height = (int)source->height;
    }
    VP8StatusCode status = WebPDecode(decoder->data, decoder->size, &config);
    if (status) refuse(status);
}

void webp_row(Source *source, uint8_t *row) {
    Decoder *decoder = source->decoder;
    memcpy(row, decoder->next, decoder->stride);
    decoder->next += decoder->stride;
}

typedef struct {
    WebPConfig config;
    WebPPicture picture;
    uint8_t *strip;
    uint32_t rows;  /* in the strip */
    uint32_t given; /* before it */
    int opaque;
    File *file;
} Encoder;

uint64_t webp_target_need(const Target *target) {
    if (target->width > WEBP_SIDE || target->height > WEBP_SIDE)
        die(2, "a WebP can have at most 16383 pixels a side; this picture has ", decimal(target->width).digits, " x ", decimal(target->height).digits);
    uint64_t pixels = (uint64_t)target->width * target->height;
    /* Found by trying: the planes, and what the encoder keeps beside them. */
    if (target->lossless) return pixels * 27 + (4 << 20);
    int has_alpha = target->channels == 2 || target->channels == 4;
    return pixels * (has_alpha ? 6 : 3) + (uint64_t)target->width * 4 * STRIP + (2 << 20);
}

static int append(const uint8_t *data, size_t size, const WebPPicture *picture) {
    return file_add(picture->custom_ptr, data, size);
}

static _Noreturn void cannot_write(WebPEncodingError error) {
    if (error == VP8_ENC_ERROR_OUT_OF_MEMORY || error == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY || error == VP8_ENC_ERROR_BAD_WRITE)
        die(2, "not enough memory to encode this picture as WebP");
    die(2, "cannot write a WebP picture: the encoder's error ", decimal((uint64_t)error).digits);
}

void webp_target_start(Target *target) {
    static Encoder encoder;
    WebPPicture *picture = &encoder.picture;
    target->encoder = &encoder;
    WebPConfigInit(&encoder.config);
    WebPPictureInit(picture);
    encoder.config.quality = (float)target->quality;
    encoder.config.method = target->method;
    encoder.config.lossless = target->lossless;
    encoder.config.exact = target->lossless;
    picture->width = (int)target->width;
    picture->height = (int)target->height;
    picture->writer = append;
    picture->custom_ptr = &target->file;
    encoder.opaque = 1;
    uint64_t width = target->width, height = target->height, half = (width + 1) / 2 * ((height + 1) / 2);
    if (target->lossless) {
        picture->use_argb = 1;
        picture->argb = room_or_die(width * height * 4);
        picture->argb_stride = picture->width;
    } else {
        picture->y = room_or_die(width * height);
        picture->u = room_or_die(half);
        picture->v = room_or_die(half);
        picture->y_stride = picture->width;
        picture->uv_stride = (picture->width + 1) / 2;
        if (target->channels == 4) {
            picture->a = room_or_die(width * height);
            picture->a_stride = picture->width;
        }
        encoder.strip = room_or_die(width * STRIP * target->channels);
    }
}

static void copy_rows(uint8_t *to, const uint8_t *from, int from_stride, int stride, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++) memcpy(to + (size_t)i * stride, from + (size_t)i * from_stride, (size_t)stride);
}

/* The strip's rows into the planes. */
static void convert_strip(const Target *target, Encoder *encoder) {
    WebPPicture part, *whole = &encoder->picture;
    if (!encoder->rows) return;
    WebPPictureInit(&part);
    part.width = whole->width;
    part.height = (int)encoder->rows;
    int stride = part.width * target->channels;
    if (!(target->channels == 4 ? WebPPictureImportRGBA(&part, encoder->strip, stride) : WebPPictureImportRGB(&part, encoder->strip, stride)))
        cannot_write(part.error_code);
    size_t at = encoder->given, half = at / 2;
    copy_rows(whole->y + at * whole->y_stride, part.y, part.y_stride, whole->y_stride, encoder->rows);
    copy_rows(whole->u + half * whole->uv_stride, part.u, part.uv_stride, whole->uv_stride, (encoder->rows + 1) / 2);
    copy_rows(whole->v + half * whole->uv_stride, part.v, part.uv_stride, whole->uv_stride, (encoder->rows + 1) / 2);
    if (whole->a) {
        uint8_t *alpha = whole->a + at * whole->a_stride;
        if (part.a) {
            encoder->opaque = 0;
            copy_rows(alpha, part.a, part.a_stride, whole->a_stride, encoder->rows);
        } else {
            memset(alpha, 255, (size_t)whole->a_stride * encoder->rows);
        }
    }
    WebPPictureFree(&part);
    encoder->given += encoder->rows;
    encoder->rows = 0;
}

void webp_target_row(Target *target, uint8_t *row) {
    Encoder *encoder = target->encoder;
    if (target->lossless) {
        uint32_t *to = encoder->picture.argb + (size_t)encoder->given++ * target->width;
        for (size_t i = 0; i < target->width; i++, row += target->channels) {
            uint32_t alpha = target->channels == 4 ? row[3] : 255;
            to[i] = alpha << 24 | (uint32_t)row[0] << 16 | (uint32_t)row[1] << 8 | row[2];
        }
        return;
    }
    size_t size = (size_t)target->width * target->channels;
    memcpy(encoder->strip + size * encoder->rows, row, size);
    if (++encoder->rows == STRIP) convert_strip(target, encoder);
}

static void chunk_head(uint8_t *at, const char *name, uint64_t size) {
    memcpy(at, name, 4);
    for (int i = 0; i < 4; i++) at[4 + i] = (uint8_t)(size >> 8 * i);
}

static void add_chunk(File *file, const char *name, Bytes bytes) {
    uint8_t head[8];
    if (!bytes.data) return;
    chunk_head(head, name, bytes.size);
    if (!file_add(file, head, 8) || !file_add(file, bytes.data, bytes.size) || (bytes.size & 1 && !file_add(file, "", 1)))
        cannot_write(VP8_ENC_ERROR_OUT_OF_MEMORY);
}

/* Makes the encoder's file an extended one, which also holds what is written about the picture. */
static void extend(Target *target) {
    const About *about = target->about;
    if (!about->exif.data && !about->icc.data && !about->xmp.data) return;
    File old = target->file, *file = &target->file;
    const uint8_t *first = old.first->data;
    int extended = !memcmp(first + 12, "VP8X", 4);
    int has_alpha = extended ? first[20] >> 4 & 1 : !memcmp(first + 12, "VP8L", 4) && first[24] >> 4 & 1;
    uint8_t head[30] = {0};
    size_t skipped = extended ? 30 : 12;
    *file = (File){0};
    chunk_head(head + 12, "VP8X", 10);
    head[20] = (uint8_t)((about->icc.data ? 32 : 0) | (has_alpha ? 16 : 0) | (about->exif.data ? 8 : 0) | (about->xmp.data ? 4 : 0));
    for (int i = 0; i < 3; i++) {
        head[24 + i] = (uint8_t)((target->width - 1) >> 8 * i);
        head[27 + i] = (uint8_t)((target->height - 1) >> 8 * i);
    }
    if (!file_add(file, head, 30)) cannot_write(VP8_ENC_ERROR_OUT_OF_MEMORY);
    add_chunk(file, "ICCP", about->icc);
    for (FilePiece *piece = old.first; piece; piece = piece->next, skipped = 0)
        if (!file_add(file, piece->data + skipped, piece->size - skipped)) cannot_write(VP8_ENC_ERROR_OUT_OF_MEMORY);
    add_chunk(file, "EXIF", about->exif);
    add_chunk(file, "XMP ", about->xmp);
    chunk_head(file->first->data, "RIFF", file->size - 8);
    memcpy(file->first->data + 8, "WEBP", 4);
}

void webp_target_end(Target *target) {
    Encoder *encoder = target->encoder;
    WebPPicture *picture = &encoder->picture;
    if (!target->lossless) {
        convert_strip(target, encoder);
        if (encoder->opaque) picture->a = NULL;
        picture->colorspace = picture->a ? WEBP_YUV420A : WEBP_YUV420;
    }
    if (!WebPEncode(&encoder->config, picture)) cannot_write(picture->error_code);
    extend(target);
}
