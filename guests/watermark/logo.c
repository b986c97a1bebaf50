/* The picture of the channel `logo` to a stamp: a PNG, whose transparency is heeded, or a JPEG. */
#include <math.h>

#include "watermark.h"

#include "../common/channels.h"
#include "../common/images/exif.h"
#include "../common/images/picture.h"
#include "../common/images/resample.h"
#include "../common/images/room.h"

#define LOGO_LIMIT ((size_t)16 << 20) /* bytes */

static Source logo;

static const uint8_t *read_channel(size_t *size) {
    int fd = channel_open("in", "logo", O_RDONLY);
    if (fd < 0) die(2, "--logo needs an input of that name: --in logo=FILE, or over HTTP in.logo=/CONTAINER/OBJECT");
    speak_of_logo(1);
    size_t room_size = 64 << 10, used = 0;
    uint8_t *data = room_malloc(room_size);
    while (data) {
        size_t got = read_from(fd, "/dev/in/logo", data + used, room_size - used);
        used += got;
        if (!got) break;
        if (used < room_size && used <= LOGO_LIMIT) continue;
        if (used > LOGO_LIMIT) die(2, "it has more than ", decimal(LOGO_LIMIT).digits, " bytes");
        uint8_t *more = room_malloc(room_size * 2);
        if (more) memcpy(more, data, used);
        room_free(data);
        data = more;
        room_size *= 2;
    }
    if (!data) die(2, "not enough memory for it");
    close(fd);
    *size = used;
    return data;
}

void read_logo(void) {
    size_t size;
    const uint8_t *data = read_channel(&size);
    logo.kind = kind_of(data, size);
    logo.orientation = 1;
    if (logo.kind == JPEG) jpeg_open(&logo, data, size);
    else if (logo.kind == PNG) png_open(&logo, data, size, 1);
    else refuse_kind(data, size, "PNG and JPEG");
    if (logo.about.exif.data) logo.orientation = exif_orientation(logo.about.exif.data, logo.about.exif.size);
    check_sides(logo.width, logo.height);
    logo.wide = 0;
    speak_of_logo(0);
}

/* The logo's rows as they are stored, made to_width x to_height, with its own channels. */
static const uint8_t *scaled(uint32_t to_width, uint32_t to_height) {
    int jpeg = logo.kind == JPEG;
    uint32_t full_width = logo.width, full_height = logo.height;
    if (jpeg) jpeg_scale(&logo, 2 * to_width < logo.width ? 2 * to_width : logo.width, 2 * to_height < logo.height ? 2 * to_height : logo.height);
    Box all = {0, 0, logo.width, logo.height};
    uint64_t row_size = (uint64_t)logo.width * logo.channels * 2, size = (uint64_t)to_width * to_height * logo.channels;
    set_room_aside("the picture is", full_width, full_height,
                   (jpeg ? jpeg_source_need(&logo) : png_source_need(&logo)) + row_size + size + resample_need(logo.width, &all, to_width, to_height) + (1 << 19));
    uint8_t *row = room_or_die(row_size), *result = room_or_die(size);
    Resampler *resampler = resample_start(logo.width, logo.height, logo.channels, &all, to_width, to_height);
    if (jpeg) jpeg_start(&logo);
    else png_start(&logo);
    for (uint32_t y = 0; y < logo.height; y++) {
        if (jpeg) jpeg_row(&logo, row);
        else png_row(&logo, row);
        resample_row(resampler, row, result);
    }
    if (jpeg) jpeg_end(&logo);
    else png_end(&logo);
    return result;
}

Stamp logo_stamp(const Style *style, int width, int height) {
    int turned = logo.orientation >= 5, shorter = width < height ? width : height;
    double shown_width = turned ? logo.height : logo.width, shown_height = turned ? logo.width : logo.height;
    int margin = margin_for(style, (int)ceil(shorter * 0.025), width, height);
    double wanted = style->size ? style->size : width * (style->percent ? style->percent : 20) / 100.0;
    double scale = fmin(wanted / shown_width, fmin(fmax(width - 2 * margin, 1) / shown_width, fmax(height - 2 * margin, 1) / shown_height));
    Stamp stamp = {.width = (int)fmax(1, round(shown_width * scale)), .height = (int)fmax(1, round(shown_height * scale))};
    uint32_t w = (uint32_t)(turned ? stamp.height : stamp.width), h = (uint32_t)(turned ? stamp.width : stamp.height);
    speak_of_logo(1);
    const uint8_t *pixels = scaled(w, h);
    speak_of_logo(0);
    int channels = logo.channels, has_alpha = !(channels & 1), grey = channels < 3;
    stamp.pixels = room_or_die((uint64_t)stamp.width * stamp.height * 4);
    for (uint32_t v = 0; v < (uint32_t)stamp.height; v++)
        for (uint32_t u = 0; u < (uint32_t)stamp.width; u++) {
            uint32_t x, y;
            stored_place(logo.orientation, w, h, u, v, &x, &y);
            const uint8_t *from = pixels + ((size_t)y * w + x) * channels;
            uint8_t *to = stamp.pixels + ((size_t)v * stamp.width + u) * 4;
            double weight = (has_alpha ? from[channels - 1] / 255.0 : 1) * style->opacity;
            for (int i = 0; i < 3; i++) to[i] = (uint8_t)(from[grey ? 0 : i] * weight + 0.5);
            to[3] = (uint8_t)(255 * weight + 0.5);
        }
    place(style, margin, width, height, &stamp, stamp.width, stamp.height);
    return stamp;
}
