/* Inference.Embed: texts to vectors with the model of `embedding_model_file`, encoder or decoder
 * (embed/embed.h).
 *
 * It runs on a thread of libuv's pool, one slice of a request at a time, and requests take turns,
 * so a large one does not hold up a small one. A client that leaves is noticed before its next
 * slice.
 *
 * Bounds: TG_EMBEDDER_INPUTS_MAX texts a request, none of more bytes than embed.h looks at, and no
 * more than fit into one answer; TG_EMBEDDER_REQUESTS_MAX requests at a time. Threads: the loop's.
 */
#ifndef TG_INFERENCE_SERVE_EMBED_H
#define TG_INFERENCE_SERVE_EMBED_H

#include "libs/metrics/metrics.h"
#include "libs/rpc/rpc.h"
#include "services/inference/embed/embed.h"

#define TG_EMBEDDER_INPUTS_MAX 2048  /* texts of one Embed request */
#define TG_EMBEDDER_REQUESTS_MAX 256 /* Embed requests at a time; past it RESOURCE_EXHAUSTED */

typedef struct tg_embedder tg_embedder;

/* Opens the model and the counters. `loop` and `metrics` must outlive it. -errno with a message. */
int tg_embedder_new(uv_loop_t *loop, tg_metrics *metrics, const char *model_file,
                    const tg_embed_conf *conf, tg_error *err, tg_embedder **ret);
/* After the calls have ended. NULL is a no-op; returns NULL. */
tg_embedder *tg_embedder_free(tg_embedder *embedder);

/* Answers one call. `embedder` NULL: there is no encoder, and the answer says what to configure. */
void tg_embedder_serve(tg_embedder *embedder, tg_rpc_call *call, const ProtobufCMessage *request);

#endif
