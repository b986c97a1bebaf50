/* What the parts of `watermark` share: what was asked for, and the mark that is to be drawn.
 *
 *   watermark.c  arguments, input, which format
 *   mark.c       text -> mark: two small planes of weights, already where and how they lie in the stored picture
 *   exif.c       how a stored picture is turned for display
 *   jpeg.c       a mark onto a JPEG's coefficients
 *   png.c        a mark onto a PNG's rows
 */
#ifndef WATERMARK_H
#define WATERMARK_H

#include "../common/io.h"

#define SIDE_LIMIT 32000              /* pixels a side */
#define AREA_LIMIT (100 * 1000 * 1000) /* pixels in all */

typedef enum { BOTTOM_RIGHT, BOTTOM_LEFT, TOP_RIGHT, TOP_LEFT, CENTER } Position;

typedef struct {
    const char *text;
    int size;    /* of the font, in pixels; 0: by the picture's size */
    int margin;  /* in pixels; -1: by the font's size */
    int quality; /* of a JPEG: 1 to 100; 0: as it is */
    Position position;
    double opacity; /* 0 to 1 */
    int red, green, blue;
} Style;

/* The mark in the stored picture's coordinates: for each pixel the weights, in 255ths, with which the colours of the
 * ink and of its halo replace what is there. Their sum is at most 255. The rectangle lies within the picture. */
typedef struct {
    int x, y, width, height;
    int halo; /* the halo's colour: a grey of this value */
    const uint8_t *ink_weight, *halo_weight;
} Mark;

/* The rectangle is empty (width 0) when nothing of the mark would show. `orientation` as EXIF has it, 1 to 8. */
Mark make_mark(const Style *style, int picture_width, int picture_height, int orientation);

/* 1 (as stored) to 8, from a TIFF structure as EXIF keeps it; 1 when it does not say. */
int exif_orientation(const uint8_t *tiff, size_t size);

/* Dies unless the dimensions are within the limits above. To be called before memory is taken for the picture. */
void check_dimensions(uint64_t width, uint64_t height);

/* A finished file, in pieces, so that it can grow without being moved. */
typedef struct Piece {
    struct Piece *next;
    const uint8_t *data;
    size_t size;
} Piece;

/* The whole marked picture as a file; dies when `data` is not one whole valid file of that format. */
const Piece *mark_jpeg(const Style *style, const uint8_t *data, size_t size);
const Piece *mark_png(const Style *style, const uint8_t *data, size_t size);

#endif
