/* Compiled constraints of one vocabulary, the latest used of them kept: requests of one kind come
 * again and again.
 *
 * The tree of the vocabulary is made when the first constraint is asked for. Constraints grow while
 * they are used (constraint.h), so their bytes are counted anew at every lookup; those that go are
 * freed when no sequence has them any more. Threads: any; one compiles at a time, and who looks
 * up what is kept does not wait for it. */
#ifndef TG_INFERENCE_CONSTRAIN_CACHE_H
#define TG_INFERENCE_CONSTRAIN_CACHE_H

#include "services/inference/constrain/constraint.h"

/* compiled constraints kept; then the one unused for longest goes */
#define TG_CONSTRAINT_CACHE_MAX 64
/* of the constraints kept, but for the latest; as above */
#define TG_CONSTRAINT_CACHE_BYTES_MAX (48u << 20)

typedef struct tg_constraint_cache tg_constraint_cache;

int tg_constraint_cache_new(const tg_tokenizer *tokenizer, size_t bytes_max,
                            tg_constraint_cache **ret); /* 0 or -ENOMEM */
/* when no state is left */
tg_constraint_cache *tg_constraint_cache_free(tg_constraint_cache *cache);

/* The constraint if it is kept, the caller's to release; NULL otherwise. */
tg_constraint *tg_constraint_cache_find(tg_constraint_cache *cache, const tg_constraint_spec *spec);

/* The same, compiled if it is not kept, which can take half a second. Errors as
 * tg_constraint_compile's. */
int tg_constraint_cache_get(tg_constraint_cache *cache, const tg_constraint_spec *spec,
                            tg_error *err, tg_constraint **ret);

#endif
