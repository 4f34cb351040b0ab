//go:build libjpeg

#include "decoder.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

// Progressive pictures may come in as many scans as they like, and each costs
// a pass over the whole picture. Encoders use about ten.
#define MAX_SCANS 100

struct headroom_jpeg {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf escape;
  int result;
  bool has_header;
  atomic_bool stopped;
  char message[JMSG_LENGTH_MAX];
};

static headroom_jpeg *owner(j_common_ptr info) { return info->client_data; }

static void escape(headroom_jpeg *decoder, int result) {
  decoder->result = result;
  longjmp(decoder->escape, 1);
}

static void on_error(j_common_ptr info) {
  info->err->format_message(info, owner(info)->message);
  escape(owner(info), HEADROOM_JPEG_BROKEN);
}

// libjpeg decodes on after damage and fills with grey what is missing. A class
// for a picture that is half grey helps nobody, so damage is an error; what
// only departs from the standard's letter is not.
static void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:  // no end marker; where data are missing too, JWRN_HIT_MARKER follows
      if (!owner(info)->has_header) on_error(info);
      return;
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM:
      return;
    default:
      on_error(info);
  }
}

static void on_progress(j_common_ptr info) {
  headroom_jpeg *decoder = owner(info);
  if (atomic_load_explicit(&decoder->stopped, memory_order_relaxed)) escape(decoder, HEADROOM_JPEG_STOPPED);
  if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > MAX_SCANS) {
    snprintf(decoder->message, sizeof decoder->message, "more than %d scans", MAX_SCANS);
    escape(decoder, HEADROOM_JPEG_BROKEN);
  }
}

headroom_jpeg *headroom_jpeg_new(void) { return calloc(1, sizeof(headroom_jpeg)); }

void headroom_jpeg_free(headroom_jpeg *decoder) { free(decoder); }

// begin makes libjpeg's decoder anew: one that is used again keeps the tables of
// the picture before, and a picture without its own would be decoded by those.
static void begin(headroom_jpeg *decoder, const uint8_t *data, size_t size) {
  j_decompress_ptr info = &decoder->info;
  info->err = jpeg_std_error(&decoder->errors);
  decoder->errors.error_exit = on_error;
  decoder->errors.emit_message = on_message;
  info->client_data = decoder;
  jpeg_create_decompress(info);
  decoder->progress.progress_monitor = on_progress;
  info->progress = &decoder->progress;
  jpeg_mem_src(info, data, size);
  decoder->has_header = false;
  jpeg_read_header(info, TRUE);
  decoder->has_header = true;
}

static int end(headroom_jpeg *decoder, int result) {
  jpeg_destroy_decompress(&decoder->info);
  return result;
}

int headroom_jpeg_header(headroom_jpeg *decoder, const uint8_t *data, size_t size, int *width, int *height,
                         int *components, int *progressive) {
  j_decompress_ptr info = &decoder->info;
  memset(info, 0, sizeof *info);  // or an error before it is made would free what is not there
  if (setjmp(decoder->escape) != 0) return end(decoder, decoder->result);
  begin(decoder, data, size);
  *width = (int)info->image_width;
  *height = (int)info->image_height;
  *components = info->num_components;
  *progressive = info->progressive_mode;
  return end(decoder, HEADROOM_JPEG_OK);
}

// from_inverted makes R, G, B of C, M, Y, K, as Adobe's programs store them: all
// four inverted. It works in place, from the front, as the target is shorter.
static void from_inverted(uint8_t *pixels, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const uint8_t *cmyk = pixels + 4 * i;
    unsigned k = cmyk[3];
    uint8_t r = (uint8_t)((cmyk[0] * k + 127) / 255), g = (uint8_t)((cmyk[1] * k + 127) / 255),
            b = (uint8_t)((cmyk[2] * k + 127) / 255);
    pixels[3 * i] = r;
    pixels[3 * i + 1] = g;
    pixels[3 * i + 2] = b;
  }
}

int headroom_jpeg_decode(headroom_jpeg *decoder, const uint8_t *data, size_t size, int denominator, int width,
                         int height, uint8_t *pixels) {
  j_decompress_ptr info = &decoder->info;
  memset(info, 0, sizeof *info);
  if (setjmp(decoder->escape) != 0) return end(decoder, decoder->result);
  begin(decoder, data, size);
  info->out_color_space = info->num_components == 4 ? JCS_CMYK : JCS_RGB;
  info->scale_num = 1;
  info->scale_denom = (unsigned)denominator;
  jpeg_start_decompress(info);
  if ((int)info->output_width != width || (int)info->output_height != height) {
    snprintf(decoder->message, sizeof decoder->message, "decodes to %ux%u pixels, expected %dx%d", info->output_width,
             info->output_height, width, height);
    escape(decoder, HEADROOM_JPEG_BROKEN);
  }
  size_t stride = (size_t)info->output_components * (size_t)width;
  while (info->output_scanline < info->output_height) {
    JSAMPROW rows[8];
    unsigned n = 0;
    for (; n < 8 && info->output_scanline + n < info->output_height; n++) {
      rows[n] = pixels + (size_t)(info->output_scanline + n) * stride;
    }
    jpeg_read_scanlines(info, rows, n);
  }
  jpeg_finish_decompress(info);
  if (info->out_color_space == JCS_CMYK) {
    size_t n = (size_t)width * (size_t)height;
    // Without Adobe's marker the values are as they are printed.
    if (!info->saw_Adobe_marker) {
      for (size_t i = 0; i < 4 * n; i++) pixels[i] = (uint8_t)(255 - pixels[i]);
    }
    from_inverted(pixels, n);
  }
  return end(decoder, HEADROOM_JPEG_OK);
}

void headroom_jpeg_stop(headroom_jpeg *decoder) {
  atomic_store_explicit(&decoder->stopped, true, memory_order_relaxed);
}

void headroom_jpeg_arm(headroom_jpeg *decoder) {
  atomic_store_explicit(&decoder->stopped, false, memory_order_relaxed);
}

const char *headroom_jpeg_message(const headroom_jpeg *decoder) { return decoder->message; }
