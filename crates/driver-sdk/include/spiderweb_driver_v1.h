/*
 * The C ABI of in-process drivers, version 1 (`namespace-driver-v1`).
 *
 * A dynamic library that exports this one function is a driver of the runtime `native_inproc`. A node loads it into a
 * helper process, never into itself, and calls it once for every invoke.
 */
#ifndef SPIDERWEB_DRIVER_V1_H
#define SPIDERWEB_DRIVER_V1_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SPIDERWEB_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define SPIDERWEB_EXPORT __attribute__((visibility("default")))
#else
#define SPIDERWEB_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Answers one invoke.
 *
 * payload, payload_len  the JSON object, without white space around it and without a NUL at its end; the length may be
 *                       0 when the driver is tried by hand
 * out, out_cap          room for the result, 1 MiB; *out_len is 0 before the call and the length of the result after it
 * err, err_cap          the same for a message, one line that says why the invoke failed
 *
 * Returns 0 for success, and otherwise the exit code that the service shows; values below 0 or above 255 count as 255.
 * A length above its capacity is an error of the driver. What the library itself prints ends up in the result.
 */
SPIDERWEB_EXPORT int spiderweb_driver_v1_invoke_json(
    const uint8_t *payload, size_t payload_len,
    uint8_t *out, size_t out_cap, size_t *out_len,
    uint8_t *err, size_t err_cap, size_t *err_len);

#ifdef __cplusplus
}
#endif

#endif
