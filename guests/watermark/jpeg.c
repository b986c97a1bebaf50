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

#include "watermark.h"

#include "../common/images/exif.h"
#include "../common/images/room.h"
#include "../common/images/turbo.h"

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

/* A component of a colour is a sum of these parts of red, green, blue and white. */
typedef struct {
    float white, rgb[3];
} Paint;

static float in_component(const j_decompress_ptr d, int component, const int *color) {
    int rgb[3] = {color[0], color[1], color[2]};
    int is_ink = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    int inverted = is_ink && d->saw_Adobe_marker; /* Adobe's files keep 255 less the amount of ink */
    if (is_ink && component == 3) return inverted ? 255 : 0;
    /* A YCCK file's Y, Cb, Cr are those of 255 less the stored CMY. */
    if (d->jpeg_color_space == JCS_YCCK ? inverted : is_ink && !inverted)
        for (int i = 0; i < 3; i++) rgb[i] = 255 - rgb[i];
    if (d->jpeg_color_space == JCS_RGB || d->jpeg_color_space == JCS_CMYK) return (float)rgb[component];
    float y = 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
    if (component == 1) return 128 + (rgb[2] - y) / 1.772f;
    if (component == 2) return 128 + (rgb[0] - y) / 1.402f;
    return y;
}

static Paint paint_of(const j_decompress_ptr d, int component) {
    static const int black[3] = {0};
    Paint paint = {.white = in_component(d, component, black) / 255};
    for (int i = 0; i < 3; i++) {
        int pure[3] = {0};
        pure[i] = 255;
        paint.rgb[i] = in_component(d, component, pure) / 255 - paint.white;
    }
    return paint;
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
            int red = 0, green = 0, blue = 0, weight = 0, area = (bottom - top) * (right - left);
            for (int v = top < 0 ? 0 : top; v < least(bottom, mark->height); v++)
                for (int u = left < 0 ? 0 : left; u < least(right, mark->width); u++) {
                    const uint8_t *pixel = mark->pixels + ((size_t)v * mark->width + u) * 4;
                    red += pixel[0];
                    green += pixel[1];
                    blue += pixel[2];
                    weight += pixel[3];
                }
            if (!weight) continue;
            float color = red * paint.rgb[0] + green * paint.rgb[1] + blue * paint.rgb[2] + weight * paint.white;
            float *sample = &samples[row * 8 + column];
            /* Clamped as any viewer clamps it, so that the mark is as strong as it was asked to be. */
            float old = fmaxf(0, fminf(255, *sample));
            *sample = old * (1 - (float)weight / (255.0f * area)) + color / (float)area;
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

void mark_jpeg(const Style *style, const uint8_t *data, size_t size, File *file) {
    struct jpeg_decompress_struct d;
    struct jpeg_compress_struct c;
    turbo_open(&d, data, size);
    turbo_create(&c);
    About about = turbo_about(&d);
    int orientation = about.exif.data ? exif_orientation(about.exif.data, about.exif.size) : 1;
    /* The result is about as large as the source. */
    set_room_aside("the picture is", d.image_width, d.image_height, turbo_coefficients(&d) + (1 << 18) + size + size / 16);
    Mark mark = make_mark(style, (int)d.image_width, (int)d.image_height, orientation);
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
    for (int i = 0; i < d.num_components; i++) {
        const UINT16 *after = style->quality ? c.quant_tbl_ptrs[c.comp_info[i].quant_tbl_no]->quantval : before[i];
        mark_component(&d, blocks[i], i, &mark, paint_of(&d, i), before[i], after);
    }
    turbo_to_file(&c, file);
    jpeg_write_coefficients(&c, blocks);
    turbo_copy_segments(&d, &c);
    jpeg_finish_compress(&c);
}
