/* libjpeg-turbo as the programs use it: its errors end them in one line, its memory is ours. */
#ifndef INSITU_IMAGES_TURBO_H
#define INSITU_IMAGES_TURBO_H

#include <stdio.h>

#include "jpeglib.h"
#include "jerror.h"

#include "../io.h"
#include "picture.h"

/* A decoder at the file's header, whose segments have been kept: 8 bits a sample, of a known colour space. */
void turbo_open(j_decompress_ptr d, const uint8_t *data, size_t size);
/* The decoder of a JPEG that was opened. */
j_decompress_ptr jpeg_decoder(const Source *source);
void turbo_create(j_compress_ptr c);

/* What segments say. ICC may lie in several and is put together. The decoder must live as long as what is answered. */
About turbo_about(j_decompress_ptr d);
/* Writes it as segments; dies when it does not fit them. To be called after the compressor was started. */
void turbo_write_about(j_compress_ptr c, const About *about);

/* To be called before the compressor is started. */
void turbo_set_density(j_compress_ptr c, Density density);

/* Copies the source's segments, but for those that the library writes itself. */
void turbo_copy_segments(j_decompress_ptr d, j_compress_ptr c);

/* Bytes that all coefficients of the picture take. */
uint64_t turbo_coefficients(j_decompress_ptr d);

/* What is compressed goes to the file. */
void turbo_to_file(j_compress_ptr c, File *file);

#endif
