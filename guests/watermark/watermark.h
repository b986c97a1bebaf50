/* What the parts of `watermark` share: what was asked for, and the mark that is to be drawn.
 *
 *   watermark.c  arguments, input, which format
 *   mark.c       a stamp -> the mark: where and how it lies in the stored picture
 *   text.c       text -> a stamp
 *   logo.c       the picture of a second channel -> a stamp
 *   jpeg.c       a mark onto a JPEG's coefficients
 *   png.c        a mark onto a PNG's rows
 */
#ifndef WATERMARK_H
#define WATERMARK_H

#include "../common/images/file.h"
#include "../common/io.h"

typedef enum { BOTTOM_RIGHT, BOTTOM_LEFT, TOP_RIGHT, TOP_LEFT, CENTER } Position;

typedef struct {
    const char *text; /* NULL: the logo */
    int size;         /* of the font, or the logo's width, in pixels; 0: by the picture's size */
    int percent;      /* the same, of the picture's shorter side, or of its width; 0: not so */
    int margin;       /* in pixels; -1: by the mark's size */
    int quality;      /* of a JPEG: 1 to 100; 0: as it is */
    Position position;
    double opacity; /* 0 to 1 */
    int red, green, blue;
} Style;

/* What is drawn, upright, as the picture is looked at. Each pixel is four bytes: red, green, blue, already multiplied by
 * its weight, and the weight, in 255ths, with which it replaces what is there. */
typedef struct {
    int left, top, width, height; /* where it lies; it may reach beyond the picture */
    uint8_t *pixels;
} Stamp;

/* Dies when the text cannot be drawn. To be called before the picture is read, so that its author need not wait. */
void check_text(const char *text);

/* A stamp for a picture that is looked at as width x height. */
Stamp text_stamp(const Style *style, int width, int height);
/* Whether messages are about the logo from here on. */
void speak_of_logo(int on);
/* Reads the logo, and later makes a stamp of it. */
void read_logo(void);
Stamp logo_stamp(const Style *style, int width, int height);

/* The margin that was asked for, or else that one; dies when it leaves no room. */
int margin_for(const Style *style, int otherwise, int width, int height);
/* Where something of that size lies. */
void place(const Style *style, int margin, int width, int height, Stamp *stamp, int stamp_width, int stamp_height);

/* The stamp in the stored picture's coordinates. The rectangle lies within the picture; it is empty (width 0) when nothing
 * of the mark would show. */
typedef struct {
    int x, y, width, height;
    const uint8_t *pixels;
} Mark;

/* `orientation` as EXIF has it, 1 to 8. */
Mark make_mark(const Style *style, int picture_width, int picture_height, int orientation);

/* The whole marked picture as a file; dies when `data` is not one whole valid file of that format. */
void mark_jpeg(const Style *style, const uint8_t *data, size_t size, File *file);
void mark_png(const Style *style, const uint8_t *data, size_t size, File *file);

#endif
