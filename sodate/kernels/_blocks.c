/* The blocks of a decoder as a step goes through them (_step.c), read once from Python's arrays.
 *
 *     decoder(blocks, norm (D,), eps) -> what `step` takes; it holds the arrays, and sees what is written into them
 *     step(decoder, x (n, D), ranks (n, 2) int64 or None, table (replies, most) int64, owner (n,) int64, held (n,) int64)
 *
 * x, at most 16 rows, goes in as embeddings and comes out as the last hidden states, normed by `norm`. Each of `blocks` is
 *     (layers, norms, (cos (P, d), sin (P, d)), (keys, values), (heads, groups, inner, window, gate, scale, eps))
 *     layers: of query-key-value, output, gate-and-up and down each (weight, bias (out,) or None, lora or None)
 *         weight float32 (out, in), bfloat16 as the uint16 of its bits for up to 4 rows, or bytes as `few` takes them;
 *             x is rounded for none
 *         lora (A (parts R, in), of each part B (R, its outputs)): y += B (A x), of R ranks those that `ranks` gives the row
 *     norms: before attention, after it or None, before the MLP, after it or None, of query and of key, or None
 *     cos and sin of the first P positions
 * keys, values, table, owner, held, window and scale are those of `attend`, gate the kind of `gate`.
 */
#include <stdint.h>
#include <stdlib.h>

#include "_step.h"

static const char NAME[] = "sodate.kernels.decoder";

/* Arrays that are held. */
typedef struct { Py_buffer *at; Py_ssize_t count, room; } Taken;
typedef struct { Decoder decoder; Taken taken; } Held_decoder;

static void let_go(Taken *taken)
{
    while (taken->count > 0)
        PyBuffer_Release(&taken->at[--taken->count]);
    free(taken->at);
}

static Py_buffer *last(const Taken *taken) { return &taken->at[taken->count - 1]; }

/* The numbers of an array of `size` (any, if negative) of this type; NULL with an error set. */
static void *take(Taken *taken, PyObject *given, int dimensions, char type, Py_ssize_t size, int written)
{
    if (taken->count == taken->room) {
        const Py_ssize_t room = taken->room ? 2 * taken->room : 8;
        Py_buffer *more = realloc(taken->at, room * sizeof(Py_buffer));
        if (more == NULL)
            return PyErr_NoMemory();
        taken->at = more, taken->room = room;
    }
    Py_buffer *a = &taken->at[taken->count];
    if (PyObject_GetBuffer(given, a, PyBUF_ND | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
        return NULL;
    taken->count++;
    if (a->ndim != dimensions || (type && a->format[0] != type) || (size >= 0 && a->len != size * a->itemsize))
        return PyErr_Format(PyExc_ValueError, "step: an array of %zd numbers has another shape or type than it should", a->len / a->itemsize);
    return a->buf;
}

static int floats(Taken *taken, PyObject *given, int dimensions, Py_ssize_t size, const float **to)
{
    *to = given == Py_None ? NULL : take(taken, given, dimensions, 'f', size, 0);
    return given == Py_None || *to != NULL;
}

static int refused(const char *why)
{
    PyErr_Format(PyExc_ValueError, "step: %s", why);
    return 0;
}

static int lora_of(Taken *taken, PyObject *given, Layer *l)
{
    PyObject *down, *ups;
    if (given == Py_None)
        return 1;
    if (!PyArg_ParseTuple(given, "OO!", &down, &PyTuple_Type, &ups) || (l->down = take(taken, down, 2, 'f', -1, 0)) == NULL)
        return 0;
    const Py_ssize_t all = last(taken)->shape[0], wide = last(taken)->shape[1];
    l->parts = (int)PyTuple_GET_SIZE(ups);
    if (wide != l->in || l->parts < 1 || l->parts > PARTS || all % l->parts)
        return refused("a lora does not fit its layer");
    l->ranks = all / l->parts;
    for (int i = 0; i < l->parts; i++) {
        if ((l->up[i] = take(taken, PyTuple_GET_ITEM(ups, i), 2, 'f', -1, 0)) == NULL)
            return 0;
        if (last(taken)->shape[0] != l->ranks)
            return refused("a lora does not fit its layer");
        l->ends[i] = (i ? l->ends[i - 1] : 0) + last(taken)->shape[1];
    }
    return l->ends[l->parts - 1] == l->out || refused("a lora does not fit its layer");
}

static int layer_of(Taken *taken, PyObject *given, Layer *l, Py_ssize_t in, Py_ssize_t out, int *narrow)
{
    PyObject *weight, *bias, *lora;
    if (!PyArg_ParseTuple(given, "OOO", &weight, &bias, &lora) || take(taken, weight, 2, 0, -1, 0) == NULL)
        return 0;
    l->in = in, l->out = out;
    *narrow |= last(taken)->format[0] == 'H';
    if (last(taken)->format[0] == 'h' || !weight_of(last(taken), in, out, &l->weight))
        return refused("a weight does not fit");
    return floats(taken, bias, 1, out, &l->bias) && lora_of(taken, lora, l);
}

static int block_of(Taken *taken, PyObject *given, Decoder *d, Block *b)
{
    PyObject *layers[4], *norms[6], *cos, *sin, *keys, *values;
    if (!PyArg_ParseTuple(given, "(OOOO)(OOOOOO)(OO)(OO)(nnnniff)", &layers[0], &layers[1], &layers[2], &layers[3], &norms[0],
                          &norms[1], &norms[2], &norms[3], &norms[4], &norms[5], &cos, &sin, &keys, &values, &b->heads,
                          &b->groups, &b->inner, &b->window, &b->gate, &b->scale, &b->eps))
        return 0;
    if (norms[0] == Py_None || norms[2] == Py_None)
        return refused("a norm is missing");
    if ((b->before = take(taken, norms[0], 1, 'f', d->hidden ? d->hidden : -1, 0)) == NULL)
        return 0;
    d->hidden = last(taken)->shape[0];
    if ((b->keys = take(taken, keys, 4, 'f', -1, 1)) == NULL)
        return 0;
    const Py_ssize_t *shape = last(taken)->shape, groups = shape[1], dim = shape[3];
    b->blocks = shape[0], b->size = shape[2], b->dim = dim;
    if (d->hidden < 1 || b->groups < 1 || groups != b->groups || b->heads % b->groups || b->heads < 1 || b->size < 1 || dim < 2 ||
        dim % 2 || b->window < 0 || b->inner < 1 || b->gate < 0 || b->gate > 1)
        return refused("keys don't fit the heads");
    if ((b->values = take(taken, values, 4, 'f', b->blocks * groups * b->size * dim, 1)) == NULL ||
        (b->cos = take(taken, cos, 2, 'f', -1, 0)) == NULL)
        return 0;
    b->positions = last(taken)->shape[0];
    if (last(taken)->shape[1] != dim)
        return refused("a rotation does not fit the heads");
    return (b->sin = take(taken, sin, 2, 'f', b->positions * dim, 0)) != NULL &&
           (b->before_mlp = take(taken, norms[2], 1, 'f', d->hidden, 0)) != NULL &&
           floats(taken, norms[1], 1, d->hidden, &b->after) && floats(taken, norms[3], 1, d->hidden, &b->after_mlp) &&
           floats(taken, norms[4], 1, dim, &b->q_norm) && floats(taken, norms[5], 1, dim, &b->k_norm) &&
           layer_of(taken, layers[0], &b->qkv, d->hidden, (b->heads + 2 * b->groups) * dim, &d->narrow) &&
           layer_of(taken, layers[1], &b->output, b->heads * dim, d->hidden, &d->narrow) &&
           layer_of(taken, layers[2], &b->wide, d->hidden, 2 * b->inner, &d->narrow) &&
           layer_of(taken, layers[3], &b->down, b->inner, d->hidden, &d->narrow);
}

static void free_decoder(Held_decoder *held)
{
    let_go(&held->taken);
    free(held->decoder.blocks);
    free(held);
}

static void capsule_gone(PyObject *capsule) { free_decoder(PyCapsule_GetPointer(capsule, NAME)); }

static PyObject *decoder(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *blocks, *norm;
    float eps;
    if (!PyArg_ParseTuple(args, "OOf", &blocks, &norm, &eps))
        return NULL;
    if (!PyList_Check(blocks) || !few_works())
        return PyErr_Format(PyExc_ValueError, "decoder: a list of blocks is wanted, on a processor that has code for them");
    Held_decoder *held = calloc(1, sizeof(Held_decoder));
    if (held == NULL || (held->decoder.blocks = calloc(PyList_GET_SIZE(blocks) + 1, sizeof(Block))) == NULL) {
        free(held);
        return PyErr_NoMemory();
    }
    Decoder *d = &held->decoder;
    for (; d->count < PyList_GET_SIZE(blocks); d->count++)
        if (!block_of(&held->taken, PyList_GET_ITEM(blocks, d->count), d, &d->blocks[d->count])) {
            free_decoder(held);
            return NULL;
        }
    d->eps = eps;
    if ((d->norm = take(&held->taken, norm, 1, 'f', d->count ? d->hidden : -1, 0)) == NULL) {
        free_decoder(held);
        return NULL;
    }
    d->hidden = last(&held->taken)->shape[0];
    PyObject *capsule = PyCapsule_New(held, NAME, capsule_gone);
    if (capsule == NULL)
        free_decoder(held);
    return capsule;
}

/* Whether every row's tokens lie in blocks that are there, in each layer's pool, at positions that have a rotation. */
static int fits(const Decoder *d, Py_ssize_t rows, const int64_t *table, Py_ssize_t most, Py_ssize_t replies, const int64_t *owner,
                const int64_t *held)
{
    Py_ssize_t size = 0, blocks = 0; /* of the layer that was looked at before: mostly all have the same */
    for (Py_ssize_t i = 0; i < d->count; i++) {
        const Block *b = &d->blocks[i];
        for (Py_ssize_t r = 0; r < rows; r++)
            if (owner[r] < 0 || owner[r] >= replies || held[r] < 1 || held[r] > b->positions || (held[r] + b->size - 1) / b->size > most)
                return 0;
        if (b->size == size && b->blocks == blocks)
            continue;
        size = b->size, blocks = b->blocks;
        for (Py_ssize_t r = 0; r < rows; r++)
            for (Py_ssize_t k = 0; k < (held[r] + size - 1) / size; k++)
                if (table[owner[r] * most + k] < 0 || table[owner[r] * most + k] >= blocks)
                    return 0;
    }
    return 1;
}

/* Whether the ranks of each row are some that every lora has. */
static int has_ranks(const Decoder *d, Py_ssize_t rows, const int64_t *ranks)
{
    for (Py_ssize_t i = 0; i < d->count; i++) {
        const Layer *layers[] = {&d->blocks[i].qkv, &d->blocks[i].output, &d->blocks[i].wide, &d->blocks[i].down};
        for (int k = 0; k < 4; k++)
            for (Py_ssize_t r = 0; r < rows; r++)
                if (layers[k]->down != NULL && (ranks[2 * r] < 0 || ranks[2 * r] > ranks[2 * r + 1] || ranks[2 * r + 1] > layers[k]->ranks))
                    return 0;
    }
    return 1;
}

static PyObject *step(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *capsule, *given_x, *given_ranks, *given_table, *given_owner, *given_held;
    Taken taken = {NULL, 0, 0};
    int enough = 0;

    if (!PyArg_ParseTuple(args, "OOOOOO", &capsule, &given_x, &given_ranks, &given_table, &given_owner, &given_held))
        return NULL;
    const Held_decoder *whole = PyCapsule_GetPointer(capsule, NAME);
    if (whole == NULL)
        return NULL;
    const Decoder *d = &whole->decoder;
    float *x = take(&taken, given_x, 2, 'f', -1, 1);
    if (x == NULL)
        goto done;
    const Py_ssize_t rows = last(&taken)->shape[0], hidden = last(&taken)->shape[1];
    if (rows < 1 || rows > (d->narrow ? VERY_FEW : STEP_ROWS) || hidden != d->hidden) {
        refused("this many rows are not taken, or not so wide ones");
        goto done;
    }
    const int64_t *table = take(&taken, given_table, 2, 'l', -1, 0);
    if (table == NULL)
        goto done;
    const Py_ssize_t replies = last(&taken)->shape[0], most = last(&taken)->shape[1];
    const int64_t *owner = take(&taken, given_owner, 1, 'l', rows, 0), *held = owner == NULL ? NULL : take(&taken, given_held, 1, 'l', rows, 0);
    const int64_t *ranks = held == NULL || given_ranks == Py_None ? NULL : take(&taken, given_ranks, 2, 'l', 2 * rows, 0);
    if (held == NULL || (given_ranks != Py_None && ranks == NULL))
        goto done;
    if (!fits(d, rows, table, most, replies, owner, held)) {
        refused("a row holds no tokens, more than its blocks or the rotations do, or is nobody's");
        goto done;
    }
    if (ranks != NULL && !has_ranks(d, rows, ranks)) {
        refused("a row has ranks that some lora has not");
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    enough = step_through(d, x, rows, ranks, table, most, owner, held);
    Py_END_ALLOW_THREADS
    if (!enough)
        PyErr_NoMemory();
done:
    let_go(&taken);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef STEP_METHODS[] = {{"decoder", decoder, METH_VARARGS, "All blocks of a decoder, ready for steps of few rows."},
                              {"step", step, METH_VARARGS, "All blocks of a decoder for few rows."},
                              {NULL, NULL, 0, NULL}};
