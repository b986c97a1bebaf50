/* A mark onto a JPEG, in the domain of its coefficients.
 *
 * A JPEG keeps each 8 x 8 block of each component as quantised coefficients of a cosine transform. Only the blocks that
 * lie under the mark are transformed back, blended and transformed again, with the picture's own quantisation; all the
 * others are copied. So nothing outside the mark changes at all, and the work is little more than the entropy coding.
 * With --quality every block is quantised anew with the tables of that quality; still no transform is needed for it.
 *
 * Blending a component alone is right for all colour spaces that JPEG has, as they are linear in one another.
 */
#include <math.h>
#include <stdio.h>

#include "jpeglib.h"
#include "jerror.h"
#include "jmemsys.h"

#include "../common/memory.h"
#include "watermark.h"

static _Noreturn void fail(j_common_ptr picture) {
    char message[JMSG_LENGTH_MAX];
    if (picture->err->msg_code == JERR_OUT_OF_MEMORY) die(2, "not enough memory for this JPEG picture");
    picture->err->format_message(picture, message);
    die(2, "cannot read the JPEG picture: ", message);
}

/* A negative level warns that data is damaged or missing; libjpeg would go on and fill the picture with grey. */
static void judge_message(j_common_ptr picture, int level) {
    if (level >= 0) return;
    switch (picture->err->msg_code) {
        case JWRN_ADOBE_XFORM:
        case JWRN_BOGUS_ICC:
        case JWRN_EXTRANEOUS_DATA:
        case JWRN_JFIF_MAJOR:
            return; /* odd, but nothing of the picture is lost */
        case JWRN_JPEG_EOF:
            die(2, "the JPEG picture is truncated");
        default:
            fail(picture);
    }
}

static float cosines[8][8]; /* [frequency][place]: an orthonormal transform */

static void prepare_cosines(void) {
    for (int u = 0; u < 8; u++)
        for (int x = 0; x < 8; x++)
            cosines[u][x] = (float)(cos((2 * x + 1) * u * M_PI / 16) * (u ? 0.5 : sqrt(0.125)));
}

/* out[i][j] = sum over k of left[i][k] right[k][j]; a factor is given by the distance of its rows and columns. */
static void multiply(float *out, const float *left, int left_row, int left_column, const float *right, int right_row, int right_column) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
            float sum = 0;
            for (int k = 0; k < 8; k++) sum += left[i * left_row + k * left_column] * right[k * right_row + j * right_column];
            out[i * 8 + j] = sum;
        }
}

static void to_samples(const JCOEF *coefficients, const UINT16 *quantisation, float *samples) {
    float values[64], half[64];
    for (int i = 0; i < 64; i++) values[i] = (float)coefficients[i] * quantisation[i];
    multiply(half, &cosines[0][0], 1, 8, values, 8, 1);
    multiply(samples, half, 8, 1, &cosines[0][0], 8, 1);
    for (int i = 0; i < 64; i++) samples[i] += 128;
}

static JCOEF quantised(float value, int step, int most) {
    float level = roundf(value / (float)step);
    return (JCOEF)fmaxf((float)-most, fminf((float)most, level));
}

static void to_coefficients(float *samples, const UINT16 *quantisation, JCOEF *coefficients) {
    float half[64], values[64];
    for (int i = 0; i < 64; i++) samples[i] -= 128;
    multiply(half, &cosines[0][0], 8, 1, samples, 8, 1);
    multiply(values, half, 8, 1, &cosines[0][0], 1, 8);
    /* An 8-bit JPEG's entropy code ends at 10 bits, and at 11 for the difference of two first coefficients. */
    for (int i = 0; i < 64; i++) coefficients[i] = quantised(values[i], quantisation[i], 1023);
}

/* What the ink's and the halo's colour come to in one component. */
typedef struct {
    float ink, halo;
} Paint;

static float luma(const int *rgb) {
    return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

static float in_component(const j_decompress_ptr d, int component, const int *color) {
    int rgb[3] = {color[0], color[1], color[2]};
    int is_ink = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    int inverted = is_ink && d->saw_Adobe_marker; /* Adobe's files keep 255 less the amount of ink */
    if (is_ink && component == 3) return inverted ? 255 : 0;
    /* A YCCK file's Y, Cb, Cr are those of 255 less the stored CMY. */
    if (d->jpeg_color_space == JCS_YCCK ? inverted : is_ink && !inverted)
        for (int i = 0; i < 3; i++) rgb[i] = 255 - rgb[i];
    if (d->jpeg_color_space == JCS_RGB || d->jpeg_color_space == JCS_CMYK) return (float)rgb[component];
    float y = luma(rgb);
    if (component == 1) return 128 + (rgb[2] - y) / 1.772f;
    if (component == 2) return 128 + (rgb[0] - y) / 1.402f;
    return y;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Blends one block's samples; (x, y) is the block's first sample in its component, `across` and `down` how many pixels of
 * the picture a sample spans. False when the mark has no weight anywhere in it. */
static int blend(const Mark *mark, Paint paint, float *samples, int x, int y, float across, float down) {
    int any = 0;
    for (int row = 0; row < 8; row++) {
        int top = (int)floorf((y + row) * down) - mark->y, bottom = (int)ceilf((y + row + 1) * down) - mark->y;
        if (bottom <= 0 || top >= mark->height) continue;
        for (int column = 0; column < 8; column++) {
            int left = (int)floorf((x + column) * across) - mark->x, right = (int)ceilf((x + column + 1) * across) - mark->x;
            int ink = 0, halo = 0, area = (bottom - top) * (right - left);
            for (int v = top < 0 ? 0 : top; v < least(bottom, mark->height); v++)
                for (int u = left < 0 ? 0 : left; u < least(right, mark->width); u++) {
                    ink += mark->ink_weight[(size_t)v * mark->width + u];
                    halo += mark->halo_weight[(size_t)v * mark->width + u];
                }
            if (!(ink | halo)) continue;
            float of_ink = (float)ink / (255.0f * area), of_halo = (float)halo / (255.0f * area);
            float *sample = &samples[row * 8 + column];
            /* Clamped as any viewer clamps it, so that the mark is as strong as it was asked to be. */
            float old = fmaxf(0, fminf(255, *sample));
            *sample = old * (1 - of_ink - of_halo) + paint.ink * of_ink + paint.halo * of_halo;
            any = 1;
        }
    }
    return any;
}

static void mark_component(j_decompress_ptr d, jvirt_barray_ptr blocks, int index, const Mark *mark, Paint paint, const UINT16 *before, const UINT16 *after) {
    jpeg_component_info *component = &d->comp_info[index];
    float across = (float)d->max_h_samp_factor / component->h_samp_factor;
    float down = (float)d->max_v_samp_factor / component->v_samp_factor;
    int columns = (int)component->width_in_blocks, rows = (int)component->height_in_blocks;
    int requantise = memcmp(before, after, 64 * sizeof *before) != 0;
    int first_row = (int)floorf(mark->y / (8 * down)), last_row = least(rows - 1, (int)floorf((mark->y + mark->height - 1) / (8 * down)));
    int first = (int)floorf(mark->x / (8 * across)), last = least(columns - 1, (int)floorf((mark->x + mark->width - 1) / (8 * across)));
    if (!mark->width) last_row = -1;
    for (int row = 0; row < rows; row++) {
        int under = row >= first_row && row <= last_row;
        if (!under && !requantise) continue;
        JBLOCKROW line = *d->mem->access_virt_barray((j_common_ptr)d, blocks, (JDIMENSION)row, 1, TRUE);
        for (int column = 0; column < columns; column++) {
            JCOEF *block = line[column];
            if (under && column >= first && column <= last) {
                float samples[64];
                to_samples(block, before, samples);
                if (blend(mark, paint, samples, column * 8, row * 8, across, down)) {
                    to_coefficients(samples, after, block);
                    continue;
                }
            }
            if (requantise)
                for (int i = 0; i < 64; i++)
                    if (block[i]) block[i] = quantised((float)block[i] * before[i], after[i], 1023);
        }
    }
}

static void copy_markers(j_decompress_ptr d, j_compress_ptr c) {
    for (jpeg_saved_marker_ptr marker = d->marker_list; marker; marker = marker->next) {
        /* The library writes these two itself. */
        if (c->write_JFIF_header && marker->marker == JPEG_APP0 && marker->data_length >= 5 && !memcmp(marker->data, "JFIF", 5)) continue;
        if (c->write_Adobe_marker && marker->marker == JPEG_APP0 + 14 && marker->data_length >= 5 && !memcmp(marker->data, "Adobe", 5)) continue;
        jpeg_write_marker(c, marker->marker, marker->data, marker->data_length);
    }
}

static int orientation_of(j_decompress_ptr d) {
    for (jpeg_saved_marker_ptr marker = d->marker_list; marker; marker = marker->next)
        if (marker->marker == JPEG_APP0 + 1 && marker->data_length > 6 && !memcmp(marker->data, "Exif\0", 6))
            return exif_orientation(marker->data + 6, marker->data_length - 6);
    return 1;
}

const Piece *mark_jpeg(const Style *style, const uint8_t *data, size_t size) {
    struct jpeg_decompress_struct d;
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    d.err = c.err = jpeg_std_error(&errors);
    errors.error_exit = fail;
    errors.emit_message = judge_message;
    jpeg_create_decompress(&d);
    jpeg_create_compress(&c);
    jpeg_mem_src(&d, data, size);
    jpeg_save_markers(&d, JPEG_COM, 0xffff);
    for (int i = 0; i < 16; i++) jpeg_save_markers(&d, JPEG_APP0 + i, 0xffff);
    jpeg_read_header(&d, TRUE);
    check_dimensions(d.image_width, d.image_height);
    if (d.data_precision != 8) die(2, "the JPEG picture has ", decimal((uint64_t)d.data_precision).digits, " bits a sample; only 8 are supported");
    if (d.jpeg_color_space == JCS_UNKNOWN) die(2, "the JPEG picture has an unknown colour space");
    Mark mark = make_mark(style, (int)d.image_width, (int)d.image_height, orientation_of(&d));

    jvirt_barray_ptr *blocks = jpeg_read_coefficients(&d);
    jpeg_copy_critical_parameters(&d, &c);
    if (d.jpeg_color_space == JCS_CMYK) c.write_Adobe_marker = d.saw_Adobe_marker;
    if (d.progressive_mode) jpeg_simple_progression(&c);
    UINT16 before[MAX_COMPONENTS][64];
    for (int i = 0; i < d.num_components; i++) {
        if (!d.comp_info[i].quant_table) die(2, "the JPEG picture lacks a quantisation table");
        memcpy(before[i], d.comp_info[i].quant_table->quantval, sizeof before[i]);
    }
    if (style->quality) {
        jpeg_set_quality(&c, style->quality, TRUE);
        for (int i = 0; i < c.num_components; i++)
            c.comp_info[i].quant_tbl_no = (i == 1 || i == 2) && (d.jpeg_color_space == JCS_YCbCr || d.jpeg_color_space == JCS_YCCK);
    }
    prepare_cosines();
    int ink[3] = {style->red, style->green, style->blue}, halo[3] = {mark.halo, mark.halo, mark.halo};
    for (int i = 0; i < d.num_components; i++) {
        Paint paint = {in_component(&d, i, ink), in_component(&d, i, halo)};
        const UINT16 *after = style->quality ? c.quant_tbl_ptrs[c.comp_info[i].quant_tbl_no]->quantval : before[i];
        mark_component(&d, blocks[i], i, &mark, paint, before[i], after);
    }
    /* The result is about as large as the source; if it is larger, the library takes more. */
    unsigned long file_size = size + size / 16 + PAGE_SIZE;
    uint8_t *file = take_memory(file_size);
    if (!file) die(2, "not enough memory for this JPEG picture");
    jpeg_mem_dest(&c, &file, &file_size);
    jpeg_write_coefficients(&c, blocks);
    copy_markers(&d, &c);
    jpeg_finish_compress(&c);
    static Piece whole;
    whole = (Piece){NULL, file, file_size};
    return &whole;
}

/* The library's system-dependent part, in place of its jmemnobs.c: coefficients come straight from WebAssembly. */
void *jpeg_get_small(j_common_ptr picture, size_t size) {
    (void)picture;
    return malloc(size);
}

void jpeg_free_small(j_common_ptr picture, void *memory, size_t size) {
    (void)picture, (void)size;
    free(memory);
}

void *jpeg_get_large(j_common_ptr picture, size_t size) {
    (void)picture;
    return take_memory(size);
}

void jpeg_free_large(j_common_ptr picture, void *memory, size_t size) {
    (void)picture, (void)memory, (void)size;
}

size_t jpeg_mem_available(j_common_ptr picture, size_t least_bytes, size_t most_bytes, size_t already) {
    (void)picture, (void)least_bytes, (void)already;
    return most_bytes;
}

void jpeg_open_backing_store(j_common_ptr picture, backing_store_ptr store, long size) {
    (void)store, (void)size;
    ERREXIT(picture, JERR_NO_BACKING_STORE);
}

long jpeg_mem_init(j_common_ptr picture) {
    (void)picture;
    return 0;
}

void jpeg_mem_term(j_common_ptr picture) {
    (void)picture;
}
