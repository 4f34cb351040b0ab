//go:build libjpeg

#include "decoder.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

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

headroom_jpeg *headroom_jpeg_new(void) {
  headroom_jpeg *decoder = calloc(1, sizeof *decoder);
  if (decoder == NULL) return NULL;
  decoder->info.err = jpeg_std_error(&decoder->errors);
  decoder->errors.error_exit = on_error;
  decoder->errors.emit_message = on_message;
  decoder->info.client_data = decoder;
  if (setjmp(decoder->escape) != 0) {
    free(decoder);
    return NULL;
  }
  jpeg_create_decompress(&decoder->info);
  decoder->progress.progress_monitor = on_progress;
  decoder->info.progress = &decoder->progress;
  return decoder;
}

void headroom_jpeg_free(headroom_jpeg *decoder) {
  jpeg_destroy_decompress(&decoder->info);
  free(decoder);
}

// end leaves the decoder ready for the next picture, without a pointer into
// this one.
static void end(j_decompress_ptr info) {
  jpeg_abort_decompress(info);
  if (info->src != NULL) {
    info->src->next_input_byte = NULL;
    info->src->bytes_in_buffer = 0;
  }
}

int headroom_jpeg_header(headroom_jpeg *decoder, const uint8_t *data, size_t size, int *width, int *height) {
  j_decompress_ptr info = &decoder->info;
  if (setjmp(decoder->escape) != 0) {
    end(info);
    return decoder->result;
  }
  jpeg_mem_src(info, data, size);
  jpeg_read_header(info, TRUE);
  *width = (int)info->image_width;
  *height = (int)info->image_height;
  int result = info->num_components == 4 ? HEADROOM_JPEG_UNSUPPORTED : HEADROOM_JPEG_OK;
  end(info);
  return result;
}

int headroom_jpeg_decode(headroom_jpeg *decoder, const uint8_t *data, size_t size, int denominator, int width,
                         int height, uint8_t *pixels) {
  j_decompress_ptr info = &decoder->info;
  if (setjmp(decoder->escape) != 0) {
    end(info);
    return decoder->result;
  }
  jpeg_mem_src(info, data, size);
  jpeg_read_header(info, TRUE);
  info->out_color_space = JCS_RGB;
  info->scale_num = 1;
  info->scale_denom = (unsigned)denominator;
  jpeg_start_decompress(info);
  if ((int)info->output_width != width || (int)info->output_height != height) {
    snprintf(decoder->message, sizeof decoder->message, "decodes to %ux%u pixels, expected %dx%d", info->output_width,
             info->output_height, width, height);
    escape(decoder, HEADROOM_JPEG_BROKEN);
  }
  while (info->output_scanline < info->output_height) {
    JSAMPROW rows[8];
    unsigned n = 0;
    for (; n < 8 && info->output_scanline + n < info->output_height; n++) {
      rows[n] = pixels + (size_t)(info->output_scanline + n) * 3 * (size_t)width;
    }
    jpeg_read_scanlines(info, rows, n);
  }
  jpeg_finish_decompress(info);
  end(info);
  return HEADROOM_JPEG_OK;
}

void headroom_jpeg_stop(headroom_jpeg *decoder) {
  atomic_store_explicit(&decoder->stopped, true, memory_order_relaxed);
}

void headroom_jpeg_arm(headroom_jpeg *decoder) {
  atomic_store_explicit(&decoder->stopped, false, memory_order_relaxed);
}

const char *headroom_jpeg_message(const headroom_jpeg *decoder) { return decoder->message; }
