/* CRC-32 as in gzip, PNG and zlib.crc32() (polynomial 0x04c11db7, reflected), eight bytes at a time. */
#ifndef INSITU_CRC32_H
#define INSITU_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t crc_table[8][256]; /* [n][b]: of the byte b with n zeros behind it */

static void crc_begin(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        crc_table[0][byte] = crc;
    }
    for (int after = 1; after < 8; after++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[after - 1][byte];
            crc_table[after][byte] = before >> 8 ^ crc_table[0][before & 0xff];
        }
}

static inline uint32_t crc32_of(const uint8_t *at, size_t size) {
    uint32_t crc = ~0u;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t bytes;
        memcpy(&bytes, at, 8);
        bytes ^= crc;
        crc = 0;
        for (int i = 0; i < 8; i++) crc ^= crc_table[7 - i][bytes >> 8 * i & 0xff];
    }
    while (size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *at++) & 0xff];
    return ~crc;
}

#endif
