/* Embeds texts: `test-embed MODEL THREADS BATCH [POOLING]`; texts from standard input, each a u32
 * length and its bytes, little-endian; per text its vector as float32 on standard output. */
#include "services/inference/embed/embed.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 64

int main(int argc, char **argv)
{
    tg_error err = {""};
    tg_embed *embed = NULL;
    if (argc != 4 && argc != 5)
        return 2;
    const tg_embed_conf conf = {.threads = (uint32_t)atoi(argv[2]),
                                .pooling = argc == 5 ? (tg_pooling)atoi(argv[4]) : TG_POOLING_AUTO};
    const size_t batch = (size_t)atoi(argv[3]) % (BATCH_MAX + 1);
    int rc = tg_embed_open(argv[1], &conf, &err, &embed);
    float *vectors =
        rc == 0 ? calloc(BATCH_MAX * (size_t)tg_embed_dims(embed), sizeof(float)) : NULL;
    for (bool more = rc == 0; more && rc == 0;) {
        tg_str texts[BATCH_MAX];
        size_t count = 0;
        uint32_t len;
        while (count < batch && (more = fread(&len, 4, 1, stdin) == 1)) {
            char *data = calloc((size_t)len + 1, 1);
            if (!data || fread(data, 1, len, stdin) != len)
                return 2;
            texts[count++] = (tg_str){data, len};
        }
        rc = tg_embed_run(embed, texts, count, &err, vectors, NULL, NULL);
        fwrite(vectors, sizeof(float) * tg_embed_dims(embed), count, stdout);
        while (count > 0)
            free((void *)(uintptr_t)texts[--count].data);
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    free(vectors);
    tg_embed_free(embed);
    return rc < 0;
}
