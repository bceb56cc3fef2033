/* What the C files of this folder give the one module that they are built as (_compiled.c). Flags stand in pyproject.toml. */
#ifndef SODATE_COMPILED_H
#define SODATE_COMPILED_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef ATTEND_METHODS[], FEW_METHODS[], GATE_METHODS[], ROWS_METHODS[], TRIE_METHODS[];

/* Floats of the widest register that `trie` has code for on this processor, 0 if none; whether `product` multiplies such weights. */
int trie_width(void), product_takes_float32(void), product_takes_bfloat16(void), few_works(void);

/* out (count, lanes) = w (count, k) x (k, lanes), on one thread. */
void product_float32(const float *w, const float *x, float *out, Py_ssize_t count, Py_ssize_t k, Py_ssize_t lanes);
#endif
