#include "file.h"

#include "../io.h"
#include "room.h"

#define PIECE_SIZE ((size_t)256 << 10) /* with its head */

uint8_t *file_space(File *file, size_t *size) {
    FilePiece *last = file->last;
    if (!last || last->size == last->room) {
        FilePiece *piece = room(PIECE_SIZE);
        if (!piece) return NULL;
        *piece = (FilePiece){NULL, (uint8_t *)(piece + 1), 0, PIECE_SIZE - sizeof *piece};
        if (last) last->next = piece;
        else file->first = piece;
        file->last = last = piece;
    }
    *size = last->room - last->size;
    return last->data + last->size;
}

void file_used(File *file, size_t size) {
    file->last->size += size;
    file->size += size;
}

int file_add(File *file, const void *data, size_t size) {
    for (const uint8_t *at = data; size;) {
        size_t part;
        uint8_t *to = file_space(file, &part);
        if (!to) return 0;
        if (part > size) part = size;
        memcpy(to, at, part);
        file_used(file, part);
        at += part;
        size -= part;
    }
    return 1;
}

void file_write(const File *file) {
    for (const FilePiece *piece = file->first; piece; piece = piece->next)
        if (write_all(1, piece->data, piece->size)) die(1, "cannot write standard output: ", strerror(errno));
}
