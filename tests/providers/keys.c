#include "tests/providers/keys.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

static struct {
    enum dialect dialect;
    char key[256], secret[256];
} keys[KEYS_MAX];
static size_t key_count;

static bool same(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}

int keys_add(enum dialect dialect, const char *key, const char *secret)
{
    if (key_count == KEYS_MAX || strlen(key) >= sizeof keys->key ||
        strlen(secret) >= sizeof keys->secret)
        return -1;
    keys[key_count].dialect = dialect;
    snprintf(keys[key_count].key, sizeof keys->key, "%s", key);
    snprintf(keys[key_count++].secret, sizeof keys->secret, "%s", secret);
    return 0;
}

int keys_read(const char *path)
{
    char line[600], kind[16], key[256], secret[256];
    int err = 0;
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        return -1;
    }
    for (int number = 1; err == 0 && fgets(line, sizeof line, file); number++) {
        int words = sscanf(line, "%15s %255s %255s", kind, key, secret);
        if (words <= 0 || kind[0] == '#')
            continue;
        if (words == 2 && strcmp(kind, "openai") == 0)
            err = keys_add(OPENAI, key, "");
        else if (words == 2 && strcmp(kind, "anthropic") == 0)
            err = keys_add(ANTHROPIC, key, "");
        else if (words == 3 && strcmp(kind, "aws") == 0)
            err = keys_add(BEDROCK, key, secret);
        else
            err = -1;
        if (err < 0)
            fprintf(stderr, "%s:%d: openai KEY, anthropic KEY or aws ACCESS SECRET; at most %d\n",
                    path, number, KEYS_MAX);
    }
    fclose(file);
    return err;
}

bool keys_any(enum dialect dialect)
{
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].dialect == dialect)
            return true;
    return false;
}

bool keys_accept(enum dialect dialect, const char *key)
{
    bool known = !keys_any(dialect);
    for (size_t i = 0; i < key_count; i++)
        known |= keys[i].dialect == dialect && same(keys[i].key, key);
    return known;
}

const char *keys_secret(const char *access_key)
{
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].dialect == BEDROCK && same(keys[i].key, access_key))
            return keys[i].secret;
    return NULL;
}

void keys_fingerprint(const char *key, char *ret, size_t size)
{
    char hex[13] = "";
    if (key && *key)
        sha256_hex(key, strlen(key), hex, 12);
    snprintf(ret, size, "%s", hex);
}
