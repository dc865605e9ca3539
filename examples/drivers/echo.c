/*
 * The echo driver in C, as a dynamic library for the runtime `native_inproc`.
 *
 * A node loads it into a helper process and calls its one function for every invoke. Return 0 makes `out` the result;
 * any other value makes `err` the reason.
 *
 * Build it:   cc -shared -fPIC -Wall -Wextra -I ../../include -o libecho-c.so echo.c    (in a dist folder; in a checkout
 *             the header is in crates/driver-sdk/include)
 * Try it:     echo '{"message":"hello"}' | spiderweb-fs-node --internal-inproc-invoke --library-path ./libecho-c.so
 * Offer it:   spiderweb-fs-node --service-manifest echo-c.json                          (in this folder)
 * Use it:     spiderweb invoke echo-c '{"message":"hello"}'
 */
#include <string.h>

#include "spiderweb_driver_v1.h"

/* Appends to a buffer of the host; 0 when it does not fit. */
static int append(uint8_t *buffer, size_t capacity, size_t *length, const void *bytes, size_t count) {
    if (count > capacity - *length) return 0;
    if (count > 0) memcpy(buffer + *length, bytes, count);
    *length += count;
    return 1;
}

static int fail(int code, const char *message, uint8_t *err, size_t err_cap, size_t *err_len) {
    *err_len = 0;
    append(err, err_cap, err_len, message, strlen(message));
    return code;
}

int spiderweb_driver_v1_invoke_json(
    const uint8_t *payload, size_t payload_len,
    uint8_t *out, size_t out_cap, size_t *out_len,
    uint8_t *err, size_t err_cap, size_t *err_len) {
    static const char start[] = "{\"ok\":true,\"driver\":\"echo.c\",\"echo\":";

    *out_len = 0;
    *err_len = 0;
    if (payload_len == 0 || payload[0] != '{') {
        return fail(2, "invoke payload must be a JSON object", err, err_cap, err_len);
    }
    if (!append(out, out_cap, out_len, start, sizeof start - 1) ||
        !append(out, out_cap, out_len, payload, payload_len) ||
        !append(out, out_cap, out_len, "}", 1)) {
        *out_len = 0;
        return fail(3, "output buffer too small", err, err_cap, err_len);
    }
    return 0;
}
