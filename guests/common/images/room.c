#include "room.h"

#include "../memory.h"

#define REGIONS 4

/* What is set aside and not used yet; one region for each picture that is at hand. */
static struct {
    uint8_t *at;
    size_t left;
} aside[REGIONS];
static int regions;

static uint64_t pixels_limit = PIXELS_LIMIT;

void set_pixels_limit(uint64_t pixels) {
    pixels_limit = pixels;
}

void check_sides(uint64_t width, uint64_t height) {
    const char *problem = NULL;
    if (!width || !height) problem = "; it is empty";
    else if (width > SIDE_LIMIT || height > SIDE_LIMIT) problem = "; the limit is 65535 a side";
    if (problem) die(2, "the picture is ", decimal(width).digits, " x ", decimal(height).digits, " pixels", problem);
    if (width * height > pixels_limit)
        die(2, "the picture is ", decimal(width).digits, " x ", decimal(height).digits, " pixels, ", decimal(width * height).digits,
            " in all; the limit is ", decimal(pixels_limit).digits, " (--max-pixels)");
}

/* How much more memory could be had, in bytes: found by taking it, as there is no other way to know. */
static uint64_t taken_to_the_last(void) {
    uint64_t pages = 0;
    for (size_t step = 65536; step; step /= 2)
        while (__builtin_wasm_memory_grow(0, step) != SIZE_MAX) pages += step;
    return pages * PAGE_SIZE;
}

void set_room_aside(const char *what, uint64_t width, uint64_t height, uint64_t bytes) {
    bytes += bytes / 64 + 2 * PAGE_SIZE; /* for what is rounded up */
    uint64_t limit = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_SIZE;
    uint8_t *memory = bytes < SIZE_MAX - PAGE_SIZE ? take_memory((size_t)bytes) : NULL;
    if (memory && regions < REGIONS) {
        aside[regions].at = memory;
        aside[regions++].left = (size_t)bytes;
        return;
    }
    uint64_t left = taken_to_the_last(), pixels = width * height;
    limit += left;
    /* In thousands of pixels, so that no product overflows. */
    uint64_t most = left / (bytes / (pixels / 1000 + 1) + 1);
    die(2, what, " ", decimal(width).digits, " x ", decimal(height).digits, " pixels; with a memory limit of ",
        decimal(limit >> 20).digits, " MiB, one of this kind may have at most ", decimal(most / 1000).digits, ".",
        decimal(most / 100 % 10).digits, " megapixels");
}

void *room(size_t size) {
    if (size > SIZE_MAX - 16) return NULL;
    size = (size + 15) & ~(size_t)15;
    for (int i = regions; i-- > 0;) {
        if (size > aside[i].left) continue;
        void *memory = aside[i].at;
        aside[i].at += size;
        aside[i].left -= size;
        return memory;
    }
    return take_memory(size);
}

void *room_or_die(uint64_t size) {
    void *memory = size <= SIZE_MAX ? room((size_t)size) : NULL;
    if (!memory) die(2, "not enough memory for this picture");
    return memory;
}

/* Each piece begins with its size. Small ones are the C library's; large ones, when given back, wait in a list for
 * somebody who wants no less and not much less. */
typedef struct Piece {
    size_t size; /* without this head */
    struct Piece *next;
    size_t unused[2];
} Piece;

#define LARGE ((size_t)32 << 10)

static Piece *returned;

void *room_malloc(size_t size) {
    if (size > SIZE_MAX - sizeof(Piece) - 16) return NULL;
    if (size < LARGE) {
        Piece *piece = malloc(sizeof *piece + size);
        if (!piece) return NULL;
        piece->size = size;
        return piece + 1;
    }
    Piece **best = NULL;
    for (Piece **at = &returned; *at; at = &(*at)->next)
        if ((*at)->size >= size && (!best || (*at)->size < (*best)->size)) best = at;
    if (best && (*best)->size / 2 <= size) {
        Piece *piece = *best;
        *best = piece->next;
        return piece + 1;
    }
    Piece *piece = room(sizeof *piece + size);
    if (!piece && best) { /* too large, but there is nothing else */
        piece = *best;
        *best = piece->next;
        return piece + 1;
    }
    if (!piece) return NULL;
    piece->size = size;
    return piece + 1;
}

void *room_calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *memory = room_malloc(bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

void room_free(void *memory) {
    if (!memory) return;
    Piece *piece = (Piece *)memory - 1;
    if (piece->size < LARGE) {
        free(piece);
        return;
    }
    piece->next = returned;
    returned = piece;
}
