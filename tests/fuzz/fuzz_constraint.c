/* Regular expressions of any bytes: refused with a message, or an automaton from which every state can be finished, for the plain
 * text and for the text in a JSON string. */
#include "services/inference/constrain/dfa.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check(const tg_regex *regex)
{
    tg_error err = {""};
    tg_dfa *dfa = NULL;
    const int rc = tg_dfa_from_regex(regex, &err, &dfa);
    require(rc == 0 || err.text[0] != '\0');
    if (rc < 0)
        return;
    require(dfa->states > TG_DFA_START && dfa->states <= TG_DFA_STATES_MAX);
    for (size_t i = 0; i < (size_t)dfa->states * dfa->classes; i++)
        require(dfa->next[i] < dfa->states);
    for (uint32_t c = 0; c < dfa->classes; c++)
        require(dfa->next[c] == TG_DFA_DEAD);
    tg_dfa_free(dfa);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_arena arena;
    tg_error err = {""};
    const tg_regex *regex = NULL;
    if (size > 200) /* long counts take long, and say nothing new */
        return 0;
    tg_arena_init(&arena, 0);
    const int rc = tg_regex_parse((tg_str){(const char *)data, size}, size % 2 == 0, &arena, &err, &regex);
    require(rc == 0 || err.text[0] != '\0');
    if (rc == 0) {
        check(regex);
        check(tg_regex_in_json(&arena, regex));
    }
    tg_arena_free(&arena);
    return 0;
}
