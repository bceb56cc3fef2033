/* A decoding step's attention of one layer, for CPUs: new tokens of several replies against the keys that each reply holds.
 *
 * The step is short of memory bandwidth and of nothing else, so keys and values are read once, where they lie; as torch
 * operations it is ten calls a layer, and batched products of three rows that reach a third of the bandwidth
 * (docs/lab/decoding.md). sodate.generate.paged_attention computes the same without this module.
 *
 *     attend(query (H, n, D), key (K, n, D), value (K, n, D), keys (blocks, K, S, D), values (blocks, K, S, D),
 *            table (replies, most) int64, owner (n,) int64, held (n,) int64, out (n, H, D), scale, window)
 *
 * A reply's tokens lie in blocks of S, named in order by its row of `table`. Row i is token number held[i] - 1 of reply
 * owner[i]. All rows' keys and values are put in their places; then row i of `out` is softmax(scale · q kᵀ) v of the last
 * `window` of its reply's first held[i] tokens (of all, if 0). Arrays of floats are float32; keys, values, out and the
 * integers lie densely. H / K query heads share a key head.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"
#include "_vector.h"

/* Tokens taken at once: each query or output row is then loaded a quarter as often. And how many of the next block are
 * asked for ahead: the processor can't guess where it lies. */
enum { TOGETHER = 4, AHEAD = 16 };

#if defined(__GNUC__)
#define SOON(address) __builtin_prefetch(address)
#else
#define SOON(address)
#endif

FOR_EVERY_CPU
void attend_one_head(const float *query, Py_ssize_t query_row, Py_ssize_t query_column, const Held *held, float *out,
                     float *room, Py_ssize_t group, Py_ssize_t dim, Py_ssize_t from, Py_ssize_t to, float scale)
{
    const Py_ssize_t total = to - from, size = held->size;
    float *scaled = room, *weights = room + group * dim;

    for (Py_ssize_t h = 0; h < group; h++)
        for (Py_ssize_t d = 0; d < dim; d++)
            scaled[h * dim + d] = scale * query[h * query_row + d * query_column];
    for (Py_ssize_t at = from, end; at < to; at = end) {
        const Py_ssize_t block = at / size, first = at - block * size;
        end = (block + 1) * size < to ? (block + 1) * size : to;
        const Py_ssize_t count = end - at, whole = count - count % TOGETHER;
        const float *keys = held->keys + held->blocks[block] * held->stride + first * dim;
        if (end < to) {
            const float *next = held->keys + held->blocks[block + 1] * held->stride;
            for (Py_ssize_t d = 0; d < AHEAD * dim; d += 16)
                SOON(next + d);
        }
        for (Py_ssize_t t = 0; t < count; t += t < whole ? TOGETHER : 1) {
            const float *k = keys + t * dim;
            for (Py_ssize_t h = 0; h < group; h++) {
                const float *row = scaled + h * dim;
                float *w = weights + h * total + at - from + t, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
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
    }
    for (Py_ssize_t h = 0; h < group; h++) {
        float *row = weights + h * total, highest = row[0], sum = 0;
        for (Py_ssize_t t = 0; t < total; t++)
            highest = row[t] > highest ? row[t] : highest;
        for (Py_ssize_t t = 0; t < total; t++) {
            const float score = row[t];
            row[t] = is_nan(score) ? score : exponential(score - highest);
            sum += row[t];
        }
        for (Py_ssize_t t = 0; t < total; t++)
            row[t] /= sum;
    }
    memset(out, 0, group * dim * sizeof(float));
    for (Py_ssize_t at = from, end; at < to; at = end) {
        const Py_ssize_t block = at / size, first = at - block * size;
        end = (block + 1) * size < to ? (block + 1) * size : to;
        const Py_ssize_t count = end - at, whole = count - count % TOGETHER;
        const float *values = held->values + held->blocks[block] * held->stride + first * dim;
        if (end < to) {
            const float *next = held->values + held->blocks[block + 1] * held->stride;
            for (Py_ssize_t d = 0; d < AHEAD * dim; d += 16)
                SOON(next + d);
        }
        for (Py_ssize_t t = 0; t < count; t += t < whole ? TOGETHER : 1) {
            const float *v = values + t * dim;
            for (Py_ssize_t h = 0; h < group; h++) {
                const float *w = weights + h * total + at - from + t;
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
}

enum { QUERY, KEY, VALUE, KEYS, VALUES, TABLE, OWNER, HELD, OUT, ARRAYS };
static const int DIMENSIONS[ARRAYS] = {3, 3, 3, 4, 4, 2, 1, 1, 3};
static const char *const NAMES[ARRAYS] = {"query", "key", "value", "keys", "values", "table", "owner", "held", "out"};

/* Whether the arrays fit together; sets ValueError otherwise. */
static int fits(const Py_buffer *a, Py_ssize_t window)
{
    for (int i = 0; i < ARRAYS; i++) {
        const int integer = i == TABLE || i == OWNER || i == HELD;
        if (a[i].ndim != DIMENSIONS[i] || a[i].format == NULL || a[i].format[0] != (integer ? 'l' : 'f') ||
            a[i].itemsize != (integer ? 8 : 4)) {
            PyErr_Format(PyExc_ValueError, "%s has another type or number of dimensions", NAMES[i]);
            return 0;
        }
        if (i >= KEYS && !PyBuffer_IsContiguous(&a[i], 'C')) {
            PyErr_Format(PyExc_ValueError, "%s does not lie densely", NAMES[i]);
            return 0;
        }
    }
    const Py_ssize_t *q = a[QUERY].shape, *k = a[KEY].shape, *v = a[VALUE].shape, *c = a[KEYS].shape;
    const Py_ssize_t *d = a[VALUES].shape, *t = a[TABLE].shape, *o = a[OUT].shape, n = q[1], dim = q[2];
    const int same = k[0] > 0 && q[0] % k[0] == 0 && k[1] == n && k[2] == dim && v[0] == k[0] && v[1] == n &&
                     v[2] == dim && c[1] == k[0] && c[2] > 0 && c[3] == dim && d[0] == c[0] && d[1] == c[1] &&
                     d[2] == c[2] && d[3] == dim && a[OWNER].shape[0] == n && a[HELD].shape[0] == n && o[0] == n &&
                     o[1] == q[0] && o[2] == dim;
    if (!same || window < 0) {
        PyErr_SetString(PyExc_ValueError, "the shapes don't fit together");
        return 0;
    }
    const int64_t *table = a[TABLE].buf, *owner = a[OWNER].buf, *held = a[HELD].buf;
    for (Py_ssize_t i = 0; i < t[0] * t[1]; i++)
        if (table[i] < 0 || table[i] >= c[0]) {
            PyErr_SetString(PyExc_ValueError, "the table names a block that is not there");
            return 0;
        }
    for (Py_ssize_t i = 0; i < n; i++)
        if (owner[i] < 0 || owner[i] >= t[0] || held[i] < 1 || held[i] > t[1] * c[2]) {
            PyErr_SetString(PyExc_ValueError, "a row holds no tokens, more than its blocks do, or is nobody's");
            return 0;
        }
    return 1;
}

/* Whether there was memory enough. */
static int step(const Py_buffer *a, float scale, Py_ssize_t window)
{
    const Py_ssize_t rows = a[QUERY].shape[1], heads = a[KEY].shape[0], dim = a[QUERY].shape[2];
    const Py_ssize_t group = a[QUERY].shape[0] / heads, size = a[KEYS].shape[2], most = a[TABLE].shape[1];
    const Py_ssize_t *qs = a[QUERY].strides, float_size = sizeof(float), stride = heads * size * dim;
    const int64_t *table = a[TABLE].buf, *owner = a[OWNER].buf, *held = a[HELD].buf;
    int enough = 1;

#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (Py_ssize_t job = 0; job < rows * heads; job++) { /* every key and value first: rows of one reply see each other's */
            const Py_ssize_t row = job / heads, head = job % heads, last = held[row] - 1;
            const Py_ssize_t place = table[owner[row] * most + last / size] * stride + (head * size + last % size) * dim;
            for (int i = 0; i < 2; i++) {
                const Py_buffer *new = &a[KEY + i];
                const char *from = (const char *)new->buf + head * new->strides[0] + row * new->strides[1];
                for (Py_ssize_t d = 0; d < dim; d++)
                    ((float *)a[KEYS + i].buf)[place + d] = *(const float *)(from + d * new->strides[2]);
            }
        }
#pragma omp for schedule(dynamic)
        for (Py_ssize_t job = 0; job < rows * heads; job++) {
            const Py_ssize_t row = job / heads, head = job % heads, to = held[row];
            const Py_ssize_t from = window && to > window ? to - window : 0;
            const Held where = {(const float *)a[KEYS].buf + head * size * dim, (const float *)a[VALUES].buf + head * size * dim,
                                table + owner[row] * most, stride, size};
            float *room = malloc(group * (dim + to - from) * sizeof(float));
            if (room == NULL) {
#pragma omp atomic write
                enough = 0;
                continue;
            }
            attend_one_head((const float *)((const char *)a[QUERY].buf + head * group * qs[0] + row * qs[1]), qs[0] / float_size,
                     qs[2] / float_size, &where, (float *)a[OUT].buf + job * group * dim, room, group, dim, from, to, scale);
            free(room);
        }
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

    if (!PyArg_ParseTuple(args, "OOOOOOOOOdn", &given[QUERY], &given[KEY], &given[VALUE], &given[KEYS], &given[VALUES],
                          &given[TABLE], &given[OWNER], &given[HELD], &given[OUT], &scale, &window))
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

PyMethodDef ATTEND_METHODS[] = {{"attend", attend, METH_VARARGS, "A decoding step's attention of one layer."}, {NULL, NULL, 0, NULL}};
