/* A PNG's chunks, looked at before libspng is: what no program here takes is refused by name, and what a program does not
 * want is not shown to libspng, so that nothing is refused for a text that would be dropped.
 *
 * A file is 8 bytes, then chunks: a length of 4 bytes, a type of four letters, that many bytes, and their CRC-32. A type
 * that begins with a capital is critical: without it the picture cannot be understood.
 */
#ifndef INSITU_IMAGES_PNG_CHUNKS_H
#define INSITU_IMAGES_PNG_CHUNKS_H

#include "picture.h"

typedef struct {
    const uint8_t *data;
    size_t size, at; /* how far it has been read */
    size_t chunk;    /* where the chunk begins that is being read */
    size_t next;     /* where the one behind it begins */
    int only_color;  /* texts and the like are passed over */
    int pixels_came; /* behind them nothing is wanted but the end */
    Bytes cicp;      /* of cICP, which libspng does not know: how the samples are meant, in four bytes */
} PngChunks;

/* Dies on absurd dimensions, animations, unknown critical chunks, and when the file ends before its end mark. */
void png_chunks_open(PngChunks *chunks, const uint8_t *data, size_t size, int only_color);

/* The next bytes of what is wanted; false at the end. */
int png_chunks_read(PngChunks *chunks, void *into, size_t size);

/* The type of the chunk that is being read, with its NUL. */
void png_chunks_type(const PngChunks *chunks, char *type);

#endif
