/* bench_machine [THREADS]: what this machine's memory and arithmetic can do at most, in one line:
 *
 *     read_gbs=… avx2_int8_gops=… avx2_fp32_gflops=… [avx512_int8_gops=… avx512_fp32_gflops=…]
 *       [amx_int8_gops=…]
 *
 * Reading: huge pages, four streams a thread, prefetched. Integers: multiply-adds of bytes, counted
 * as two operations each, by vpmaddubsw, vpmaddwd and vpaddd (AVX2), vpdpbusd (AVX-512 VNNI) or
 * tdpbssd (AMX); all operands in registers. */
#include <immintrin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 256,
    TRIES = 3, /* the best counts */
    STREAMS = 4,
    AHEAD = 2048,               /* bytes prefetched ahead */
    ROUNDS = 40000000,          /* of arithmetic */
    AMX_ROUNDS = 2000000,
    XFEATURE_XTILEDATA = 18,    /* Intel SDM, volume 1, 13.1 */
    ARCH_REQ_XCOMP_PERM = 0x1023, /* Linux, Documentation/arch/x86/xstate.rst */
};
static const size_t READ_BYTES = 256u << 20; /* a thread, far beyond any cache */

typedef struct job {
    void (*work)(struct job *job);
    double units; /* bytes or operations done */
    double started_s, ended_s;
    const char *memory;
    pthread_barrier_t *barrier;
    uint64_t sink;
} job;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((target("avx2"))) static void read_memory(job *j)
{
    const size_t part = READ_BYTES / STREAMS;
    __m256i sum[STREAMS] = {_mm256_setzero_si256()};
    for (size_t i = 0; i < part; i += 64)
        for (size_t s = 0; s < STREAMS; s++) {
            const char *at = j->memory + s * part + i;
            _mm_prefetch(at + AHEAD, _MM_HINT_T0);
            sum[s] = _mm256_add_epi64(sum[s], _mm256_load_si256((const __m256i *)(const void *)at));
            sum[s] = _mm256_add_epi64(sum[s],
                                      _mm256_load_si256((const __m256i *)(const void *)(at + 32)));
        }
    for (size_t s = 0; s < STREAMS; s++)
        j->sink += (uint64_t)_mm256_extract_epi64(sum[s], 0);
    j->units = (double)READ_BYTES;
}

/* An empty asm keeps the compiler from seeing that operands never change. */
#define OPAQUE(x) __asm__ volatile("" : "+x"(x))
#define OPAQUE_Z(x) __asm__ volatile("" : "+v"(x))

__attribute__((target("avx2"))) static void avx2_int8(job *j)
{
    __m256i acc[8], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
    const __m256i ones = _mm256_set1_epi16(1);
    for (int k = 0; k < 8; k++)
        acc[k] = _mm256_setzero_si256();
    for (int i = 0; i < ROUNDS / 8; i++)
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            OPAQUE(a);
            acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    for (int k = 0; k < 8; k++)
        j->sink += (uint64_t)_mm256_extract_epi64(acc[k], 0);
    j->units = ROUNDS * 64.0;
}

__attribute__((target("avx2,fma"))) static void avx2_fp32(job *j)
{
    __m256 acc[10], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int k = 0; k < 10; k++)
        acc[k] = _mm256_setzero_ps();
    for (int i = 0; i < ROUNDS / 10; i++)
#pragma GCC unroll 10
        for (int k = 0; k < 10; k++) {
            OPAQUE(a);
            acc[k] = _mm256_fmadd_ps(a, b, acc[k]);
        }
    for (int k = 0; k < 10; k++)
        j->sink += (uint64_t)_mm256_cvtss_f32(acc[k]);
    j->units = ROUNDS * 16.0;
}

__attribute__((target("avx512f,avx512vnni"))) static void avx512_int8(job *j)
{
    __m512i acc[16], a = _mm512_set1_epi32(0x03030303), b = _mm512_set1_epi32(0x05050505);
    for (int k = 0; k < 16; k++)
        acc[k] = _mm512_setzero_si512();
    for (int i = 0; i < ROUNDS / 16; i++)
#pragma GCC unroll 16
        for (int k = 0; k < 16; k++) {
            OPAQUE_Z(a);
            acc[k] = _mm512_dpbusd_epi32(acc[k], a, b);
        }
    for (int k = 0; k < 16; k++)
        j->sink += (uint64_t)_mm512_reduce_add_epi32(acc[k]);
    j->units = ROUNDS * 128.0;
}

__attribute__((target("avx512f"))) static void avx512_fp32(job *j)
{
    __m512 acc[16], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int k = 0; k < 16; k++)
        acc[k] = _mm512_setzero_ps();
    for (int i = 0; i < ROUNDS / 16; i++)
#pragma GCC unroll 16
        for (int k = 0; k < 16; k++) {
            OPAQUE_Z(a);
            acc[k] = _mm512_fmadd_ps(a, b, acc[k]);
        }
    for (int k = 0; k < 16; k++)
        j->sink += (uint64_t)_mm512_reduce_add_ps(acc[k]);
    j->units = ROUNDS * 32.0;
}

/* Tiles of 16 rows of 64 bytes; the configuration is palette 1 (Intel SDM, volume 1, 18.1). */
static void amx_int8(job *j)
{
    static const uint8_t zeros[1024];
    const long stride = 64;
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_in_row[16];
        uint8_t rows[16];
    } conf = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        conf.bytes_in_row[t] = 64;
        conf.rows[t] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(conf));
    __asm__ volatile(
        "tileloadd (%0,%1,1), %%tmm4\n\ttileloadd (%0,%1,1), %%tmm5\n\t"
        "tileloadd (%0,%1,1), %%tmm6\n\ttileloadd (%0,%1,1), %%tmm7\n\t"
        "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" ::"r"(zeros),
        "r"(stride), "m"(zeros));
    for (int i = 0; i < AMX_ROUNDS / 4; i++)
        __asm__ volatile("tdpbssd %tmm6, %tmm4, %tmm0\n\ttdpbssd %tmm7, %tmm4, %tmm1\n\t"
                         "tdpbssd %tmm6, %tmm5, %tmm2\n\ttdpbssd %tmm7, %tmm5, %tmm3");
    __asm__ volatile("tilerelease");
    j->units = AMX_ROUNDS * 2.0 * 16 * 16 * 64;
}

static bool has_amx(void)
{
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (d >> 24 & 3) == 3 && /* AMX-TILE and AMX-INT8 */
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static void *run_job(void *arg)
{
    job *j = arg;
    pthread_barrier_wait(j->barrier);
    j->started_s = now_s();
    j->work(j);
    j->ended_s = now_s();
    return NULL;
}

static double rate_once(void (*work)(job *), char *const *memory, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    job jobs[THREADS_MAX];
    pthread_barrier_t barrier;
    double units = 0, started_s = 0, ended_s = 0;
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned t = 0; t < threads; t++) {
        jobs[t] = (job){.work = work, .memory = memory[t], .barrier = &barrier};
        if (pthread_create(&ids[t], NULL, run_job, &jobs[t]) != 0)
            exit(1);
    }
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        units += jobs[t].units;
        started_s = t == 0 || jobs[t].started_s < started_s ? jobs[t].started_s : started_s;
        ended_s = jobs[t].ended_s > ended_s ? jobs[t].ended_s : ended_s;
    }
    pthread_barrier_destroy(&barrier);
    return units / (ended_s - started_s) / 1e9;
}

static double rate(void (*work)(job *), char *const *memory, unsigned threads)
{
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double got = rate_once(work, memory, threads);
        best = got > best ? got : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    char *memory[THREADS_MAX];
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
    if (threads < 1 || threads > THREADS_MAX || !__builtin_cpu_supports("avx2"))
        return 1;
    for (unsigned t = 0; t < threads; t++) {
        memory[t] = mmap(NULL, READ_BYTES + AHEAD, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory[t] == MAP_FAILED)
            return 1;
        madvise(memory[t], READ_BYTES, MADV_HUGEPAGE);
        memset(memory[t], (int)t + 1, READ_BYTES);
    }
    printf("read_gbs=%.1f avx2_int8_gops=%.0f avx2_fp32_gflops=%.0f",
           rate(read_memory, memory, threads), rate(avx2_int8, memory, threads),
           rate(avx2_fp32, memory, threads));
    if (__builtin_cpu_supports("avx512vnni"))
        printf(" avx512_int8_gops=%.0f avx512_fp32_gflops=%.0f", rate(avx512_int8, memory, threads),
               rate(avx512_fp32, memory, threads));
    if (has_amx())
        printf(" amx_int8_gops=%.0f", rate(amx_int8, memory, threads));
    printf("\n");
    return 0;
}
