/* The rules of the arithmetic. Two runs that follow them give the same bits, whatever the batch,
 * the chunking, the threads and the cache did. A change to any rule changes the version, which
 * status and usage events carry.
 *
 *  1. Products with quantised weights: activations are quantised per token and block of 32 to int8
 *     (scale = largest magnitude / 127, round to nearest even). A block's dot product is exact in
 *     int32. One fp32 chain per output then takes the blocks in ascending order:
 *         acc = fma((float)dot, weight_scale * activation_scale, acc)
 *     and for Q4_1 and others whose weights have a minimum, right after it
 *         acc = fma(weight_min, activation_scale * (float)sum_of_activations, acc)
 *     Q5_1, Q4_K and Q5_K have minima, too. The scale and minimum of 32 weights of a K type are the
 *     products d·sc and −dmin·m rounded to fp32. Q6_K has a scale for 16 weights: there the chain
 *     takes dots of 16, each with its own weight_scale and the activation_scale of the 32 that it
 *     lies in.
 *  2. Products with F32, F16 and BF16 weights: one chain of fma over ascending k, activations in
 *     fp32. A bias is added to the finished sum.
 *  3. Threads share out outputs, never a sum.
 *  4. K and V are rounded to F16 before any use, those of the current step included. With a Q8
 *     cache first to int8: 32 dimensions of a head share the scale F16(largest magnitude / 127), q
 *     = x / scale to nearest even within ±127; what is used is scale·q, in fp32, rounded to F16.
 *     The version then ends in -kvq8.
 *  5. Attention takes keys in spans of 256 aligned to absolute position; a span's (max, sum,
 *     accumulator) are merged in ascending order. Masked keys, those before a sliding window
 *     included, add exactly zero, and a span without a visible key is not merged. q·k is one fma
 *     chain over ascending dimension, p·v one over ascending key.
 *  6. Long sums (RMSNorm, softmax) run in 16 lanes, element i in lane i mod 16, then fold
 *     8, 4, 2, 1.
 *  7. exp, log, sine and cosine are the ones here. No contraction other than written fma.
 *     Every thread rounds to nearest even and flushes nothing to zero (tg_numerics_enter).
 *  8. Sampling draws from a counter-based generator keyed (seed, choice, position).
 *     Log-probabilities are those of the model's own logits, before penalties, bias, mask and
 *     temperature; their sum of exponentials is in double, lanes as in 6.
 */
#ifndef TG_INFERENCE_NUMERICS_H
#define TG_INFERENCE_NUMERICS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define TG_NUMERICS_VERSION "1"
#define TG_NUMERICS_VERSION_KVQ8 TG_NUMERICS_VERSION "-kvq8" /* with K and V in Q8 */
#define TG_ATTENTION_SPAN 256 /* keys; a multiple of TG_KV_BLOCK_TOKENS */

/* Makes the calling thread round to nearest even and keep what is less than the least normal
 * number, whatever a library or a program around us has set (x86: MXCSR). Every thread does this
 * before it computes; the setting stays with it. */
void tg_numerics_enter(void);

/* e^x in double, without fma, so that every compiler and machine gives the same bits. Error below
 * 1e-15 relative; 0 below -700. For the sampler. */
double tg_exp(double x);

/* Natural logarithm of a positive, normal x, likewise. Absolute error below 1e-15 + 1e-15·|result|.
 * For log-probabilities. */
double tg_ln(double x);

/* Sine and cosine of a RoPE angle, 0 ≤ angle ≤ 1e7. Absolute error below 1e-9 there. */
void tg_sincos(double angle, double *ret_sin, double *ret_cos);

#endif
