#include "../common/images/exif.h"
#include "../common/images/room.h"
#include "../common/images/turbo.h"
#include "transcode.h"

void recode(Source *source, int progressive, int strip, File *file) {
    j_decompress_ptr d = jpeg_decoder(source);
    struct jpeg_compress_struct c;
    set_room_aside("the picture is", d->image_width, d->image_height, turbo_coefficients(d) + (1 << 20));
    jvirt_barray_ptr *blocks = jpeg_read_coefficients(d);
    turbo_create(&c);
    jpeg_copy_critical_parameters(d, &c);
    if (d->jpeg_color_space == JCS_CMYK) c.write_Adobe_marker = d->saw_Adobe_marker;
    if (progressive) jpeg_simple_progression(&c);
    c.optimize_coding = TRUE;
    if (strip) turbo_set_density(&c, (Density){0});
    turbo_to_file(&c, file);
    jpeg_write_coefficients(&c, blocks);
    if (strip) {
        /* Without the one entry that says how it is turned, the picture would be shown lying on its side. */
        uint8_t least[EXIF_LEAST_SIZE];
        About about = {.icc = turbo_about(d).icc};
        exif_write_least(least, source->orientation);
        if (source->orientation != 1) about.exif = (Bytes){least, sizeof least};
        turbo_write_about(&c, &about);
    } else {
        turbo_copy_segments(d, &c);
    }
    jpeg_finish_compress(&c);
    jpeg_finish_decompress(d);
}
