/* The activation of a gated MLP and its gradients, each in one pass, for CPUs (sodate/kernels/gate.py).
 *
 *     gate(gate, up, out, kind)             out = act(gate) · up; kind 0 silu, 1 gelu by tanh
 *     gate_back(gate, up, d, d_gate, kind)  from d, the gradient of out; in its place goes that of up
 *
 * Arrays of float32, all of one size, lying densely.
 */
#include <math.h>

#include "_compiled.h"
#include "_vector.h"

enum { SILU, GELU, ARRAYS = 4, AT_ONCE = 1 << 12 };

/* 1 / (1 + e^-x) */
static inline float sigmoid(float x)
{
    const float e = exponential(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (1 + e);
}

/* act(x) = x σ(c): c = x for silu, √(8/π) (x + 0.044715 x³) for gelu by tanh, as 0.5 (1 + tanh y) = σ(2 y). */
static inline float inner(float x, const int kind)
{
    return kind == SILU ? x : 1.59576912f * (x + 0.044715f * x * x * x);
}

/* Its slope; beyond |x| = 100 it meets σ (1 - σ), which is 0 but for the end of `exponential`, and must not undo that. */
static inline float slope_of_inner(float x, const int kind)
{
    const float square = x * x < 1e4f ? x * x : 1e4f;
    return kind == SILU ? 1 : 1.59576912f + 0.21406929f * square;
}

/* x stays a factor everywhere, so that a NaN comes through though the compiler takes numbers for finite. */
#define GATE(name, kind)                                                                                               \
    FOR_EVERY_CPU static void name(const float *restrict gate, const float *restrict up, float *restrict out,          \
                                   Py_ssize_t size)                                                                    \
    {                                                                                                                  \
        for (Py_ssize_t i = 0; i < size; i++)                                                                          \
            out[i] = gate[i] * sigmoid(inner(gate[i], kind)) * up[i];                                                  \
    }                                                                                                                  \
    FOR_EVERY_CPU static void name##_back(const float *restrict gate, const float *restrict up, float *restrict d,     \
                                          float *restrict d_gate, Py_ssize_t size)                                     \
    {                                                                                                                  \
        for (Py_ssize_t i = 0; i < size; i++) {                                                                        \
            const float x = gate[i], s = sigmoid(inner(x, kind));                                                      \
            d_gate[i] = d[i] * up[i] * (s + x * s * (1 - s) * slope_of_inner(x, kind));                                \
            d[i] *= x * s;                                                                                             \
        }                                                                                                              \
    }
GATE(silu, SILU)
GATE(gelu, GELU)

void gate_of(const float *gate, const float *up, float *out, Py_ssize_t size, int kind)
{
    (kind == SILU ? silu : gelu)(gate, up, out, size);
}

static void run(const Py_buffer *a, int back, int kind)
{
    const Py_ssize_t size = a[0].len / 4;
    float *const x = a[0].buf, *const up = a[1].buf, *const third = a[2].buf, *const d_gate = back ? a[3].buf : NULL;
#pragma omp parallel for schedule(dynamic)
    for (Py_ssize_t at = 0; at < size; at += AT_ONCE) {
        const Py_ssize_t some = size - at < AT_ONCE ? size - at : AT_ONCE;
        if (back)
            (kind == SILU ? silu_back : gelu_back)(x + at, up + at, third + at, d_gate + at, some);
        else
            gate_of(x + at, up + at, third + at, some, kind);
    }
}

static PyObject *called(PyObject *const *given, Py_ssize_t count, int back)
{
    const int arrays = back ? ARRAYS : ARRAYS - 1;
    Py_buffer a[ARRAYS];
    int taken = 0, fits = 1;
    if (count != arrays + 1)
        return PyErr_Format(PyExc_TypeError, "expected %d arrays and a kind", arrays);
    const long kind = PyLong_AsLong(given[arrays]);
    if (kind == -1 && PyErr_Occurred())
        return NULL;
    for (; taken < arrays; taken++) { /* PyBUF_ND: what does not lie densely is refused */
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_ND | PyBUF_FORMAT | (taken >= 2 ? PyBUF_WRITABLE : 0)))
            break;
        fits = fits && a[taken].itemsize == 4 && a[taken].format[0] == 'f' && a[taken].len == a[0].len;
    }
    fits = fits && (kind == SILU || kind == GELU);
    if (taken == arrays && fits) {
        Py_BEGIN_ALLOW_THREADS
        run(a, back, (int)kind);
        Py_END_ALLOW_THREADS
    }
    const int all = taken == arrays;
    while (taken > 0)
        PyBuffer_Release(&a[--taken]);
    if (!all)
        return NULL;
    if (!fits)
        return PyErr_Format(PyExc_ValueError, "arrays of float32 of one size, and kind 0 or 1, are what is taken");
    Py_RETURN_NONE;
}

static PyObject *gate(PyObject *Py_UNUSED(self), PyObject *const *given, Py_ssize_t count) { return called(given, count, 0); }
static PyObject *gate_back(PyObject *Py_UNUSED(self), PyObject *const *given, Py_ssize_t count) { return called(given, count, 1); }

PyMethodDef GATE_METHODS[] = {{"gate", (PyCFunction)(void (*)(void))gate, METH_FASTCALL, "Gated activation"},
                              {"gate_back", (PyCFunction)(void (*)(void))gate_back, METH_FASTCALL, "Its gradients"},
                              {NULL, NULL, 0, NULL}};
