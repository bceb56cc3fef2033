/* One decoding step's attention of one layer, for CPUs: each reply's new token against the keys that its slot holds.
 *
 * The step is short of memory bandwidth and of nothing else, so keys and values are read once, where they lie; as torch
 * operations it is ten calls a layer, and batched products of three rows that reach a third of the bandwidth
 * (docs/performance.md). sodate.generate.cache computes the same without this module.
 *
 *     attend(query (H, n, D), key (K, n, D), value (K, n, D), keys (slots, K, length, D), values (slots, K, length, D),
 *            held (n,) int64, out (n, H, D), scale, window)
 *
 * Puts key and value at the last of each reply's `held` tokens, then writes softmax(scale · q kᵀ) v of the last `window`
 * tokens (all, if 0). Arrays are float32; keys, values and out lie densely. H / K query heads share a key head.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"
#include "_vector.h"

/* Tokens taken at once: each query or output row is then loaded a quarter as often. And how far ahead memory is asked
 * for: the processor's own guesses end with every page. */
enum { BLOCK = 4, AHEAD = 16 };

#if defined(__GNUC__)
#define SOON(address) __builtin_prefetch(address)
#else
#define SOON(address)
#endif

/* One slot and key head. query and out are (group, dim); tokens are rows [from, to) of keys and values.
 * `room` holds group * (dim + to - from) floats. */
FOR_EVERY_CPU
static void one_head(const float *query, Py_ssize_t query_row, Py_ssize_t query_column, const float *keys,
                     const float *values, float *out, float *room, Py_ssize_t group, Py_ssize_t dim, Py_ssize_t from,
                     Py_ssize_t to, float scale)
{
    const Py_ssize_t count = to - from, whole = count - count % BLOCK;
    float *scaled = room, *weights = room + group * dim;

    keys += from * dim;
    values += from * dim;
    for (Py_ssize_t h = 0; h < group; h++)
        for (Py_ssize_t d = 0; d < dim; d++)
            scaled[h * dim + d] = scale * query[h * query_row + d * query_column];
    for (Py_ssize_t t = 0; t < count; t += t < whole ? BLOCK : 1) {
        const float *k = keys + t * dim;
        for (Py_ssize_t d = 0; d < BLOCK * dim; d += 16)
            SOON(k + AHEAD * dim + d);
        for (Py_ssize_t h = 0; h < group; h++) {
            const float *row = scaled + h * dim;
            float *w = weights + h * count + t, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            if (t < whole) {
                for (Py_ssize_t d = 0; d < dim; d++) {
                    s0 += row[d] * k[d];
                    s1 += row[d] * k[dim + d];
                    s2 += row[d] * k[2 * dim + d];
                    s3 += row[d] * k[3 * dim + d];
                }
                w[0] = s0, w[1] = s1, w[2] = s2, w[3] = s3;
            } else {
                for (Py_ssize_t d = 0; d < dim; d++)
                    s0 += row[d] * k[d];
                w[0] = s0;
            }
        }
    }
    for (Py_ssize_t h = 0; h < group; h++) {
        float *row = weights + h * count, highest = row[0], sum = 0;
        for (Py_ssize_t t = 0; t < count; t++)
            highest = row[t] > highest ? row[t] : highest;
        for (Py_ssize_t t = 0; t < count; t++) {
            const float score = row[t];
            row[t] = is_nan(score) ? score : exponential(score - highest);
            sum += row[t];
        }
        for (Py_ssize_t t = 0; t < count; t++)
            row[t] /= sum;
    }
    memset(out, 0, group * dim * sizeof(float));
    for (Py_ssize_t t = 0; t < count; t += t < whole ? BLOCK : 1) {
        const float *v = values + t * dim;
        for (Py_ssize_t d = 0; d < BLOCK * dim; d += 16)
            SOON(v + AHEAD * dim + d);
        for (Py_ssize_t h = 0; h < group; h++) {
            const float *w = weights + h * count + t;
            float *row = out + h * dim;
            if (t < whole) {
                for (Py_ssize_t d = 0; d < dim; d++)
                    row[d] += w[0] * v[d] + w[1] * v[dim + d] + w[2] * v[2 * dim + d] + w[3] * v[3 * dim + d];
            } else {
                for (Py_ssize_t d = 0; d < dim; d++)
                    row[d] += w[0] * v[d];
            }
        }
    }
}

enum { QUERY, KEY, VALUE, KEYS, VALUES, HELD, OUT, ARRAYS };
static const int DIMENSIONS[ARRAYS] = {3, 3, 3, 4, 4, 1, 3};
static const char *const NAMES[ARRAYS] = {"query", "key", "value", "keys", "values", "held", "out"};

/* Whether the arrays fit together; sets ValueError otherwise. */
static int fits(const Py_buffer *a, Py_ssize_t window)
{
    for (int i = 0; i < ARRAYS; i++) {
        const char kind = i == HELD ? 'l' : 'f';
        if (a[i].ndim != DIMENSIONS[i] || a[i].format == NULL || a[i].format[0] != kind ||
            a[i].itemsize != (i == HELD ? 8 : 4)) {
            PyErr_Format(PyExc_ValueError, "%s has another type or number of dimensions", NAMES[i]);
            return 0;
        }
        if (i >= KEYS && !PyBuffer_IsContiguous(&a[i], 'C')) {
            PyErr_Format(PyExc_ValueError, "%s does not lie densely", NAMES[i]);
            return 0;
        }
    }
    const Py_ssize_t *q = a[QUERY].shape, *k = a[KEY].shape, *v = a[VALUE].shape, *c = a[KEYS].shape;
    const Py_ssize_t *d = a[VALUES].shape, *o = a[OUT].shape, n = q[1], dim = q[2];
    const int same = k[0] > 0 && q[0] % k[0] == 0 && k[1] == n && k[2] == dim && v[0] == k[0] && v[1] == n &&
                     v[2] == dim && c[0] >= n && c[1] == k[0] && c[3] == dim && d[0] == c[0] && d[1] == c[1] &&
                     d[2] == c[2] && d[3] == dim && a[HELD].shape[0] == n && o[0] == n && o[1] == q[0] && o[2] == dim;
    if (!same || window < 0) {
        PyErr_SetString(PyExc_ValueError, "the shapes don't fit together");
        return 0;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (((const int64_t *)a[HELD].buf)[i] < 1 || ((const int64_t *)a[HELD].buf)[i] > c[2]) {
            PyErr_SetString(PyExc_ValueError, "a slot holds no tokens, or more than it has room for");
            return 0;
        }
    return 1;
}

/* Whether there was memory enough. */
static int step(const Py_buffer *a, float scale, Py_ssize_t window)
{
    const Py_ssize_t slots = a[QUERY].shape[1], heads = a[KEY].shape[0], dim = a[QUERY].shape[2];
    const Py_ssize_t group = a[QUERY].shape[0] / heads, length = a[KEYS].shape[2];
    const Py_ssize_t *qs = a[QUERY].strides, float_size = sizeof(float);
    const int64_t *held = a[HELD].buf;
    int enough = 1;

#pragma omp parallel for schedule(static)
    for (Py_ssize_t job = 0; job < slots * heads; job++) {
        const Py_ssize_t slot = job / heads, head = job % heads, to = held[slot];
        const Py_ssize_t from = window && to > window ? to - window : 0;
        float *at[2];
        for (int i = 0; i < 2; i++) { /* the new key, the new value */
            const Py_buffer *new = &a[KEY + i];
            const char *row = (const char *)new->buf + head * new->strides[0] + slot * new->strides[1];
            at[i] = (float *)a[KEYS + i].buf + (slot * heads + head) * length * dim;
            for (Py_ssize_t d = 0; d < dim; d++)
                at[i][(to - 1) * dim + d] = *(const float *)(row + d * new->strides[2]);
        }
        float *room = malloc(group * (dim + to - from) * sizeof(float));
        if (room == NULL) {
#pragma omp atomic write
            enough = 0;
            continue;
        }
        one_head((const float *)((const char *)a[QUERY].buf + head * group * qs[0] + slot * qs[1]), qs[0] / float_size,
                 qs[2] / float_size, at[0], at[1], (float *)a[OUT].buf + job * group * dim, room, group, dim, from, to,
                 scale);
        free(room);
    }
    return enough;
}

static PyObject *attend(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    double scale;
    Py_ssize_t window;
    int taken = 0, enough = 0;

    if (!PyArg_ParseTuple(args, "OOOOOOOdn", &given[QUERY], &given[KEY], &given[VALUE], &given[KEYS], &given[VALUES],
                          &given[HELD], &given[OUT], &scale, &window))
        return NULL;
    while (taken < ARRAYS) {
        const int written = taken == KEYS || taken == VALUES || taken == OUT;
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_STRIDES | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
            break;
        taken++;
    }
    if (taken == ARRAYS && fits(a, window)) {
        Py_BEGIN_ALLOW_THREADS
        enough = step(a, (float)scale, window);
        Py_END_ALLOW_THREADS
        if (!enough)
            PyErr_NoMemory();
    }
    while (taken > 0)
        PyBuffer_Release(&a[--taken]);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef ATTEND_METHODS[] = {{"attend", attend, METH_VARARGS, "One decoding step's attention of one layer."}, {NULL, NULL, 0, NULL}};
