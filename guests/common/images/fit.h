/* Rows of one kind of picture made fit for another. */
#ifndef INSITU_IMAGES_FIT_H
#define INSITU_IMAGES_FIT_H

#include "picture.h"

/* How many channels rows of `channels` have when they are fit for that kind. */
int fit_channels(Kind kind, int channels, const uint8_t *background);

/* Grey to RGB where the kind knows no grey; alpha onto the background where it knows no alpha. 8 bits a sample. */
void fit_row(Kind kind, int channels, const uint8_t *background, const uint8_t *from, uint8_t *to, size_t count);

/* The profile, or none when it is about other colours than rows of so many channels have. */
Bytes fit_profile(Bytes icc, int channels);

#endif
