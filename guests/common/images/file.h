/* A finished file in pieces, so that it grows without being moved; and the one place where it leaves. */
#ifndef INSITU_IMAGES_FILE_H
#define INSITU_IMAGES_FILE_H

#include <stddef.h>
#include <stdint.h>

typedef struct FilePiece {
    struct FilePiece *next;
    uint8_t *data;
    size_t size, room;
} FilePiece;

typedef struct {
    FilePiece *first, *last;
    uint64_t size;
} File;

/* Adds bytes at the end; false when there is no memory for them. */
int file_add(File *file, const void *data, size_t size);

/* A place for at least one byte more, and how many it has; what is used of it is told by file_used(). NULL: no memory. */
uint8_t *file_space(File *file, size_t *size);
void file_used(File *file, size_t size);

/* Writes all of it to standard output; dies when that takes no more. */
void file_write(const File *file);

#endif
