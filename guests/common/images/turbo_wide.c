/* libjpeg-turbo's parts for 12 and 16 bits a sample, and for lossless JPEG, are left out: turbo_open() refuses such
 * pictures before any of these could be called. */
#include <stdio.h>

#include "jpeglib.h"

#include "../io.h"

static _Noreturn void left_out(void) {
    die(2, "the JPEG picture is of a kind that is not supported");
}

#define OF_DECODER(name) \
    void name(j_decompress_ptr d); \
    void name(j_decompress_ptr d) { (void)d, left_out(); }
#define OF_DECODER_FLAG(name) \
    void name(j_decompress_ptr d, boolean flag); \
    void name(j_decompress_ptr d, boolean flag) { (void)d, (void)flag, left_out(); }
#define OF_ENCODER(name) \
    void name(j_compress_ptr c); \
    void name(j_compress_ptr c) { (void)c, left_out(); }
#define OF_ENCODER_FLAG(name) \
    void name(j_compress_ptr c, boolean flag); \
    void name(j_compress_ptr c, boolean flag) { (void)c, (void)flag, left_out(); }

OF_DECODER(j12init_1pass_quantizer)
OF_DECODER(j12init_2pass_quantizer)
OF_DECODER(j12init_merged_upsampler)
OF_DECODER(j12init_color_deconverter)
OF_DECODER(j16init_color_deconverter)
OF_DECODER(j12init_upsampler)
OF_DECODER(j16init_upsampler)
OF_DECODER(jinit_lossless_decompressor)
OF_DECODER(j12init_lossless_decompressor)
OF_DECODER(j16init_lossless_decompressor)
OF_DECODER(jinit_lhuff_decoder)
OF_DECODER(j12init_inverse_dct)
OF_DECODER_FLAG(j12init_d_post_controller)
OF_DECODER_FLAG(j16init_d_post_controller)
OF_DECODER_FLAG(jinit_d_diff_controller)
OF_DECODER_FLAG(j12init_d_diff_controller)
OF_DECODER_FLAG(j16init_d_diff_controller)
OF_DECODER_FLAG(j12init_d_coef_controller)
OF_DECODER_FLAG(j12init_d_main_controller)
OF_DECODER_FLAG(j16init_d_main_controller)

OF_ENCODER(j12init_color_converter)
OF_ENCODER(j16init_color_converter)
OF_ENCODER(j12init_downsampler)
OF_ENCODER(j16init_downsampler)
OF_ENCODER(jinit_lossless_compressor)
OF_ENCODER(j12init_lossless_compressor)
OF_ENCODER(j16init_lossless_compressor)
OF_ENCODER(jinit_lhuff_encoder)
OF_ENCODER(j12init_forward_dct)
OF_ENCODER_FLAG(j12init_c_prep_controller)
OF_ENCODER_FLAG(j16init_c_prep_controller)
OF_ENCODER_FLAG(jinit_c_diff_controller)
OF_ENCODER_FLAG(j12init_c_diff_controller)
OF_ENCODER_FLAG(j16init_c_diff_controller)
OF_ENCODER_FLAG(j12init_c_coef_controller)
OF_ENCODER_FLAG(j12init_c_main_controller)
OF_ENCODER_FLAG(j16init_c_main_controller)
