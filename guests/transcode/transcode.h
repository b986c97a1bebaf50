/* What the parts of `transcode` share.
 *
 *   transcode.c  arguments, rows from one kind to another
 *   recode.c     a JPEG into a JPEG without loss: the same coefficients, coded anew
 */
#ifndef TRANSCODE_H
#define TRANSCODE_H

#include "../common/images/picture.h"

/* Codes the source's coefficients anew; `source` was opened and not started. Dies when it is no whole valid picture. */
void recode(Source *source, int progressive, int strip, File *file);

#endif
