/* The tile instructions of AMX that kernels_amx.c is written with, and what stands in for them in
 * tests.
 *
 * There are eight tiles of at most 16 rows of 64 bytes; tg_tile_conf says how much of each is in
 * use, for the calling thread, from TG_TILES_BEGIN to TG_TILES_END. A tile's number is written out,
 * since it is part of an instruction. TG_TILE_DOT(c, a, b) adds to int32 c[m][n] the sum over k of
 * a[m][k]·b[k / 4][4·n + k % 4], all int8.
 * Source: Intel SDM, volume 1, chapter 18, and volume 2
 * for LDTILECFG, TILELOADD, TILESTORED and TDPBSSD.
 *
 * With TG_AMX_EMULATED they are plain C, which ends the process where the processor would raise
 * #UD. That the real instructions do the same only a machine that has them can show.
 */
#ifndef TG_CPU_AMX_H
#define TG_CPU_AMX_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TG_TILE_ROWS 16
#define TG_TILE_ROW_BYTES 64

typedef struct tg_tile_conf { /* as in memory */
    uint8_t palette; /* 1 */
    uint8_t start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tg_tile_conf;

#if TG_AMX_EMULATED

static _Thread_local struct {
    tg_tile_conf conf;
    uint8_t tile[8][TG_TILE_ROWS][TG_TILE_ROW_BYTES];
} tg_amx;

static inline void tg_tiles_begin(const tg_tile_conf *conf)
{
    memset(&tg_amx, 0, sizeof(tg_amx));
    tg_amx.conf = *conf;
    for (int t = 0; t < 8; t++)
        if (conf->palette != 1 || conf->rows[t] > TG_TILE_ROWS ||
            conf->row_bytes[t] > TG_TILE_ROW_BYTES)
            abort();
}

static inline void tg_tile_zero(int t) { memset(tg_amx.tile[t], 0, sizeof(tg_amx.tile[t])); }

static inline void tg_tile_load(int t, const void *from, ptrdiff_t stride)
{
    if (tg_amx.conf.rows[t] == 0)
        abort();
    tg_tile_zero(t);
    for (int r = 0; r < tg_amx.conf.rows[t]; r++)
        memcpy(tg_amx.tile[t][r], (const uint8_t *)from + r * stride, tg_amx.conf.row_bytes[t]);
}

static inline void tg_tile_store(int t, void *to, ptrdiff_t stride)
{
    if (tg_amx.conf.rows[t] == 0)
        abort();
    for (int r = 0; r < tg_amx.conf.rows[t]; r++)
        memcpy((uint8_t *)to + r * stride, tg_amx.tile[t][r], tg_amx.conf.row_bytes[t]);
}

static inline void tg_tile_dot(int c, int a, int b)
{
    const tg_tile_conf *conf = &tg_amx.conf;
    if (conf->rows[c] != conf->rows[a] || conf->row_bytes[c] != conf->row_bytes[b] ||
        conf->row_bytes[a] != conf->rows[b] * 4 || conf->rows[c] == 0 || c == a || c == b || a == b)
        abort();
    for (size_t m = 0; m < conf->rows[c]; m++) {
        for (size_t n = 0; n < conf->row_bytes[c] / 4u; n++) {
            uint32_t sum; /* wraps, as the instruction does */
            memcpy(&sum, &tg_amx.tile[c][m][n * 4], sizeof(sum));
            for (size_t k = 0; k < conf->row_bytes[a]; k++)
                sum += (uint32_t)((int8_t)tg_amx.tile[a][m][k] *
                                  (int8_t)tg_amx.tile[b][k / 4][n * 4 + k % 4]);
            memcpy(&tg_amx.tile[c][m][n * 4], &sum, sizeof(sum));
        }
    }
}

#define TG_TILES_BEGIN(conf) tg_tiles_begin(conf)
#define TG_TILES_END() memset(&tg_amx, 0, sizeof(tg_amx))
#define TG_TILE_ZERO(t) tg_tile_zero(t)
#define TG_TILE_LOAD(t, from, stride) tg_tile_load(t, from, stride)
#define TG_TILE_STORE(t, to, stride) tg_tile_store(t, to, stride)
#define TG_TILE_DOT(c, a, b) tg_tile_dot(c, a, b)

#else

/* Compilers' own forms need a newer compiler than ours, or say too little of what they read: GCC
 * 12's _tile_loadconfig names 8 of the 64 bytes. */
#define TG_TILES_BEGIN(conf) __asm__ volatile("ldtilecfg %0" ::"m"(*(conf)))
#define TG_TILES_END() __asm__ volatile("tilerelease")
#define TG_TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t :::)
#define TG_TILE_LOAD(t, from, stride)                                                              \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(from), "r"((ptrdiff_t)(stride))         \
                     : "memory")
#define TG_TILE_STORE(t, to, stride)                                                               \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(to), "r"((ptrdiff_t)(stride))       \
                     : "memory")
#define TG_TILE_DOT(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c :::)

#endif

#endif
