/* libspng as the programs use it: its errors end them in one line. */
#ifndef INSITU_IMAGES_PNG_H
#define INSITU_IMAGES_PNG_H

#include "spng.h"

#include "picture.h"

/* Dies unless `error` is 0: "DOING the PNG picture: why". */
void png_check(int error, const char *doing);

/* An encoder whose output goes to the file; `level` is zlib's. */
spng_ctx *png_encoder(File *file, const struct spng_ihdr *header, int level);

/* How the samples are meant, but for the profile; and, unless `only_color`, what else was written, but for EXIF and what
 * About has. */
void png_copy_chunks(spng_ctx *from, spng_ctx *to, int only_color);

#endif
