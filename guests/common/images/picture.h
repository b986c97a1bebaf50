/* Pictures in, row by row, and pictures out: what the programs share that decode and encode.
 *
 *   source_open()  which kind, dimensions, what was written about it    (nothing is decoded, little memory taken)
 *   source_scale() smaller, where the kind can be decoded smaller
 *   source_need()  what it will take beyond the file itself
 *   source_start(), then source_row() for each row from the top, then source_end()
 *
 *   target_need(), target_start(), then target_row() for each row, then target_end()
 *
 * Rows are samples of 8 bits, or of 16 in the machine's order: grey, grey and alpha, RGB, or RGB and alpha. All of this
 * dies, in one line, on whatever is no whole valid picture.
 */
#ifndef INSITU_IMAGES_PICTURE_H
#define INSITU_IMAGES_PICTURE_H

#include "density.h"
#include "file.h"
#include "kinds.h"

typedef struct {
    const uint8_t *data; /* NULL: none */
    size_t size;
} Bytes;

/* Segments COM of a JPEG, texts named Comment of a PNG; in no known encoding. */
typedef struct Comment {
    struct Comment *next;
    Bytes text;
} Comment;

/* What is written about a picture, without the headings of its containers. */
typedef struct {
    Bytes exif, icc, xmp;
    Bytes cicp; /* of a PNG, and only for one: its chunk of that name */
    Comment *comments;
    Density density;
    void *png;      /* of a PNG: its decoder, which has further chunks that only a PNG can keep */
    int only_color; /* of those no more than how its samples are meant */
} About;

/* Puts one where the list ends, and answers where it ends then; dies when there is no memory. An empty one is left out. */
Comment **add_comment(Comment **end, Bytes text);

typedef struct Source {
    Kind kind;
    uint32_t width, height; /* of its rows: as stored, or smaller when it is scaled */
    int channels;           /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
    int wide;               /* 16 bits a sample */
    int lossless;           /* of a WebP */
    int orientation;        /* as EXIF has it, 1 to 8 */
    About about;
    void *decoder;          /* the kind's own */
} Source;

/* `only_color`: of what is written about it no more is read than how its samples are meant, and EXIF. */
void source_open(Source *source, const uint8_t *data, size_t size, int only_color);
/* Rows may become smaller, but in neither direction less than this. Dimensions change at once. */
void source_scale(Source *source, uint32_t least_width, uint32_t least_height);
/* Samples of 16 bits become 8. */
void source_narrow(Source *source);
uint64_t source_need(const Source *source);
void source_start(Source *source);
void source_row(Source *source, uint8_t *row);
void source_end(Source *source);

typedef struct {
    Kind kind;
    uint32_t width, height;
    int channels, wide; /* of the rows that are given to it */
    int quality;        /* 1 to 100 */
    int progressive;    /* of a JPEG */
    int lossless;       /* of a WebP */
    int method;         /* of a WebP: 0, quick, to 6, small; of a PNG: zlib's level, 1 to 9 */
    const About *about;
    File file;
    void *encoder;
} Target;

uint64_t target_need(const Target *target);
void target_start(Target *target);
void target_row(Target *target, uint8_t *row); /* may spoil the row */
void target_end(Target *target);

/* Of each kind; picture.c chooses among them. */
void jpeg_open(Source *source, const uint8_t *data, size_t size);
void jpeg_scale(Source *source, uint32_t least_width, uint32_t least_height);
uint64_t jpeg_source_need(const Source *source);
void jpeg_start(Source *source);
void jpeg_row(Source *source, uint8_t *row);
void jpeg_end(Source *source);
void png_open(Source *source, const uint8_t *data, size_t size, int only_color);
uint64_t png_source_need(const Source *source);
void png_start(Source *source);
void png_row(Source *source, uint8_t *row);
void png_end(Source *source);
void webp_open(Source *source, const uint8_t *data, size_t size);
void webp_scale(Source *source, uint32_t least_width, uint32_t least_height);
uint64_t webp_source_need(const Source *source);
void webp_start(Source *source);
void webp_row(Source *source, uint8_t *row);

void jpeg_target_start(Target *target);
void jpeg_target_row(Target *target, uint8_t *row);
void jpeg_target_end(Target *target);
void png_target_start(Target *target);
void png_target_row(Target *target, uint8_t *row);
void png_target_end(Target *target);
uint64_t webp_target_need(const Target *target);
void webp_target_start(Target *target);
void webp_target_row(Target *target, uint8_t *row);
void webp_target_end(Target *target);

/* The coordinates (x, y), in a picture stored as width x height with that orientation, of the pixel that is seen at (u, v). */
static inline void stored_place(int orientation, uint32_t width, uint32_t height, uint32_t u, uint32_t v, uint32_t *x, uint32_t *y) {
    int turned = orientation >= 5;
    *x = turned ? v : u;
    *y = turned ? u : v;
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) *x = width - 1 - *x;
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) *y = height - 1 - *y;
}

#endif
