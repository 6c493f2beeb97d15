/* Any bytes as the file of a model for embeddings: refused with words, or it makes vectors of two
 * texts, of length 1 or of what is not a number where weights are not. Files that ask for much
 * memory are not run. */
#include "services/inference/embed/embed.h"
#include "services/inference/model/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NUMBERS_MAX (1u << 20) /* context × widest layer */

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_small(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"bert.context_length", "bert.embedding_length",
                                       "bert.feed_forward_length"};
    uint32_t value[3] = {0, 0, 0};
    tg_str arch = {NULL, 0};
    tg_gguf *gguf = NULL;
    if (tg_gguf_parse(data, size, NULL, &gguf) < 0)
        return true; /* refused at once */
    for (size_t i = 0; i < 3; i++)
        tg_gguf_u32(gguf, keys[i], NULL, &value[i]);
    const bool encoder =
        tg_gguf_str(gguf, "general.architecture", NULL, &arch) == 0 && tg_str_is(arch, "bert");
    tg_gguf_free(gguf);
    const uint32_t widest = value[1] > value[2] ? value[1] : value[2];
    return encoder && (uint64_t)value[0] * widest <= NUMBERS_MAX;
}

static void use(tg_embed *e)
{
    const tg_str texts[] = {TG_STR("a b"), TG_STR("")};
    float *vectors = calloc(2 * (size_t)tg_embed_dims(e), sizeof(*vectors));
    tg_error err = {""};
    require(vectors != NULL);
    int rc = tg_embed_run(e, texts, 2, &err, vectors, NULL, NULL);
    require(rc == 0 || err.text[0] != '\0');
    for (int t = 0; t < 2 && rc == 0; t++) {
        double squares = 0;
        for (uint32_t i = 0; i < tg_embed_dims(e); i++)
            squares += (double)vectors[(size_t)t * tg_embed_dims(e) + i] *
                       (double)vectors[(size_t)t * tg_embed_dims(e) + i];
        require(!(squares > 1.001));
    }
    free(vectors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tg_embed_conf conf = {.threads = 1};
    tg_error err = {""};
    tg_embed *e = NULL;
    uint8_t *copy = malloc(size + 1); /* aligned */
    if (!copy)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    if (is_small(copy, size)) {
        int rc = tg_embed_parse(copy, size, &conf, &err, &e);
        require(rc == 0 || err.text[0] != '\0');
        if (e)
            use(e);
    }
    tg_embed_free(e);
    free(copy);
    return 0;
}
