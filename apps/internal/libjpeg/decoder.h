// The part of libjpeg-turbo that Go calls: one picture in memory to rows of
// R, G, B bytes, at a reduced scale, until a deadline.
#ifndef HEADROOM_LIBJPEG_DECODER_H
#define HEADROOM_LIBJPEG_DECODER_H

#include <stddef.h>
#include <stdint.h>

typedef struct headroom_jpeg headroom_jpeg;

enum {
  HEADROOM_JPEG_OK = 0,
  HEADROOM_JPEG_BROKEN = 1,   // headroom_jpeg_message says why
  HEADROOM_JPEG_STOPPED = 2,  // headroom_jpeg_stop was called
};

// NULL where memory is short.
headroom_jpeg *headroom_jpeg_new(void);
void headroom_jpeg_free(headroom_jpeg *decoder);

// Reads the header of the picture in data. width and height are in pixels;
// components are 1, 3 or 4 in what can be decoded.
int headroom_jpeg_header(headroom_jpeg *decoder, const uint8_t *data, size_t size, int *width, int *height,
                         int *components, int *progressive);

// Decodes the picture in data at 1/denominator (1, 2, 4 or 8) of its size into R,
// G, B bytes at pixels, row by row. width and height are those of the header
// divided by the denominator and rounded up. pixels must have room for as many
// bytes a pixel as there are components, and for 3 at least.
int headroom_jpeg_decode(headroom_jpeg *decoder, const uint8_t *data, size_t size, int denominator, int width,
                         int height, uint8_t *pixels);

// Ends a decode that is under way in another thread; headroom_jpeg_arm takes
// that back before the next one.
void headroom_jpeg_stop(headroom_jpeg *decoder);
void headroom_jpeg_arm(headroom_jpeg *decoder);

const char *headroom_jpeg_message(const headroom_jpeg *decoder);

#endif
