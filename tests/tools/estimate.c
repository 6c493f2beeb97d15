/* Guesses token counts as the router does, for comparison with a tokenizer's.
 *
 * Input, little-endian, until the end: u32 tokens that a text really is, u32 bytes, the text.
 * Output: for each text a line, the guess made before that report was learned from. */
#include "libs/tokenizer/estimate.h"

#include <stdio.h>
#include <stdlib.h>

static bool get(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

int main(void)
{
    tg_token_scale scale = {0};
    uint32_t tokens, len;
    while (get(&tokens, sizeof tokens) && get(&len, sizeof len)) {
        char *text = malloc((size_t)len + 1);
        if (!text || !get(text, len)) {
            free(text);
            return 1;
        }
        uint64_t units = tg_token_units((tg_str){text, len});
        printf("%llu\n", (unsigned long long)tg_token_estimate(&scale, units));
        tg_token_scale_learn(&scale, units, tokens);
        free(text);
    }
    return 0;
}
