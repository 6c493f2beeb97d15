#include "services/inference/backend/numerics.h"

#include <fenv.h>

void tg_numerics_enter(void) { fesetenv(FE_DFL_ENV); }

double tg_exp(double x)
{
    if (!(x > -700.0))
        return 0.0;
    if (x > 700.0)
        x = 700.0;
    /* x = n·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 is split so that n·high is exact. */
    double n = nearbyint(x * 1.4426950408889634074);
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    static const double inverse_factorials[] = {
        1.0,         1.0,          1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
        1.0 / 720,   1.0 / 5040,   1.0 / 40320,   1.0 / 362880,   1.0 / 3628800,   1.0 / 39916800,
        1.0 / 479001600};
    double sum = inverse_factorials[12];
    for (int k = 11; k >= 0; k--) /* Taylor, by Horner */
        sum = sum * r + inverse_factorials[k];
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof(scale));
    return sum * scale;
}

double tg_ln(double x)
{
    /* x = m·2^n with m within a factor √2 of 1; ln m = 2·artanh((m − 1)/(m + 1)). */
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int n = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof(m));
    if (m > 1.4142135623730951) {
        m *= 0.5;
        n++;
    }
    const double t = (m - 1.0) / (m + 1.0), t2 = t * t; /* t2 ≤ 0.0295 */
    double sum = 1.0 / 23.0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * t2 + 1.0 / (double)k;
    return 2.0 * t * sum + (double)n * 1.90821492927058770002e-10 +
           (double)n * 6.93147180369123816490e-01;
}

void tg_sincos(double angle, double *ret_sin, double *ret_cos)
{
    /* angle = n·π/2 + r with |r| ≤ π/4, π/2 in three parts of 33 bits, so that the products are
     * exact for n < 2^20; beyond, the error grows with n and stays below the bound in the
     * header. */
    double n = nearbyint(angle * 0.63661977236758134308);
    double r = angle - n * 1.57079632673412561417e+00;
    r -= n * 6.07710050630396597660e-11;
    r -= n * 2.02226624879595063154e-21;
    double r2 = r * r, s = 1.0, c = 1.0;
    for (int k = 16; k >= 2; k -= 2) { /* Taylor, by Horner: the last terms are below 1e-17 */
        s = 1.0 - s * r2 / (double)(k * (k + 1));
        c = 1.0 - c * r2 / (double)(k * (k - 1));
    }
    s *= r;
    switch ((int64_t)n & 3) {
    case 0: *ret_sin = s, *ret_cos = c; break;
    case 1: *ret_sin = c, *ret_cos = -s; break;
    case 2: *ret_sin = -s, *ret_cos = -c; break;
    default: *ret_sin = -c, *ret_cos = s; break;
    }
}
