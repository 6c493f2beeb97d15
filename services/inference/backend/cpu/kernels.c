#include "services/inference/backend/cpu/kernels.h"

#include <errno.h>

#if TG_HAVE_X86
#include <cpuid.h>

static bool has_f16c(void) /* not every compiler's __builtin_cpu_supports knows it */
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#endif

int tg_kernels_choose(const char *wanted, tg_error *err, const tg_cpu_kernels **ret)
{
    const struct {
        const tg_cpu_kernels *kernels;
        bool present;
    } paths[] = { /* best first */
#if TG_HAVE_X86
        {&tg_kernels_avx512, has_avx512()},
        {&tg_kernels_avx2, has_avx2()},
#endif
        {&tg_kernels_scalar, true},
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (wanted && *wanted && !tg_str_is(tg_str_of(wanted), paths[i].kernels->name))
            continue;
        if (paths[i].present) {
            *ret = paths[i].kernels;
            return 0;
        }
        if (wanted && *wanted)
            return tg_error_set(err, -ENOTSUP, "this processor lacks the instructions of '%s'", wanted);
    }
    return tg_error_set(err, -EINVAL, "TOLLGATE_CPU is '%s'; scalar, avx2 and avx512 are allowed", wanted);
}
