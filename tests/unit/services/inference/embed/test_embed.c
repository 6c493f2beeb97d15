/* The loader of encoders names what is wrong with a file; every type of weights computes what the
 * same weights in F32 do. */
#include "services/inference/embed/embed.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_bert.h"

#include <errno.h>
#include <math.h>

static const tg_str texts[] = {
    {"a toll gate", 11}, {"", 0}, {"zebra x", 7}, {"the road is closed", 18}};
enum { TEXTS = sizeof(texts) / sizeof(texts[0]) };

static int open_bert(const bert_conf *conf, const tg_embed_conf *how, tg_buf *file, tg_error *err,
                     tg_embed **ret)
{
    tiny_bert(conf, file);
    return tg_embed_parse((const uint8_t *)file->data, file->len, how, err, ret);
}

static void run_bert(const bert_conf *conf, uint32_t threads, tg_pooling pooling,
                     float *ret_vectors)
{
    tg_embed *e = NULL;
    tg_buf file;
    tg_error err = {""};
    uint32_t tokens[TEXTS];
    CU_ASSERT_EQUAL_FATAL(
        open_bert(conf, &(tg_embed_conf){.threads = threads, .pooling = pooling}, &file, &err, &e),
        0);
    CU_ASSERT(tg_embed_dims(e) == BERT_WIDTH && tg_embed_context(e) == BERT_CONTEXT);
    CU_ASSERT_EQUAL(tg_embed_run(e, texts, TEXTS, &err, ret_vectors, tokens, NULL), 0);
    /* a token each letter, [CLS] and [SEP] */
    CU_ASSERT(tokens[0] == 9 + 2 && tokens[1] == 2 && tokens[2] == 6 + 2);
    tg_embed_free(e);
    tg_buf_free(&file);
}

static double cosine(const float *a, const float *b)
{
    double sum = 0;
    for (uint32_t i = 0; i < BERT_WIDTH; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void test_types_of_weights(void)
{
    static const tg_dtype types[] = {TG_DTYPE_F32,  TG_DTYPE_F16,  TG_DTYPE_BF16, TG_DTYPE_Q8_0,
                                     TG_DTYPE_Q4_0, TG_DTYPE_Q4_1, TG_DTYPE_Q5_0, TG_DTYPE_Q5_1,
                                     TG_DTYPE_Q4_K, TG_DTYPE_Q5_K, TG_DTYPE_Q6_K};
    static float want[TEXTS * BERT_WIDTH], got[TEXTS * BERT_WIDTH], again[TEXTS * BERT_WIDTH];
    /* F32 and Q4_K */
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i += TG_TEST_RACES ? 8 : 1) {
        const tg_dtype_info *info = tg_dtype_get(types[i]);
        run_bert(&(bert_conf){.type = types[i], .as_f32 = true}, 2, TG_POOLING_AUTO, want);
        run_bert(&(bert_conf){.type = types[i]}, 2, TG_POOLING_AUTO, got);
        run_bert(&(bert_conf){.type = types[i]}, 1, TG_POOLING_MEAN, again);
        CU_ASSERT_EQUAL(memcmp(got, again, sizeof(got)), 0);
        for (size_t t = 0; t < TEXTS; t++) {
            /* activations are rounded to int8 */
            const double least = info->block_len > 1 ? 0.999 : 0.9999999;
            const double is = cosine(want + t * BERT_WIDTH, got + t * BERT_WIDTH);
            if (is < least)
                printf("# %s, text %zu: a cosine of %.8f\n", info->name, t, is);
            CU_ASSERT(is >= least);
        }
        CU_ASSERT(cosine(got, got + BERT_WIDTH) < 0.999); /* texts can be told apart */
    }
}

static void test_poolings(void)
{
    static float by[4][TEXTS * BERT_WIDTH];
    for (tg_pooling p = TG_POOLING_MEAN; p <= TG_POOLING_LAST; p++)
        run_bert(&(bert_conf){.type = TG_DTYPE_F32}, 1, p, by[p]);
    for (tg_pooling p = TG_POOLING_FIRST; p <= TG_POOLING_LAST; p++)
        CU_ASSERT(cosine(by[p - 1], by[p]) < 0.99999);
    run_bert(
        &(bert_conf){.type = TG_DTYPE_F32, .key = "bert.pooling_type", .value = TG_POOLING_LAST}, 1,
        TG_POOLING_AUTO, by[0]);
    CU_ASSERT_EQUAL(memcmp(by[0], by[TG_POOLING_LAST], sizeof(by[0])), 0);
}

static void check_refused(const bert_conf *conf, const char *words)
{
    tg_embed *e = NULL;
    tg_buf file;
    tg_error err = {""};
    CU_ASSERT_EQUAL(open_bert(conf, &(tg_embed_conf){.threads = 1}, &file, &err, &e), -EINVAL);
    if (!strstr(err.text, words))
        printf("# '%s' lacks '%s'\n", err.text, words);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, words));
    tg_embed_free(e);
    tg_buf_free(&file);
}

/* Every tensor that a file needs, missing and of a wrong shape. */
static void test_tensors_are_named(void)
{
    static const char *const ends[] = {"token_embd.weight", "position_embd.weight",
                                       "token_types.weight", "token_embd_norm.weight",
                                       "token_embd_norm.bias"};
    for (size_t i = 0; i < 5 + BERT_LAYERS * BERT_PARTS; i += TG_TEST_RACES ? 12 : 1) {
        char name[64], words[128];
        const size_t part = i < 5 ? 0 : (i - 5) % BERT_PARTS;
        if (i < 5)
            snprintf(name, sizeof(name), "%s", ends[i]);
        else
            snprintf(name, sizeof(name), "blk.%zu.%s", (i - 5) / BERT_PARTS, bert_parts[part].name);
        snprintf(words, sizeof(words), "tensor '%s' is missing", name);
        if (part < BERT_PARTS - BERT_OPTIONAL)
            check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0, .drop = name}, words);
        snprintf(words, sizeof(words), "tensor '%s' is %u × ", name,
                 256 + (i < 5 ? BERT_WIDTH : bert_parts[part].in));
        check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0, .bend = name}, words);
    }
    check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0, .half = "blk.1.attn_output_norm.bias"},
                  "tensor 'blk.1.attn_output_norm.bias' is not F32");
}

static void test_strangers_are_named(void)
{
    static const char *const strangers[] = {"cls.weight", "blk.2.attn_q.bias",
                                            "blk.0.ffn_gate.weight", "blk.1.attn_q"};
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        char words[128];
        snprintf(words, sizeof(words), "tensor '%s' is not part of the bert architecture",
                 strangers[i]);
        check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0, .more = strangers[i]}, words);
    }
}

/* What would not fit is refused with the sum, before anything is loaded. */
static void test_memory(void)
{
    const bert_conf conf = {.type = TG_DTYPE_F32};
    tg_embed *e = NULL;
    tg_error err = {""};
    tg_buf file;
    tiny_bert(&conf, &file);
    tg_embed_conf limited = {.threads = 1, .memory_limit_bytes = 1000000};
    CU_ASSERT_EQUAL(tg_embed_parse((const uint8_t *)file.data, file.len, &limited, &err, &e),
                    -ENOMEM);
    CU_ASSERT_PTR_NULL(e);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the encoder needs "));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the configured limit leaves 1 MB"));
    limited.memory_limit_bytes = 64000000;
    CU_ASSERT_EQUAL(tg_embed_parse((const uint8_t *)file.data, file.len, &limited, &err, &e), 0);
    tg_embed_free(e);
    tg_buf_free(&file);
}

static void test_keys_are_named(void)
{
    static const struct {
        const char *key;
        uint32_t value;
        const char *words;
    } numbers[] = {{"bert.embedding_length", 0, "'bert.embedding_length' is 0; 1 to 16384"},
                   {"bert.embedding_length", 20000, "'bert.embedding_length' is 20000; 1 to 16384"},
                   {"bert.feed_forward_length", 0, "'bert.feed_forward_length' is 0"},
                   {"bert.block_count", 129, "'bert.block_count' is 129; 1 to 128"},
                   {"bert.block_count", 4000000000u, "'bert.block_count' is 4000000000; 1 to 128"},
                   {"bert.block_count", 3, "tensor 'blk.2.attn_q.weight' is missing"},
                   {"bert.context_length", 8193, "'bert.context_length' is 8193; 1 to 8192"},
                   {"bert.context_length", 41,
                    "tensor 'position_embd.weight' is 256 × 40; 256 × 41 is needed"},
                   {"bert.attention.head_count", 3, "width 256 in 3 heads"},
                   {"bert.attention.head_count", 32, "width 256 in 32 heads"},
                   {"bert.feed_forward_length", 500, "a feed-forward width of 500"},
                   {"bert.pooling_type", 4, "pooling type 4 is not supported"},
                   {"tokens", 2, "the vocabulary has 59 tokens, but the embedding has 57 rows"}};
    static const char *const needed[] = {"general.architecture",      "bert.embedding_length",
                                         "bert.feed_forward_length",  "bert.block_count",
                                         "bert.attention.head_count", "bert.context_length"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i += TG_TEST_RACES ? 6 : 1)
        check_refused(
            &(bert_conf){.type = TG_DTYPE_Q4_0, .key = numbers[i].key, .value = numbers[i].value},
            numbers[i].words);
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i += TG_TEST_RACES ? 6 : 1) {
        char words[128];
        snprintf(words, sizeof(words), "key '%s' is missing", needed[i]);
        check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0, .drop = needed[i]}, words);
    }
    check_refused(
        &(bert_conf){.type = TG_DTYPE_Q4_0, .text_key = "tokenizer.ggml.model", .text = "gpt2"},
        "tokenizer must be bert");
    check_refused(&(bert_conf){.type = TG_DTYPE_Q4_0,
                               .text_key = "general.architecture",
                               .text = "nomic-bert"},
                  "'nomic-bert' is not supported");
}

static void test_texts_past_the_context(void)
{
    tg_embed *e = NULL;
    tg_buf file;
    tg_error err = {""};
    static float vectors[3 * BERT_WIDTH];
    static const char most[] = "abcdefghijklmnopqrstuvwxyzabcdefghijkl",
                      more[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklm";
    const tg_str given[] = {TG_STR("a"), TG_STR(most), TG_STR(more)};
    size_t failed = 0;
    CU_ASSERT_EQUAL_FATAL(open_bert(&(bert_conf){.type = TG_DTYPE_Q8_0},
                                    &(tg_embed_conf){.threads = 1}, &file, &err, &e),
                          0);
    CU_ASSERT_EQUAL(tg_embed_run(e, given, 2, &err, vectors, NULL, &failed), 0);
    CU_ASSERT_EQUAL(tg_embed_run(e, given, 3, &err, vectors, NULL, &failed), -EMSGSIZE);
    CU_ASSERT(failed == 2 && strcmp(err.text, "a text of 41 tokens; the model takes 40") == 0);
    /* Further past it tokens are not counted to their end, and further still not at all. */
    enum { BYTES = 40 * TG_EMBED_TOKEN_BYTES_MAX };
    static char words[BYTES + 1];
    const tg_str many = {words, 2 * 200}, full = {words, BYTES}, over = {words, BYTES + 1};
    for (size_t i = 0; i < sizeof(words); i++)
        words[i] = i % 2 ? ' ' : 'a';
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_embed_run(e, &many, 1, &err, vectors, NULL, &failed), -EMSGSIZE);
    CU_ASSERT_STRING_EQUAL(err.text, "a text of more than 160 tokens; the model takes 40");
    CU_ASSERT_EQUAL(tg_embed_check(e, full, NULL), 0);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_embed_run(e, &over, 1, &err, vectors, NULL, &failed), -EMSGSIZE);
    CU_ASSERT_STRING_EQUAL(err.text, "a text of 20481 bytes; the model takes 40 tokens, and texts "
                                     "of at most 20480 bytes are looked at");
    /* Spaces are no tokens, however many: as long as it is looked at, such a text is as good as
     * any. */
    memset(words + 1, ' ', BYTES - 1);
    CU_ASSERT_EQUAL(tg_embed_run(e, &full, 1, &err, vectors, NULL, &failed), 0);
    tg_embed_free(e);
    tg_buf_free(&file);
}

static const tg_test tests[] = {{"every_type_of_weights", test_types_of_weights},
                                {"poolings", test_poolings},
                                {"tensors_are_named", test_tensors_are_named},
                                {"strangers_are_named", test_strangers_are_named},
                                {"memory", test_memory},
                                {"keys_are_named", test_keys_are_named},
                                {"texts_past_the_context", test_texts_past_the_context}};
TG_TEST_MAIN("services_inference_embed_embed", tests)
