#include "services/inference/constrain/trie.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <string.h>

enum { WORDS = 400 };

/* Every token is found by its bytes, those of the same bytes together, control tokens not at all;
 * skips lead past subtrees. */
static void test_finds_every_token(void)
{
    uint64_t random = tg_test_seed();
    char bytes[WORDS][12];
    tg_str texts[WORDS];
    int32_t types[WORDS];
    tg_tokenizer *tokenizer = NULL;
    tg_vocab_trie *trie = NULL;
    for (uint32_t i = 0; i < WORDS; i++) { /* few letters: many share beginnings, some are equal */
        const size_t len = tiny_random(&random) % 8;
        for (size_t k = 0; k < len; k++)
            bytes[i][k] = "abc"[tiny_random(&random) % 3];
        texts[i] = (tg_str){bytes[i], len};
        types[i] = i % 50 == 7 ? TG_TOKEN_CONTROL : TG_TOKEN_NORMAL;
    }
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_BPE,
                                    .tokens = texts,
                                    .types = types,
                                    .tokens_len = WORDS,
                                    .bos = TG_TOKEN_NONE,
                                    .eos = TG_TOKEN_NONE,
                                    .unk = TG_TOKEN_NONE};
    tg_error err = {""};
    if (tg_tokenizer_new(&conf, &err, &tokenizer) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    CU_ASSERT_EQUAL_FATAL(tg_vocab_trie_new(tokenizer, &trie), 0);
    for (uint32_t id = 0; id < WORDS; id++) {
        const tg_str piece = tg_tokenizer_piece(tokenizer, id);
        uint32_t at = 0;
        for (size_t k = 0; k < piece.len && at != UINT32_MAX; k++) {
            uint32_t child = at + 1;
            while (child < trie->nodes[at].skip &&
                   trie->nodes[child].byte != (uint8_t)piece.data[k])
                child = trie->nodes[child].skip;
            at = child < trie->nodes[at].skip && trie->nodes[child].depth == k + 1 ? child
                                                                                   : UINT32_MAX;
        }
        bool found = false;
        for (uint32_t k = at == UINT32_MAX ? 0 : trie->nodes[at].first;
             at != UINT32_MAX && k < trie->nodes[at + 1].first; k++)
            found |= trie->order[k] == id;
        CU_ASSERT_EQUAL(found, piece.len > 0 && !tg_tokenizer_is_control(tokenizer, id));
    }
    tg_vocab_trie_free(trie);
    tg_tokenizer_free(tokenizer);
}

static const tg_test tests[] = {{"finds_every_token", test_finds_every_token}};
TG_TEST_MAIN("services_inference_constrain_trie", tests)
