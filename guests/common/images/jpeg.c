/* JPEG in and out, by libjpeg-turbo: rows of grey or RGB. Inks (CMYK, YCCK) become RGB. */
#include "turbo.h"

#include "room.h"

typedef struct {
    struct jpeg_decompress_struct d;
    uint8_t *inks; /* a row of four inks, when there are such */
} Decoder;

void jpeg_open(Source *source, const uint8_t *data, size_t size) {
    Decoder *decoder = room_or_die(sizeof *decoder);
    *decoder = (Decoder){0};
    j_decompress_ptr d = &decoder->d;
    turbo_open(d, data, size);
    source->decoder = decoder;
    source->about = turbo_about(d);
    source->width = d->image_width;
    source->height = d->image_height;
    source->channels = d->num_components == 1 ? 1 : 3;
    switch (d->jpeg_color_space) {
        case JCS_GRAYSCALE: d->out_color_space = JCS_GRAYSCALE; break;
        case JCS_CMYK:
        case JCS_YCCK:
            d->out_color_space = JCS_CMYK;
            source->about.icc = (Bytes){0}; /* it is about inks, and these rows are not */
            break;
        default: d->out_color_space = JCS_RGB;
    }
    d->dct_method = JDCT_ISLOW;
}

j_decompress_ptr jpeg_decoder(const Source *source) {
    return &((Decoder *)source->decoder)->d;
}

void jpeg_scale(Source *source, uint32_t least_width, uint32_t least_height) {
    j_decompress_ptr d = jpeg_decoder(source);
    d->scale_denom = 8;
    /* Powers of two only: their transforms are quick, and exact averages of the full one. */
    for (d->scale_num = 1; d->scale_num < 8; d->scale_num *= 2) {
        jpeg_calc_output_dimensions(d);
        if (d->output_width >= least_width && d->output_height >= least_height) break;
    }
    jpeg_calc_output_dimensions(d);
    source->width = d->output_width;
    source->height = d->output_height;
}

uint64_t jpeg_source_need(const Source *source) {
    j_decompress_ptr d = jpeg_decoder(source);
    uint64_t strips = (uint64_t)d->image_width * 4 * 64 + (1 << 18);
    return strips + (jpeg_has_multiple_scans(d) ? turbo_coefficients(d) : 0);
}

void jpeg_start(Source *source) {
    Decoder *decoder = source->decoder;
    /* Smoothing would guess at what a progressive picture lacks; whole ones lack nothing. */
    decoder->d.do_block_smoothing = FALSE;
    jpeg_start_decompress(&decoder->d);
    if (decoder->d.out_color_space == JCS_CMYK) decoder->inks = room_or_die((uint64_t)source->width * 4);
}

/* Each ink takes its part of what is left by black. */
static uint8_t without(uint8_t ink, uint8_t paper) {
    unsigned product = ink * paper + 128u;
    product = ((product >> 8) + product) >> 8;
    return (uint8_t)(paper - product);
}

void jpeg_row(Source *source, uint8_t *row) {
    Decoder *decoder = source->decoder;
    JSAMPROW to = decoder->inks ? decoder->inks : row;
    jpeg_read_scanlines(&decoder->d, &to, 1);
    if (!decoder->inks) return;
    uint8_t flip = decoder->d.saw_Adobe_marker ? 255 : 0; /* Adobe's files keep 255 less the amount of ink */
    for (size_t i = 0; i < source->width; i++) {
        const uint8_t *inks = decoder->inks + 4 * i;
        uint8_t paper = 255 - (inks[3] ^ flip);
        for (int k = 0; k < 3; k++) row[3 * i + k] = without(inks[k] ^ flip, paper);
    }
}

void jpeg_end(Source *source) {
    jpeg_finish_decompress(jpeg_decoder(source));
}

void jpeg_target_start(Target *target) {
    static struct jpeg_compress_struct c;
    turbo_create(&c);
    target->encoder = &c;
    turbo_to_file(&c, &target->file);
    c.image_width = target->width;
    c.image_height = target->height;
    c.input_components = target->channels;
    c.in_color_space = target->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, target->quality, TRUE);
    if (target->progressive) jpeg_simple_progression(&c);
    turbo_set_density(&c, target->about->density);
    jpeg_start_compress(&c, TRUE);
    turbo_write_about(&c, target->about);
}

void jpeg_target_row(Target *target, uint8_t *row) {
    jpeg_write_scanlines(target->encoder, &row, 1);
}

void jpeg_target_end(Target *target) {
    jpeg_finish_compress(target->encoder);
}
