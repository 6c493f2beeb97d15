#include "services/inference/backend/cpu/kernels.h"

#include <errno.h>

#if TG_HAVE_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ARCH_REQ_XCOMP_PERM = 0x1023, /* Linux, Documentation/arch/x86/xstate.rst */
    XFEATURE_XTILEDATA = 18,      /* Intel SDM, volume 1, 13.1 */
};

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

/* The processor has them, the system saves them (bits 17 and 18 of XCR0), and this process may use
 * them. */
static bool has_amx(void)
{
    unsigned a, b, c, d, low, high;
    if (!has_avx512() || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3) /* AMX-TILE and AMX-INT8 */
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low >> 17 & 3) == 3 &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

int tg_kernels_choose(const char *wanted, tg_error *err, const tg_cpu_kernels **ret)
{
    const struct {
        const tg_cpu_kernels *kernels;
        bool present;
    } paths[] = { /* best first */
#if TG_HAVE_X86
        {&tg_kernels_amx, has_amx()},
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
            return tg_error_set(err, -ENOTSUP, "this processor lacks the instructions of '%s'",
                                wanted);
    }
    return tg_error_set(err, -EINVAL,
                        "TOLLGATE_CPU is '%s'; scalar, avx2, avx512 and amx are allowed", wanted);
}
