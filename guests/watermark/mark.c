/* A stamp to the mark: placed in the picture as it is looked at, and turned to how it is stored. */
#include "watermark.h"

#include "../common/images/picture.h"
#include "../common/images/room.h"

static int least(int a, int b) {
    return a < b ? a : b;
}

int margin_for(const Style *style, int otherwise, int width, int height) {
    int shorter = least(width, height);
    if (style->margin < 0) return least(otherwise, shorter / 10);
    if (2 * style->margin >= shorter)
        die(2, "--margin ", decimal((uint64_t)style->margin).digits, " leaves no room in a picture of ",
            decimal((uint64_t)width).digits, " x ", decimal((uint64_t)height).digits, " pixels");
    return style->margin;
}

void place(const Style *style, int margin, int width, int height, Stamp *stamp, int stamp_width, int stamp_height) {
    Position at = style->position;
    stamp->left = at == CENTER ? (width - stamp_width) / 2 : at == BOTTOM_LEFT || at == TOP_LEFT ? margin : width - margin - stamp_width;
    stamp->top = at == CENTER ? (height - stamp_height) / 2 : at == TOP_LEFT || at == TOP_RIGHT ? margin : height - margin - stamp_height;
}

Mark make_mark(const Style *style, int picture_width, int picture_height, int orientation) {
    int turned = orientation >= 5;
    int width = turned ? picture_height : picture_width, height = turned ? picture_width : picture_height;
    Stamp stamp = style->text ? text_stamp(style, width, height) : logo_stamp(style, width, height);
    /* What is seen of it, and where that lies in the stored picture. */
    int u0 = stamp.left < 0 ? -stamp.left : 0, v0 = stamp.top < 0 ? -stamp.top : 0;
    int u1 = least(stamp.width, width - stamp.left), v1 = least(stamp.height, height - stamp.top);
    if (u0 >= u1 || v0 >= v1) return (Mark){0};
    uint32_t x0, y0, x1, y1, w = (uint32_t)picture_width, h = (uint32_t)picture_height;
    stored_place(orientation, w, h, (uint32_t)(stamp.left + u0), (uint32_t)(stamp.top + v0), &x0, &y0);
    stored_place(orientation, w, h, (uint32_t)(stamp.left + u1 - 1), (uint32_t)(stamp.top + v1 - 1), &x1, &y1);
    Mark mark = {.x = (int)(x0 < x1 ? x0 : x1), .y = (int)(y0 < y1 ? y0 : y1), .width = turned ? v1 - v0 : u1 - u0, .height = turned ? u1 - u0 : v1 - v0};
    uint8_t *pixels = room_or_die((uint64_t)mark.width * mark.height * 4);
    for (int v = v0; v < v1; v++)
        for (int u = u0; u < u1; u++) {
            uint32_t x, y;
            stored_place(orientation, w, h, (uint32_t)(stamp.left + u), (uint32_t)(stamp.top + v), &x, &y);
            memcpy(pixels + ((size_t)((int)y - mark.y) * mark.width + ((int)x - mark.x)) * 4, stamp.pixels + ((size_t)v * stamp.width + u) * 4, 4);
        }
    mark.pixels = pixels;
    return mark;
}
