/* A picture made smaller (or larger), row by row.
 *
 * Rows go in from the top; each is scaled across at once, and kept for as long as a row of the result needs it: what is in
 * memory is a band as high as the filter, never the picture. The filter is Lanczos with three lobes, as wide as what a
 * pixel of the result covers; colours are weighted by their alpha. Values are taken as they are stored, as nearly all
 * programs do: the result is what they give, and not what light itself would mix to.
 */
#ifndef INSITU_IMAGES_RESAMPLE_H
#define INSITU_IMAGES_RESAMPLE_H

#include <stdint.h>

/* The part of the source, in its pixels, that becomes the result. */
typedef struct {
    double left, top, right, bottom;
} Box;

typedef struct Resampler Resampler;

/* Bytes that it will take. */
uint64_t resample_need(uint32_t width, const Box *box, uint32_t to_width, uint32_t to_height);

/* `channels` as picture.h has them, of 8 bits; the box lies within width x height. The result has the same channels. */
Resampler *resample_start(uint32_t width, uint32_t height, int channels, const Box *box, uint32_t to_width, uint32_t to_height);

/* How many rows, from the top, it must be given; those before the first that matters are passed to it, too. */
uint32_t resample_rows(const Resampler *resampler);

/* The next row of the source; what is finished of the result is written to `result`, to_width * channels bytes a row. */
void resample_row(Resampler *resampler, const uint8_t *row, uint8_t *result);

#endif
