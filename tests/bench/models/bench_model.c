/* bench_model Q8_0|Q4_0|F16|Q4_K|Q6_K FILE: a llama of 1.24 billion random weights, for benches.
 *
 * The shape is that of the 1B models people run: 16 layers, width 2,048, 32 heads sharing 8 key
 * heads, inner width 8,192, a vocabulary of 128,256 with tied embeddings. Weights are uniform with
 * a deviation of 0.02, so activations stay in range; the same arguments give the same bytes. The
 * vocabulary is a SentencePiece one of byte tokens and made-up words.
 * Format: the "GGUF" specification in ggml's documentation, version 3. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAYERS = 16,
    WIDTH = 2048,
    INNER = 8192,
    HEADS = 32,
    KV_HEADS = 8,
    KV_WIDTH = WIDTH / HEADS * KV_HEADS,
    VOCAB = 128256,
    CONTEXT = 8192,
    ALIGNMENT = 32,
    BLOCK = 32,  /* weights in a quantised block */
    SUPER = 256, /* of a K type */
    TENSORS = 2 + 9 * LAYERS,
};

enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_ARRAY = 9 };
enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_Q4_K = 12, GGML_Q6_K = 14 };

typedef struct kind {
    const char *name;
    uint32_t type, file_type;
    size_t block_weights, block_bytes;
} kind;

static const kind KINDS[] = {
    {"Q8_0", GGML_Q8_0, 7, BLOCK, 34},
    {"Q4_0", GGML_Q4_0, 2, BLOCK, 18},
    {"F16", GGML_F16, 1, 1, 2},
    {"Q4_K", GGML_Q4_K, 15, SUPER, 144},
    {"Q6_K", GGML_Q6_K, 18, SUPER, 210},
};

typedef struct tensor {
    char name[64];
    uint64_t in, out; /* out 0: a vector of F32 */
} tensor;

static FILE *file;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static void put(const void *data, size_t len)
{
    if (fwrite(data, 1, len, file) != len) {
        perror("bench_model");
        exit(1);
    }
}

static void put_u32(uint32_t value) { put(&value, sizeof(value)); }
static void put_u64(uint64_t value) { put(&value, sizeof(value)); }

static void put_string(const char *text)
{
    put_u64(strlen(text));
    put(text, strlen(text));
}

static void put_key(const char *key, uint32_t type)
{
    put_string(key);
    put_u32(type);
}

static void put_key_u32(const char *key, uint32_t value)
{
    put_key(key, GGUF_U32);
    put_u32(value);
}

static void put_key_f32(const char *key, float value)
{
    put_key(key, GGUF_F32);
    put(&value, sizeof(value));
}

static void put_key_string(const char *key, const char *value)
{
    put_key(key, GGUF_STRING);
    put_string(value);
}

static void put_key_array(const char *key, uint32_t type)
{
    put_key(key, GGUF_ARRAY);
    put_u32(type);
    put_u64(VOCAB);
}

/* Ids 0 to 2 are <unk>, <s> and </s>, then a token for each byte, then words. */
static void put_vocabulary(void)
{
    static const char *const control[] = {"<unk>", "<s>", "</s>"};
    char text[32];
    put_key_string("tokenizer.ggml.model", "llama");
    put_key_array("tokenizer.ggml.tokens", GGUF_STRING);
    for (int i = 0; i < VOCAB; i++) {
        snprintf(text, sizeof(text), i < 259 ? "<0x%02X>" : "w%d", i < 259 ? i - 3 : i);
        put_string(i < 3 ? control[i] : text);
    }
    put_key_array("tokenizer.ggml.scores", GGUF_F32);
    for (int i = 0; i < VOCAB; i++) {
        float score = (float)-i;
        put(&score, sizeof(score));
    }
    put_key_array("tokenizer.ggml.token_type", GGUF_I32);
    for (int i = 0; i < VOCAB; i++)
        put_u32(i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1); /* unknown, control, byte, normal */
    put_key_u32("tokenizer.ggml.bos_token_id", 1);
    put_key_u32("tokenizer.ggml.eos_token_id", 2);
    put_key_u32("tokenizer.ggml.unknown_token_id", 0);
}

static void put_metadata(const kind *k)
{
    put("GGUF", 4);
    put_u32(3);
    put_u64(TENSORS);
    put_u64(18);
    put_key_string("general.architecture", "llama");
    put_key_string("general.name", "Random 1.24B");
    put_key_u32("general.file_type", k->file_type);
    put_key_u32("llama.block_count", LAYERS);
    put_key_u32("llama.context_length", CONTEXT);
    put_key_u32("llama.embedding_length", WIDTH);
    put_key_u32("llama.feed_forward_length", INNER);
    put_key_u32("llama.attention.head_count", HEADS);
    put_key_u32("llama.attention.head_count_kv", KV_HEADS);
    put_key_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_key_f32("llama.rope.freq_base", 500000.0f);
    put_vocabulary(); /* 7 keys */
}

static size_t list(tensor *out)
{
    static const struct {
        const char *name;
        uint64_t in, out;
    } parts[] = {
        {"attn_norm", WIDTH, 0},        {"attn_q", WIDTH, WIDTH},    {"attn_k", WIDTH, KV_WIDTH},
        {"attn_v", WIDTH, KV_WIDTH},    {"attn_output", WIDTH, WIDTH}, {"ffn_norm", WIDTH, 0},
        {"ffn_gate", WIDTH, INNER},     {"ffn_up", WIDTH, INNER},    {"ffn_down", INNER, WIDTH},
    };
    size_t n = 0;
    out[n++] = (tensor){"token_embd.weight", WIDTH, VOCAB};
    out[n++] = (tensor){"output_norm.weight", WIDTH, 0};
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++, n++) {
            snprintf(out[n].name, sizeof(out[n].name), "blk.%d.%s.weight", layer, parts[i].name);
            out[n].in = parts[i].in;
            out[n].out = parts[i].out;
        }
    return n;
}

static size_t size_of(const kind *k, const tensor *t)
{
    return t->out ? (size_t)(t->in * t->out) / k->block_weights * k->block_bytes
                  : t->in * sizeof(float);
}

static size_t padded(size_t size) { return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A half as its bits: either sign, a magnitude between 2^-7 and 2^-5, so a deviation near 0.02. */
static uint16_t random_half(uint64_t bits)
{
    const uint16_t exponent = (uint16_t)(8 + (bits >> 10 & 1));
    return (uint16_t)((bits & 1) << 15 | (uint64_t)exponent << 10 | (bits >> 1 & 0x1ff) << 1);
}

/* Halves by which a block's numbers, all of them as likely, get a deviation near 0.02 and, where
 * there is a minimum, a mean near 0. */
static void put_scales(const kind *k, uint8_t *block)
{
    static const uint16_t q8_d = 0x0c7c /* 2.74e-4 */, q4_d = 0x1c71 /* 4.34e-3 */,
                          q4_k_d = 0x0514 /* 7.75e-5 */;
    static const uint16_t q4_k_dmin = 0x10c3 /* 5.81e-4 */, q6_k_d = 0x00f5 /* 1.46e-5 */;
    switch (k->type) {
    case GGML_Q8_0:
        memcpy(block, &q8_d, sizeof(q8_d));
        for (size_t b = 2; b < k->block_bytes; b++)
            block[b] = block[b] == 0x80 ? 0x7f : block[b]; /* -128 is never written by quantisers */
        break;
    case GGML_Q4_0: memcpy(block, &q4_d, sizeof(q4_d)); break;
    case GGML_Q4_K:
        memcpy(block, &q4_k_d, sizeof(q4_k_d));
        memcpy(block + 2, &q4_k_dmin, sizeof(q4_k_dmin));
        break;
    case GGML_Q6_K: memcpy(block + 208, &q6_k_d, sizeof(q6_k_d)); break;
    }
}

static void fill(const kind *k, uint8_t *row, size_t row_bytes)
{
    for (size_t i = 0; i + 8 <= row_bytes; i += 8) {
        uint64_t bits = random_bits();
        if (k->type == GGML_F16)
            for (size_t h = 0; h < 4; h++) {
                uint16_t half = random_half(bits >> (16 * h));
                memcpy(row + i + 2 * h, &half, sizeof(half));
            }
        else
            memcpy(row + i, &bits, sizeof(bits));
    }
    for (size_t i = 0; k->block_weights > 1 && i < row_bytes; i += k->block_bytes)
        put_scales(k, row + i);
}

static void put_weights(const kind *k, const tensor *t)
{
    static const uint8_t zeros[ALIGNMENT];
    const size_t size = size_of(k, t), row_bytes = t->out ? size / t->out : size;
    uint8_t *row = malloc(row_bytes + 8);
    if (!row)
        exit(1);
    for (uint64_t r = 0; r < t->out; r++) {
        fill(k, row, row_bytes);
        put(row, row_bytes);
    }
    for (uint64_t i = 0; !t->out && i < t->in; i++) {
        const float one = 1.0f;
        put(&one, sizeof(one));
    }
    put(zeros, padded(size) - size);
    free(row);
}

int main(int argc, char **argv)
{
    static tensor tensors[TENSORS];
    const kind *k = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(argv[1], KINDS[i].name) == 0)
            k = &KINDS[i];
    if (!k) {
        fprintf(stderr, "usage: bench_model Q8_0|Q4_0|F16 FILE\n");
        return 2;
    }
    file = fopen(argv[2], "wb");
    if (!file) {
        perror(argv[2]);
        return 1;
    }
    const size_t count = list(tensors);
    size_t offset = 0;
    put_metadata(k);
    for (size_t i = 0; i < count; i++) {
        put_string(tensors[i].name);
        put_u32(tensors[i].out ? 2 : 1);
        put_u64(tensors[i].in);
        if (tensors[i].out)
            put_u64(tensors[i].out);
        put_u32(tensors[i].out ? k->type : GGML_F32);
        put_u64(offset);
        offset += padded(size_of(k, &tensors[i]));
    }
    const long at = ftell(file);
    static const uint8_t zeros[ALIGNMENT];
    put(zeros, padded((size_t)at) - (size_t)at);
    for (size_t i = 0; i < count; i++)
        put_weights(k, &tensors[i]);
    if (fclose(file) != 0) {
        perror(argv[2]);
        return 1;
    }
    return 0;
}
