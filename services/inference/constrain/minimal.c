/* Fewer states for the same texts (Moore's refinement): what is built of an automaton repeats each
 * of its states. */
#include "services/inference/constrain/dfa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whether two states of one block lead into the same blocks. */
static bool alike(const tg_dfa *dfa, const uint16_t *block, uint32_t a, uint32_t b)
{
    for (uint32_t c = 0; c < dfa->classes; c++)
        if (block[dfa->next[(size_t)a * dfa->classes + c]] !=
            block[dfa->next[(size_t)b * dfa->classes + c]])
            return false;
    return block[a] == block[b];
}

/* Blocks anew, numbered by their first state; `firsts` has room for all states. Returns how
 * many. */
static uint32_t refine(const tg_dfa *dfa, const uint16_t *block, uint16_t *finer, uint16_t *firsts)
{
    uint32_t blocks = 0;
    for (uint32_t s = 0; s < dfa->states; s++) {
        uint32_t b = 0;
        while (b < blocks && !alike(dfa, block, firsts[b], s))
            b++;
        if (b == blocks)
            firsts[blocks++] = (uint16_t)s;
        finer[s] = (uint16_t)b;
    }
    return blocks;
}

int tg_dfa_minimise(tg_dfa *dfa)
{
    const uint32_t states = dfa->states;
    if (states > TG_DFA_MINIMISE_MAX)
        return 0;
    uint16_t *room = calloc(3 * (size_t)states, sizeof(*room)), *block = room,
             *finer = room + states, *firsts = room + 2 * (size_t)states;
    uint32_t blocks = 0, before = 0;
    if (!room)
        return -ENOMEM;
    for (uint32_t s = 1; s < states; s++)
        block[s] = dfa->accepts[s] ? 2 : 1;
    do {
        before = blocks;
        blocks = refine(dfa, block, finer, firsts);
        memcpy(block, finer, states * sizeof(*block));
    } while (blocks > before);
    for (uint32_t b = 0; b < blocks; b++) { /* a block's number is never above its first state's */
        for (uint32_t c = 0; c < dfa->classes; c++)
            dfa->next[(size_t)b * dfa->classes + c] =
                block[dfa->next[(size_t)firsts[b] * dfa->classes + c]];
        dfa->accepts[b] = dfa->accepts[firsts[b]];
    }
    dfa->states = blocks;
    free(room);
    return 0;
}
