/* The models that the stand-ins say they have. Without --models every name is answered. */
#ifndef PROVIDERS_MODELS_H
#define PROVIDERS_MODELS_H

#include "tests/providers/reply.h"

#define MODELS_BYTES_MAX 4096

int models_set(const char *names); /* comma-separated; 0 or -1: too long */
bool models_known(const char *name);
void models_openai(struct reply *reply);    /* GET /v1/models */
void models_anthropic(struct reply *reply); /* the same, with the header anthropic-version */

#endif
