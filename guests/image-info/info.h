/* What the parts of `image-info` share: the input, read forwards, and what was found out about it.
 *
 *   image-info.c  arguments, which kind, what is told of all kinds
 *   stream.c      the input: the next bytes, or over them
 *   json.c        strings and members that are valid JSON, whatever a file says
 *   jpeg.c, png.c, webp.c  the headers of one kind
 */
#ifndef INFO_H
#define INFO_H

#include "../common/images/exif.h"
#include "../common/images/kinds.h"

#define EXIF_LIMIT ((size_t)1 << 20) /* bytes of it that are looked at */

/* Reads up to `size` bytes; fewer only where the input ends. */
size_t take(void *into, size_t size);
/* Goes over `size` bytes; false when the input ends before. */
int pass_over(uint64_t size);
/* The first bytes, without going over them; at most KIND_BYTES. */
size_t look(const uint8_t **first);

typedef struct {
    uint32_t width, height;
    int bits, channels;      /* of one sample; as stored, alpha included */
    int alpha;
    const char *color;       /* how the samples are meant */
    const char *subsampling; /* of a JPEG; NULL: none of the usual ones */
    const char *compression;
    int ordered;             /* -1: does not apply; else whether it is progressive or interlaced */
    int quality;             /* 0: not known */
    int icc, xmp;            /* is there such a thing */
    uint32_t frames, loops;
    int animated;
    const uint8_t *exif; /* NULL: none */
    size_t exif_size;
    int truncated; /* it was seen to end before its time */
} Info;

void jpeg_info(Info *info);
void png_info(Info *info);
void webp_info(Info *info);

/* `size` bytes of EXIF, of which the first EXIF_LIMIT are kept; false when the input ends before. */
int take_exif(Info *info, uint64_t size);

void json_begin(void);
void json_text(const char *name, const char *value);
void json_bytes(const char *name, const uint8_t *value, size_t size); /* text from a stranger */
void json_number(const char *name, uint64_t value);
void json_truth(const char *name, int value);
void json_open(const char *name);
void json_close(void);
void json_end(void);

#endif
