#include "png_chunks.h"

#include "../io.h"
#include "room.h"

#include "zlib.h"

#define SIGNATURE 8
#define FRAME 12 /* of a chunk: length, type, checksum */
#define FIRST (FRAME + 13) /* IHDR, which libspng reads with the signature, and insists on */

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int is(const uint8_t *chunk, const char *type) {
    return !memcmp(chunk + 4, type, 4);
}

static int is_one_of(const uint8_t *chunk, const char *types) {
    for (; *types; types += 4)
        if (is(chunk, types)) return 1;
    return 0;
}

static int is_sound(const uint8_t *chunk, uint32_t length) {
    return crc32(crc32(0, NULL, 0), chunk + 4, (uInt)length + 4) == big_endian(chunk + 8 + length);
}

void png_chunks_type(const PngChunks *chunks, char *type) {
    memcpy(type, chunks->data + chunks->chunk + 4, 4);
    type[4] = 0;
}

void png_chunks_open(PngChunks *chunks, const uint8_t *data, size_t size, int only_color) {
    *chunks = (PngChunks){.data = data, .size = size, .chunk = SIGNATURE, .next = SIGNATURE + FIRST, .only_color = only_color};
    if (size >= 24 && is(data + SIGNATURE, "IHDR")) check_sides(big_endian(data + 16), big_endian(data + 20));
    int pixels_came = 0;
    for (size_t at = SIGNATURE; size - at >= FRAME;) {
        const uint8_t *chunk = data + at;
        uint32_t length = big_endian(chunk);
        char type[5] = {(char)chunk[4], (char)chunk[5], (char)chunk[6], (char)chunk[7]};
        for (int i = 0; i < 4; i++)
            if ((type[i] | 0x20) < 'a' || (type[i] | 0x20) > 'z')
                die(2, "cannot read the PNG picture: the chunk at byte ", decimal(at).digits, " has no valid type");
        if (!(type[0] & 0x20) && !is_one_of(chunk, "IHDRPLTEIDATIEND"))
            die(2, "cannot read the PNG picture: its chunk ", type, " at byte ", decimal(at).digits, " is critical, and not known here");
        if (length > size - at - FRAME) break;
        if (is(chunk, "IEND")) return;
        if (is(chunk, "IDAT")) pixels_came = 1;
        if (is(chunk, "acTL") && !pixels_came) die(2, "the PNG picture is an animation, which is not supported");
        if (is(chunk, "cICP") && length == 4 && !pixels_came && is_sound(chunk, length)) chunks->cicp = (Bytes){chunk + 8, 4};
        at += FRAME + (size_t)length;
    }
    die(2, "the PNG picture is truncated");
}

static int is_wanted(const PngChunks *chunks, const uint8_t *chunk) {
    if (chunks->pixels_came) return is_one_of(chunk, "IHDRPLTEIDATIEND");
    if (is_one_of(chunk, "IHDRPLTEIDATIENDtRNSgAMAcHRMsRGBiCCPeXIf")) return 1;
    return !chunks->only_color && is_one_of(chunk, "tEXtzTXtiTXtpHYstIMEsBITbKGD");
}

/* All chunks up to the end mark lie within the file: png_chunks_open() has seen that. */
int png_chunks_read(PngChunks *chunks, void *into, size_t size) {
    while (chunks->at == chunks->next && chunks->size - chunks->at >= FRAME) {
        const uint8_t *chunk = chunks->data + chunks->at;
        uint32_t length = big_endian(chunk);
        if (length > chunks->size - chunks->at - FRAME) return 0;
        chunks->chunk = chunks->at;
        chunks->next = chunks->at + FRAME + length;
        if (is(chunk, "IDAT")) chunks->pixels_came = 1;
        if (is_wanted(chunks, chunk)) break;
        chunks->at = chunks->next;
    }
    if (size > chunks->size - chunks->at) return 0;
    memcpy(into, chunks->data + chunks->at, size);
    chunks->at += size;
    return 1;
}
