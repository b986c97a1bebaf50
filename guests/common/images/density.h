/* How many pixels a picture has for a length when it is printed. JPEG says it for an inch or a centimetre, in 16 bits; PNG
 * for a metre; both also as a mere ratio of a pixel's sides. WebP does not say it. */
#ifndef INSITU_IMAGES_DENSITY_H
#define INSITU_IMAGES_DENSITY_H

#include <stdint.h>

typedef enum { NO_DENSITY, RATIO, PER_INCH, PER_CENTIMETRE, PER_METRE } DensityUnit;

typedef struct {
    DensityUnit unit;
    uint32_t x, y;
} Density;

static inline uint32_t inch_to_metre(uint32_t value) {
    return (uint32_t)(((uint64_t)value * 10000 + 127) / 254);
}

static inline uint32_t metre_to_inch(uint32_t value) {
    return (uint32_t)(((uint64_t)value * 254 + 5000) / 10000);
}

/* As a PNG has it: RATIO, PER_METRE or none. */
static inline Density density_of_png(Density from) {
    if (from.unit == PER_INCH) return (Density){PER_METRE, inch_to_metre(from.x), inch_to_metre(from.y)};
    if (from.unit == PER_CENTIMETRE) return (Density){PER_METRE, from.x * 100, from.y * 100};
    return from;
}

/* As a JPEG has it: anything but PER_METRE, in 16 bits; in inches, unless centimetres alone are exact. None where it is
 * too large for that, or rounds to nothing. */
static inline Density density_of_jpeg(Density from) {
    Density to = from;
    if (from.unit == PER_METRE) {
        to = (Density){PER_INCH, metre_to_inch(from.x), metre_to_inch(from.y)};
        int exact = inch_to_metre(to.x) == from.x && inch_to_metre(to.y) == from.y;
        if (!exact && from.x % 100 == 0 && from.y % 100 == 0) to = (Density){PER_CENTIMETRE, from.x / 100, from.y / 100};
    }
    return to.x && to.y && to.x <= 65535 && to.y <= 65535 ? to : (Density){0};
}

#endif
