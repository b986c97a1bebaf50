#include "picture.h"

Comment **add_comment(Comment **end, Bytes text) {
    if (!text.size) return end;
    Comment *comment = *end = malloc(sizeof *comment);
    if (!comment) die(2, "not enough memory for the picture's comments");
    *comment = (Comment){NULL, text};
    return &comment->next;
}
