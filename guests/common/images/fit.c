#include "fit.h"

int fit_channels(Kind kind, int channels, const uint8_t *background) {
    int has_alpha = !(channels & 1), grey = channels < 3;
    if (kind == PNG) return channels;
    if (kind == WEBP) return has_alpha ? 4 : 3;
    return grey && (!has_alpha || (background[0] == background[1] && background[1] == background[2])) ? 1 : 3;
}

void fit_row(Kind kind, int channels, const uint8_t *background, const uint8_t *from, uint8_t *to, size_t count) {
    int to_channels = fit_channels(kind, channels, background), has_alpha = !(channels & 1), keeps_alpha = !(to_channels & 1);
    int colors = channels - has_alpha, to_colors = to_channels - keeps_alpha;
    if (to_channels == channels) {
        memcpy(to, from, count * (size_t)channels);
        return;
    }
    for (; count--; from += channels, to += to_channels) {
        int alpha = has_alpha ? from[colors] : 255;
        for (int i = 0; i < to_colors; i++) {
            int value = from[colors == 1 ? 0 : i];
            to[i] = (uint8_t)(keeps_alpha ? value : (value * alpha + background[i] * (255 - alpha) + 127) / 255);
        }
        if (keeps_alpha) to[to_colors] = (uint8_t)alpha;
    }
}

Bytes fit_profile(Bytes icc, int channels) {
    /* A profile's head names its colour space in the bytes 16 to 19. */
    if (icc.data && icc.size >= 20 && !memcmp(icc.data + 16, channels < 3 ? "GRAY" : "RGB ", 4)) return icc;
    return (Bytes){0};
}
