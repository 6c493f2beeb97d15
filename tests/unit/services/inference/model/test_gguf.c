#include "services/inference/model/model.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>

/* Parses a copy at its exact size, so that the sanitizer sees one byte too far. */
static int parse(const char *data, size_t len, tg_error *err)
{
    tg_gguf *gguf = NULL;
    tg_model *model = NULL;
    uint8_t *copy = malloc(len ? len : 1);
    err->text[0] = '\0';
    if (len > 0)
        memcpy(copy, data, len);
    int rc = tg_gguf_parse(copy, len, err, &gguf);
    if (rc == 0)
        rc = tg_model_new(gguf, err, &model);
    tg_model_free(model);
    free(copy);
    return rc;
}

static bool fails_with(const tg_buf *file, const char *words)
{
    tg_error err;
    int rc = parse(file->data, file->len, &err);
    if (rc == -EINVAL && strstr(err.text, words))
        return true;
    printf("# %d: '%s' lacks '%s'\n", rc, err.text, words);
    return false;
}

/* Overwrites the first place that holds `from`; the lengths are equal. */
static void patch(tg_buf *file, const char *from, const char *to, size_t len)
{
    char *at = memmem(file->data, file->len, from, len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    memcpy(at, to, len);
}

static void test_good_file(void)
{
    tg_buf file;
    tg_gguf *gguf = NULL;
    tg_model *model = NULL;
    tg_error err = {""};
    tiny_model((tiny_conf){.seed = 1, .type = TG_DTYPE_Q8_0, .bpe = true, .layers = 3}, &file);
    CU_ASSERT_EQUAL_FATAL(tg_gguf_parse((const uint8_t *)file.data, file.len, &err, &gguf), 0);
    CU_ASSERT_EQUAL_FATAL(tg_model_new(gguf, &err, &model), 0);
    CU_ASSERT_EQUAL(model->shape.layers, 3);
    CU_ASSERT_EQUAL(model->shape.head_dim, 16);
    CU_ASSERT_EQUAL(model->shape.vocab, TINY_BPE_TOKENS);
    CU_ASSERT_STRING_EQUAL(model->quantisation, "Q8_0");
    CU_ASSERT_STRING_EQUAL(model->name, "tiny");
    CU_ASSERT(tg_model_is_stop(model, 0) && tg_model_is_stop(model, 2) &&
              !tg_model_is_stop(model, 1));
    CU_ASSERT_PTR_NOT_EQUAL(model->output, model->token_embd);
    tg_model_free(model);
    tg_buf_free(&file);
}

static void test_every_truncation_is_refused(void)
{
    tg_buf file;
    tg_error err;
    tiny_model((tiny_conf){.seed = 1, .layers = 1, .tied = true}, &file);
    CU_ASSERT_EQUAL(parse(file.data, file.len, &err), 0);
    /* somewhere in the tensors */
    const size_t data_at = file.len - 64 * (size_t)TINY_SPM_TOKENS * 4;
    for (size_t len = 0; len < file.len; len += len < data_at ? 1 + len / 400 : 4099) {
        CU_ASSERT(parse(file.data, len, &err) < 0);
        CU_ASSERT(err.text[0] != '\0');
    }
    file.len -= 64; /* the last tensor's end */
    CU_ASSERT(fails_with(&file, "truncated"));
    tg_buf_free(&file);
}

/* Bytes changed at random never crash, and a refusal always has words. */
static void test_damage(void)
{
    tg_buf file;
    uint64_t random = tg_test_seed();
    tiny_model((tiny_conf){.seed = 1, .layers = 1, .tied = true, .bpe = true}, &file);
    const size_t head = 24000 < file.len ? 24000 : file.len;
    for (size_t round = 0; round < tg_test_rounds(300); round++) {
        tg_error err;
        char *copy = malloc(file.len);
        memcpy(copy, file.data, file.len);
        for (uint64_t n = 1 + tiny_random(&random) % 4; n > 0; n--)
            copy[tiny_random(&random) % head] = (char)tiny_random(&random);
        if (parse(copy, file.len, &err) < 0)
            CU_ASSERT(err.text[0] != '\0');
        free(copy);
    }
    tg_buf_free(&file);
}

static void test_refusals_name_the_matter(void)
{
    tg_buf file;
    tiny_model((tiny_conf){.seed = 1, .architecture = "mamba"}, &file);
    CU_ASSERT(fails_with(&file, "'mamba' is not supported"));
    tg_buf_free(&file);

    tiny_model((tiny_conf){.seed = 1}, &file);
    patch(&file, "GGUF", "GGML", 4);
    CU_ASSERT(fails_with(&file, "not a GGUF file"));
    patch(&file, "GGML\x03", "GGUF\x01", 5);
    CU_ASSERT(fails_with(&file, "version 1"));
    patch(&file, "GGUF\x01", "GGUF\x03", 5);
    patch(&file, "blk.1.attn_q.weight", "blk.1.attn_q.wrong!", 19);
    CU_ASSERT(fails_with(&file, "'blk.1.attn_q.weight' is missing"));
    patch(&file, "blk.1.attn_q.wrong!", "blk.0.attn_q.weight", 19);
    CU_ASSERT(fails_with(&file, "'blk.0.attn_q.weight' appears twice"));
    tg_buf_free(&file);

    tiny_model((tiny_conf){.seed = 1}, &file);
    patch(&file, "output.weight", "output.wright", 13); /* tied then, and a stranger */
    CU_ASSERT(fails_with(&file, "'output.wright' is not part of the llama architecture"));
    char *name = memmem(file.data, file.len, "token_embd.weight", 17);
    const uint32_t q4_k = 12;
    memcpy(name + 17 + 4 + 16, &q4_k, 4); /* after the name: dimensions, two sizes, then the type */
    CU_ASSERT(fails_with(&file, "Q4_K"));
    const uint32_t beyond = 1000;
    memcpy(name + 17 + 4 + 16, &beyond, 4);
    CU_ASSERT(fails_with(&file, "unknown (1000)"));
    tg_buf_free(&file);

    tiny_model((tiny_conf){.seed = 1}, &file);
    name = memmem(file.data, file.len, "token_embd.weight", 17);
    const uint64_t whole[2] = {64, TINY_SPM_TOKENS}, shapes[][2] = {{1ull << 32, 1ull << 32},
                                                                    {1ull << 63, 2},
                                                                    {0, 2},
                                                                    {64, 1ull << 58},
                                                                    {64, 1ull << 50}};
    static const char *const why[] = {"impossible shape", "impossible shape", "impossible shape",
                                      "impossible shape", "larger than the file"};
    CU_ASSERT_EQUAL_FATAL(memcmp(name + 17 + 4, whole, sizeof(whole)), 0);
    /* products past 64 bits, which may come to 0 */
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        memcpy(name + 17 + 4, shapes[i], sizeof(shapes[i]));
        CU_ASSERT(fails_with(&file, why[i]));
    }
    memcpy(name + 17 + 4, whole, sizeof(whole));
    const uint64_t offsets[] = {1ull << 62, UINT64_MAX - 31, 8};
    static const char *const where[] = {"ends past", "ends past", "not a multiple of 32"};
    uint64_t offset;
    memcpy(&offset, name + 17 + 4 + 16 + 4, sizeof(offset));
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        memcpy(name + 17 + 4 + 16 + 4, &offsets[i], sizeof(offset));
        CU_ASSERT(fails_with(&file, where[i]));
    }
    tg_buf_free(&file);

    tiny_model((tiny_conf){.seed = 1}, &file);
    patch(&file, "llama.attention.head_count_kv", "llama.attention.head_count_KV", 29);
    CU_ASSERT(fails_with(&file, "attn_k.weight' is 64 × 32"));
    tg_buf_free(&file);
}

static void test_missing_files(void)
{
    tg_model *model = NULL;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_model_open("/nowhere/model.gguf", &err, &model), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nowhere/model.gguf"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_model_open("/tmp", &err, &model), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not a regular file"));
}

/* A model of one tensor in each of `count` parts, part `index` of it. */
static void make_part(tg_buf *ret, uint32_t index, uint32_t count, uint32_t tensors,
                      const char *name)
{
    static const char zeros[64];
    tg_buf_init(ret, 1 << 16);
    tg_buf_add_text(ret, "GGUF");
    tiny_u32(ret, 3);
    tiny_u64(ret, 1);
    tiny_u64(ret, 3);
    tiny_key_u32(ret, "split.no", index);
    tiny_key_u32(ret, "split.count", count);
    tiny_key_u32(ret, "split.tensors.count", tensors);
    tiny_str(ret, name);
    tiny_u32(ret, 1);
    tiny_u64(ret, 1);
    tiny_u32(ret, TG_DTYPE_F32);
    tiny_u64(ret, 0);
    tg_buf_add(ret, zeros, (32 - ret->len % 32) % 32);
    const float value = (float)index;
    tg_buf_add(ret, &value, sizeof(value));
}

static int parse_parts(const tg_buf *parts, size_t len, tg_error *err)
{
    tg_str slices[4] = {{NULL, 0}};
    tg_gguf *gguf = NULL;
    err->text[0] = '\0';
    for (size_t i = 0; i < len; i++)
        slices[i] = tg_buf_str(&parts[i]);
    int rc = tg_gguf_parse_parts(slices, len, err, &gguf);
    if (rc == 0) {
        CU_ASSERT_EQUAL(tg_gguf_part_count(gguf), len);
        CU_ASSERT_EQUAL(tg_gguf_tensor_count(gguf), len);
        for (size_t i = 0; i < len; i++) {
            const char name[] = {(char)('a' + i), '\0'};
            float value = -1;
            const tg_gguf_tensor *tensor = tg_gguf_tensor_find(gguf, name);
            CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
            memcpy(&value, tensor->data, sizeof(value));
            CU_ASSERT_EQUAL(value, (float)i);
        }
        tg_gguf_free(gguf);
    }
    return rc;
}

static void test_parts(void)
{
    tg_buf parts[3], other;
    tg_error err;
    for (uint32_t i = 0; i < 3; i++)
        make_part(&parts[i], i, 3, 3, (const char *[]){"a", "b", "c"}[i]);
    CU_ASSERT_EQUAL(parse_parts(parts, 3, &err), 0);
    CU_ASSERT_EQUAL(parse_parts(parts, 2, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "part 3 of 3 is missing"));
    CU_ASSERT_EQUAL(parse_parts(parts + 1, 2, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the file is part 2 of 3; give the first"));
    const struct {
        uint32_t index, count, tensors;
        const char *name, *words;
    } wrong[] = {
        {2, 3, 3, "b", "part 2 of 3: the file says that it is part 3 of 3: it is of another model"},
        {1, 4, 3, "b", "part 2 of 3: the file says that it is part 2 of 4: it is of another model"},
        {1, 3, 3, "a", "'a' appears twice"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        make_part(&other, wrong[i].index, wrong[i].count, wrong[i].tensors, wrong[i].name);
        const tg_buf mixed[] = {parts[0], other, parts[2]};
        CU_ASSERT_EQUAL(parse_parts(mixed, 3, &err), -EINVAL);
        if (!strstr(err.text, wrong[i].words))
            printf("# '%s' lacks '%s'\n", err.text, wrong[i].words);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, wrong[i].words));
        tg_buf_free(&other);
    }
    make_part(&other, 0, 3, 4, "a"); /* wants one more than there are */
    const tg_buf short_one[] = {other, parts[1], parts[2]};
    CU_ASSERT_EQUAL(parse_parts(short_one, 3, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(err.text, "the 3 parts hold 3 tensors; key 'split.tensors.count' says 4"));
    tg_buf_free(&other);
    make_part(&other, 0, 100000, 3, "a");
    CU_ASSERT_EQUAL(parse_parts(&other, 1, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'split.count' is 100000; 1 to 512 are allowed"));
    tg_buf_free(&other);
    for (size_t i = 0; i < 3; i++)
        tg_buf_free(&parts[i]);
}

static const tg_test tests[] = {{"good_file", test_good_file},
                                {"every_truncation_is_refused", test_every_truncation_is_refused},
                                {"damage", test_damage},
                                {"refusals_name_the_matter", test_refusals_name_the_matter},
                                {"missing_files", test_missing_files},
                                {"parts", test_parts}};
TG_TEST_MAIN("services_inference_model_gguf", tests)
