/* Every instruction set against the scalar reference, bit for bit. */
#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/model/model.h"
#include "services/inference/backend/numerics.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <math.h>

#if TG_HAVE_X86
/* AMX's kernels as they are, on tiles in plain C: no machine needs to have it for this test. */
#define TG_AMX_EMULATED 1
#define tg_kernels_amx tg_kernels_amx_emulated
#include "services/inference/backend/cpu/kernels_amx.c"
#undef tg_kernels_amx
#endif

/* The kernels of a path, or NULL with the running test marked as skipped. */
static const tg_cpu_kernels *kernels_of(const char *path)
{
    const tg_cpu_kernels *kernels = NULL;
    if (tg_kernels_choose(path, NULL, &kernels) < 0)
        tg_test_skip(strcmp(path, "amx") == 0 ? "no processor feature: AMX int8"
                     : strcmp(path, "avx512") == 0
                         ? "no processor feature: AVX-512 with VNNI"
                         : "no processor feature: AVX2 with FMA and F16C");
    return kernels;
}

typedef struct fixture {
    tg_packed packed;
    uint8_t *raw, *panels;
    float *x;
    tg_rows rows;
    int32_t *scratch;
} fixture;

static void fixture_make(fixture *f, tg_dtype type, uint32_t in, uint32_t out, uint32_t rows,
                         uint64_t *random)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    const size_t row_bytes = in / info->block_len * info->block_bytes;
    f->raw = malloc(row_bytes * out);
    f->x = malloc((size_t)in * rows * sizeof(float));
    float *row = malloc(in * sizeof(float));
    for (uint32_t o = 0; o < out; o++) {
        for (uint32_t i = 0; i < in; i++)
            row[i] = o % 7 == 3   ? -1
                     : o % 7 == 5 ? 1
                                  : tiny_uniform(random); /* where dots are as large as can be */
        tg_dtype_from_f32(type, row, in, f->raw + o * row_bytes);
        if (type == TG_DTYPE_Q8_0) /* the value quantisers avoid but files may hold */
            f->raw[o * row_bytes + 2 + tiny_random(random) % 32] = 0x80;
    }
    free(row);
    const tg_gguf_tensor tensor = {.dims = {in, out, 1, 1},
                                   .dims_len = 2,
                                   .type = type,
                                   .data = f->raw,
                                   .size_bytes = row_bytes * out};
    f->panels = aligned_alloc(64, tg_pack_bytes(&tensor, &f->packed));
    for (uint32_t p = 0; p < f->packed.panels; p++)
        tg_pack_panel(&tensor, &f->packed, p, f->panels + p * f->packed.panel_bytes);
    f->packed.data = f->panels;
    for (size_t i = 0; i < (size_t)in * rows; i++)
        f->x[i] = i / in % 3 == 1 ? 4 : tiny_uniform(random) * 4;
    const size_t blocks = (size_t)in / 32 * tg_rows_room(rows);
    f->rows = (tg_rows){.len = rows, .in = in, .x = f->x};
    f->rows.q = malloc(blocks * 32 + 1);
    f->rows.pairs = malloc(blocks * 32 * sizeof(int16_t) + 1);
    f->rows.q16 = calloc(1, (size_t)in * ((rows + 15) / 16 * 16));
    f->rows.scale = malloc(blocks * sizeof(float) + 1);
    f->rows.scaled_sum = malloc(blocks * sizeof(float) + 1);
    f->rows.sum = malloc(blocks * sizeof(int32_t) + 1);
    f->rows.start = malloc(blocks * sizeof(int32_t) + 1);
    f->scratch = malloc(tg_product_scratch(in) * sizeof(int32_t));
    if (tg_packed_is_quantised(&f->packed))
        for (uint32_t r = 0; r < rows; r++)
            tg_kernels_scalar.quantise(f->x + r * (size_t)in, &f->rows, r);
}

static void fixture_free(fixture *f)
{
    free(f->raw);
    free(f->panels);
    free(f->x);
    free(f->rows.q);
    free(f->rows.pairs);
    free(f->rows.q16);
    free(f->rows.scale);
    free(f->rows.scaled_sum);
    free(f->rows.sum);
    free(f->rows.start);
    free(f->scratch);
}

static const tg_dtype types[] = {TG_DTYPE_F32,  TG_DTYPE_F16,  TG_DTYPE_BF16, TG_DTYPE_Q8_0,
                                 TG_DTYPE_Q4_0, TG_DTYPE_Q4_1, TG_DTYPE_Q5_0, TG_DTYPE_Q5_1,
                                 TG_DTYPE_Q4_K, TG_DTYPE_Q5_K, TG_DTYPE_Q6_K};

static void compare_products_of(const tg_cpu_kernels *kernels, tg_dtype type, uint32_t in,
                                uint32_t out, uint32_t rows, uint64_t *random)
{
    fixture f;
    fixture_make(&f, type, in, out, rows, random);
    const size_t len = (size_t)out * rows;
    float *want = malloc(len * sizeof(float)), *got = malloc(len * sizeof(float));
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        for (size_t i = 0; i < len; i++)
            want[i] = got[i] = tiny_uniform(random);
        tg_product product = {&f.packed, &f.rows, want, out, accumulate != 0};
        tg_kernels_scalar.product(&product, 0, f.packed.panels, f.scratch);
        product.out = got;
        kernels->product(&product, 0, f.packed.panels, f.scratch);
        CU_ASSERT_EQUAL(memcmp(want, got, len * sizeof(float)), 0);
    }
    free(want);
    free(got);
    fixture_free(&f);
}

static void compare_products(const tg_cpu_kernels *kernels, tg_dtype type, uint32_t rows_max,
                             uint64_t *random)
{
    const uint32_t in = tg_dtype_get(type)->block_len * (1 + (uint32_t)(tiny_random(random) % 9));
    const uint32_t out = 1 + (uint32_t)(tiny_random(random) % 70),
                   rows = 1 + (uint32_t)(tiny_random(random) % rows_max);
    compare_products_of(kernels, type, in, out, rows, random);
}

static void products_of(const char *path)
{
    const tg_cpu_kernels *kernels = kernels_of(path);
    uint64_t random = tg_test_seed();
    for (size_t round = 0; kernels && round < tg_test_rounds(30); round++)
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
            compare_products(kernels, types[i], 19, &random);
}

/* More rows than one pass takes. */
static void test_products_of_many_rows(void)
{
    const tg_cpu_kernels *kernels = kernels_of("avx2");
    uint64_t random = tg_test_seed();
    for (size_t round = 0; kernels && round < tg_test_rounds(3); round++)
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
            compare_products(kernels, types[i], 150, &random);
}

static void test_products_avx2(void) { products_of("avx2"); }
static void test_products_avx512(void) { products_of("avx512"); }
static void test_products_amx(void) { products_of("amx"); }

static void test_products_amx_emulated(void)
{
#if TG_HAVE_X86
    uint64_t random = tg_test_seed();
    const bool runs = kernels_of("avx512") != NULL; /* the floats are AVX-512's */
    for (size_t round = 0; runs && round < tg_test_rounds(30); round++)
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
            compare_products(&tg_kernels_amx_emulated, types[i], 50, &random);
    if (runs) /* so wide that not all rows are taken before the next panel */
        compare_products_of(&tg_kernels_amx_emulated, TG_DTYPE_Q4_1, 1 << 15, 17, 40, &random);
#else
    tg_test_skip("no processor feature: AVX-512 with VNNI");
#endif
}

/* The scalar product itself, against doubles of the dequantised weights. */
static void test_products_are_products(void)
{
    uint64_t random = 7;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        enum { IN = 512, OUT = 20 };
        fixture f;
        float out[OUT], row[IN], unpacked[IN];
        fixture_make(&f, types[i], IN, OUT, 1, &random);
        tg_product product = {&f.packed, &f.rows, out, OUT, false};
        tg_kernels_scalar.product(&product, 0, f.packed.panels, f.scratch);
        const tg_dtype_info *info = tg_dtype_get(types[i]);
        for (uint32_t o = 0; o < OUT; o++) {
            double want = 0, size = 0;
            tg_dtype_to_f32(types[i], f.raw + o * (IN / info->block_len * info->block_bytes), IN,
                            row);
            tg_unpack_row(&f.packed, o, unpacked);
            CU_ASSERT_EQUAL(memcmp(row, unpacked, sizeof(row)), 0);
            for (uint32_t k = 0; k < IN; k++) {
                want += (double)row[k] * (double)f.x[k];
                size += fabs((double)row[k] * (double)f.x[k]);
            }
            CU_ASSERT(fabs(want - (double)out[o]) <= size * 0.01);
        }
        fixture_free(&f);
    }
}

static void compare_vector_ops(const tg_cpu_kernels *kernels, uint64_t *random)
{
    enum { MOST = 200 };
    float x[MOST], y[MOST], want[MOST], got[MOST];
    uint16_t want_f16[MOST], got_f16[MOST];
    const uint32_t len = 1 + (uint32_t)(tiny_random(random) % MOST);
    const float scale = (float)(1u << tiny_random(random) % 12);
    for (uint32_t i = 0; i < len; i++) {
        x[i] = tiny_uniform(random) * scale;
        y[i] = tiny_uniform(random);
    }
    tg_kernels_scalar.norm(x, y, len, 1e-5f, want);
    kernels->norm(x, y, len, 1e-5f, got);
    CU_ASSERT_EQUAL(memcmp(want, got, len * sizeof(float)), 0);
    tg_kernels_scalar.silu_mul(x, y, len, want);
    kernels->silu_mul(x, y, len, got);
    CU_ASSERT_EQUAL(memcmp(want, got, len * sizeof(float)), 0);
    tg_kernels_scalar.to_f16(x, len, want_f16);
    kernels->to_f16(x, len, got_f16);
    CU_ASSERT_EQUAL(memcmp(want_f16, got_f16, len * sizeof(uint16_t)), 0);
}

static void compare_quantise(const tg_cpu_kernels *kernels, uint64_t *random)
{
    enum { IN = 96, ROWS = TG_ROWS_TILE, BLOCKS = IN / 32 * ROWS };
    float x[IN], scale[2][BLOCKS] = {{0}}, scaled_sum[2][BLOCKS] = {{0}};
    int8_t q[2][IN * ROWS] = {{0}};
    int16_t pairs[2][IN * ROWS] = {{0}};
    int8_t q16[2][IN * TG_ROWS_Q16] = {{0}};
    int32_t sum[2][BLOCKS] = {{0}}, start[2][BLOCKS] = {{0}};
    const uint32_t row = (uint32_t)(tiny_random(random) % ROWS);
    for (uint32_t i = 0; i < IN; i++)
        x[i] = i < 32 && tiny_random(random) % 4 == 0 ? 0 : tiny_uniform(random) * 100;
    for (int k = 0; k < 2; k++) {
        tg_rows rows = {.len = ROWS,
                        .in = IN,
                        .x = x,
                        .q = q[k],
                        .q16 = q16[k],
                        .pairs = pairs[k],
                        .scale = scale[k],
                        .scaled_sum = scaled_sum[k],
                        .sum = sum[k],
                        .start = start[k]};
        (k ? kernels : &tg_kernels_scalar)->quantise(x, &rows, row);
    }
    CU_ASSERT_EQUAL(memcmp(q[0], q[1], sizeof(q[0])), 0);
    CU_ASSERT_EQUAL(memcmp(pairs[0], pairs[1], sizeof(pairs[0])), 0);
    CU_ASSERT_EQUAL(memcmp(q16[0], q16[1], sizeof(q16[0])), 0);
    for (size_t b = 0; b < IN / 32; b++) /* the same values, in tiles of sixteen rows */
        CU_ASSERT_EQUAL(
            memcmp(q[0] + (b * TG_ROWS_TILE + row) * 32, q16[0] + (b * TG_ROWS_Q16 + row) * 32, 32),
            0);
    CU_ASSERT_EQUAL(memcmp(scale[0], scale[1], sizeof(scale[0])), 0);
    CU_ASSERT_EQUAL(memcmp(scaled_sum[0], scaled_sum[1], sizeof(scaled_sum[0])), 0);
    CU_ASSERT_EQUAL(memcmp(sum[0], sum[1], sizeof(sum[0])), 0);
    CU_ASSERT_EQUAL(memcmp(start[0], start[1], sizeof(start[0])), 0);
}

static void vector_ops_of(const char *path)
{
    const tg_cpu_kernels *kernels = kernels_of(path);
    uint64_t random = tg_test_seed();
    for (size_t round = 0; kernels && round < tg_test_rounds(200); round++) {
        compare_vector_ops(kernels, &random);
        compare_quantise(kernels, &random);
    }
}

static void test_vector_ops_avx2(void) { vector_ops_of("avx2"); }
static void test_vector_ops_avx512(void) { vector_ops_of("avx512"); }
static void test_vector_ops_amx(void) { vector_ops_of("amx"); }

/* Random keys and values; queries at ascending positions. */
static void run_attention(const tg_cpu_kernels *kernels, uint32_t dim, uint32_t rows, uint32_t last,
                          uint32_t window, const uint8_t *kv, bool q8, const uint32_t *blocks,
                          const float *q, float *out)
{
    static uint16_t expanded[TG_ATTENTION_SPAN * 2 * TG_MODEL_HEAD_DIM_MAX + TG_KV_EXPANDED_SPARE];
    static float scores[TG_ATTEND_ROWS * TG_ATTENTION_SPAN];
    static float sums[2 * TG_ATTEND_ROWS * TG_MODEL_HEAD_DIM_MAX];
    tg_attend a = {.rows = rows,
                   .head_dim = dim,
                   .kv = kv,
                   .q8 = q8,
                   .block_stride = tg_kv_head_bytes(dim, q8),
                   .blocks = blocks,
                   .window = window,
                   .scale = 1.0f / sqrtf((float)dim),
                   .scores = scores,
                   .sums = sums,
                   .expanded = expanded};
    for (uint32_t r = 0; r < rows; r++) {
        a.q[r] = q + r * dim;
        a.out[r] = out + r * dim;
        a.position[r] = last - (rows - 1 - r) / 2; /* two heads share a key head */
    }
    kernels->attend(&a);
}

enum { KV_BLOCKS = 40, KV_DIM_MAX = 80 };

/* What a Q8 block says, written as an F16 one. */
static void expand(const uint8_t *q8, uint32_t dim, uint16_t *ret)
{
    const uint32_t groups = tg_kv_groups(dim);
    for (uint32_t which = 0; which < 2; which++) /* keys [dim][16], values [16][dim] */
        for (uint32_t d = 0; d < dim; d++)
            for (uint32_t key = 0; key < 16; key++) {
                const uint32_t at = which ? key * dim + d : d * 16 + key,
                               group = which * groups + d / TG_KV_GROUP;
                uint16_t scale;
                memcpy(&scale, q8 + 2 * 16 * dim + (group * 16 + key) * 2, sizeof(scale));
                ret[which * 16 * dim + at] =
                    tg_f32_to_f16((float)(int8_t)q8[which * 16 * dim + at] * tg_f16_to_f32(scale));
            }
}

static void compare_attention(const tg_cpu_kernels *kernels, uint64_t *random)
{
    static uint16_t kv[KV_BLOCKS * 2 * 16 * KV_DIM_MAX];
    static uint8_t small[KV_BLOCKS * 2 * 16 * (KV_DIM_MAX + 2 * TG_KV_GROUPS_MAX)];
    uint32_t blocks[KV_BLOCKS];
    float q[TG_ATTEND_ROWS * KV_DIM_MAX], want[TG_ATTEND_ROWS * KV_DIM_MAX],
        got[TG_ATTEND_ROWS * KV_DIM_MAX];
    const uint32_t dim = 2 * (1 + (uint32_t)(tiny_random(random) % (KV_DIM_MAX / 2)));
    const uint32_t rows = 1 + (uint32_t)(tiny_random(random) % TG_ATTEND_ROWS);
    const uint32_t last =
        rows + (uint32_t)(tiny_random(random) % (KV_BLOCKS * 16 - TG_ATTEND_ROWS));
    const uint32_t window =
        tiny_random(random) % 2 ? 1 + (uint32_t)(tiny_random(random) % (KV_BLOCKS * 16)) : 0;
    const bool q8 = tiny_random(random) % 2;
    const uint8_t *memory = q8 ? small : (const uint8_t *)kv;
    for (size_t i = 0; i < sizeof(kv) / sizeof(kv[0]); i++)
        kv[i] = tg_f32_to_f16(tiny_uniform(random));
    for (uint32_t b = 0; q8 && b < KV_BLOCKS; b++) {
        uint8_t *block = small + b * tg_kv_head_bytes(dim, true);
        for (uint32_t i = 0; i < 2 * 16 * dim; i++)
            block[i] = (uint8_t)(tiny_random(random) % 255 - 127);
        for (uint32_t i = 0; i < 2 * 16 * tg_kv_groups(dim); i++)
            tg_kv_scales(block, dim)[i] = tg_f32_to_f16(tiny_uniform(random) / 100);
        expand(block, dim, kv + b * tg_kv_head_halves(dim));
    }
    for (uint32_t i = 0; i < KV_BLOCKS; i++)
        blocks[i] = KV_BLOCKS - 1 - i;
    for (uint32_t i = 0; i < rows * dim; i++)
        q[i] = tiny_uniform(random) * 5;
    run_attention(&tg_kernels_scalar, dim, rows, last, window, (const uint8_t *)kv, false, blocks,
                  q, want);
    run_attention(kernels, dim, rows, last, window, memory, q8, blocks, q, got);
    CU_ASSERT_EQUAL(memcmp(want, got, rows * dim * sizeof(float)), 0);
    /* A row alone gives what it gave in company. */
    run_attention(kernels, dim, 1, last, window, memory, q8, blocks, q + (rows - 1) * dim, got);
    CU_ASSERT_EQUAL(memcmp(want + (rows - 1) * dim, got, dim * sizeof(float)), 0);
}

/* Q8 is within half a step of its scale, and the same on every path. */
static void compare_to_q8(const tg_cpu_kernels *kernels, uint64_t *random)
{
    enum { LEN_MAX = 256 };
    float x[LEN_MAX];
    int8_t want[LEN_MAX], got[LEN_MAX];
    uint16_t scales[2][TG_KV_GROUPS_MAX];
    const uint32_t len = 2 * (1 + (uint32_t)(tiny_random(random) % (LEN_MAX / 2)));
    const float size = powf(10, 4 * tiny_uniform(random));
    for (uint32_t i = 0; i < len; i++)
        x[i] = i / TG_KV_GROUP == 1 ? 0 : tiny_uniform(random) * size;
    tg_kernels_scalar.to_q8(x, len, want, scales[0]);
    kernels->to_q8(x, len, got, scales[1]);
    CU_ASSERT_EQUAL(memcmp(want, got, len), 0);
    CU_ASSERT_EQUAL(memcmp(scales[0], scales[1], tg_kv_groups(len) * sizeof(scales[0][0])), 0);
    for (uint32_t i = 0; i < len; i++) {
        const float scale = tg_f16_to_f32(scales[0][i / TG_KV_GROUP]);
        /* F16's scale may be 1/2048 or 3e-8 short */
        CU_ASSERT(fabsf((float)want[i] * scale - x[i]) <= scale * 0.57f + 4e-6f);
    }
}

static void attention_of(const char *path)
{
    const tg_cpu_kernels *kernels = kernels_of(path);
    uint64_t random = tg_test_seed();
    for (size_t round = 0; kernels && round < tg_test_rounds(20); round++)
        compare_attention(kernels, &random);
    for (size_t round = 0; kernels && round < tg_test_rounds(100); round++)
        compare_to_q8(kernels, &random);
}

static void test_attention_avx2(void) { attention_of("avx2"); }
static void test_attention_avx512(void) { attention_of("avx512"); }
static void test_attention_amx(void) { attention_of("amx"); }

/* All but the products AMX takes from AVX-512; nothing may be missing where no machine has AMX. */
static void test_rest_of_amx(void)
{
#if TG_HAVE_X86
    uint64_t random = tg_test_seed();
    if (!kernels_of("avx512"))
        return;
    compare_vector_ops(&tg_kernels_amx_emulated, &random);
    compare_quantise(&tg_kernels_amx_emulated, &random);
    compare_attention(&tg_kernels_amx_emulated, &random);
    compare_to_q8(&tg_kernels_amx_emulated, &random);
#else
    tg_test_skip("no processor feature: AVX-512 with VNNI");
#endif
}

static void test_exp_and_sincos(void)
{
    for (double x = -90; x <= 20; x += 0.00917) {
        CU_ASSERT(fabs(tg_exp(x) - exp(x)) <= exp(x) * 1e-14);
        float gate = (float)-x, up = 1, y; /* silu(g) = g / (1 + e^−g) shows the fp32 exponential */
        tg_kernels_scalar.silu_mul(&gate, &up, 1, &y);
        double want = (double)gate / (1 + exp(-(double)gate));
        CU_ASSERT(fabs((double)y - want) <= fabs(want) * 1e-6 + 1e-37);
    }
    CU_ASSERT_EQUAL(tg_exp(-1e9), 0.0);
    for (double angle = 0; angle < 200000; angle += 13.7) {
        double s, c;
        tg_sincos(angle, &s, &c);
        CU_ASSERT(fabs(s - sin(angle)) < 1e-12 && fabs(c - cos(angle)) < 1e-12);
    }
}

static void test_unknown_path(void)
{
    const tg_cpu_kernels *kernels = NULL;
    tg_error err = {""};
    CU_ASSERT(tg_kernels_choose("mmx", &err, &kernels) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "mmx"));
    CU_ASSERT_EQUAL(tg_kernels_choose("scalar", &err, &kernels), 0);
    CU_ASSERT_PTR_EQUAL(kernels, &tg_kernels_scalar);
    CU_ASSERT_EQUAL(tg_kernels_choose(NULL, &err, &kernels), 0);
}

static const tg_test tests[] = {{"products_avx2_equal_scalar", test_products_avx2},
                                {"products_of_many_rows", test_products_of_many_rows},
                                {"products_avx512_equal_scalar", test_products_avx512},
                                {"products_amx_equal_scalar", test_products_amx},
                                {"products_amx_emulated_equal_scalar", test_products_amx_emulated},
                                {"products_are_products", test_products_are_products},
                                {"vector_ops_avx2_equal_scalar", test_vector_ops_avx2},
                                {"vector_ops_avx512_equal_scalar", test_vector_ops_avx512},
                                {"vector_ops_amx_equal_scalar", test_vector_ops_amx},
                                {"attention_avx2_equals_scalar", test_attention_avx2},
                                {"attention_avx512_equals_scalar", test_attention_avx512},
                                {"attention_amx_equals_scalar", test_attention_amx},
                                {"rest_of_amx_equals_scalar", test_rest_of_amx},
                                {"exp_and_sincos", test_exp_and_sincos},
                                {"unknown_path", test_unknown_path}};
TG_TEST_MAIN("services_inference_backend_kernels", tests)
