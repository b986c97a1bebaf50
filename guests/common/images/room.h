/* Memory for pictures: judged before it is taken, and said in the picture's own terms when it does not suffice.
 *
 * A picture's need is known from its dimensions and kind before anything of it is decoded. It is set aside in one piece,
 * out of which the libraries' large pieces then come; so a picture that cannot fit is refused before any work, by name.
 */
#ifndef INSITU_IMAGES_ROOM_H
#define INSITU_IMAGES_ROOM_H

#include <stddef.h>
#include <stdint.h>

#define SIDE_LIMIT 65535                  /* pixels a side: the most that a JPEG can have */
#define PIXELS_LIMIT ((uint64_t)1 << 28) /* in all, unless set_pixels_limit() says otherwise */

/* What is decoded row by row takes little memory, but all the more time. */
void set_pixels_limit(uint64_t pixels);

/* Dies when a side is empty or above SIDE_LIMIT, or the pixels are above their limit. */
void check_sides(uint64_t width, uint64_t height);

/* Sets `bytes` aside, which a picture of these dimensions needs; dies with what the limit would allow, in a sentence that
 * begins with `what`, such as "the picture is". To be called before anything is decoded; again for another picture. */
void set_room_aside(const char *what, uint64_t width, uint64_t height, uint64_t bytes);

/* A large piece, at a multiple of 16; out of what was set aside as long as that lasts. NULL: the limit does not allow it.
 * Nothing of it is given back. */
void *room(size_t size);

/* room(), or an end in one clear line. */
void *room_or_die(uint64_t size);

/* malloc(), calloc() and free() for libraries that take large pieces and give them back: those are used again. */
void *room_malloc(size_t size);
void *room_calloc(size_t count, size_t size);
void room_free(void *memory);

#endif
