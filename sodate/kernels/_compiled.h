/* What the C files of this folder give the one module that they are built as (_compiled.c). Flags stand in pyproject.toml. */
#ifndef SODATE_COMPILED_H
#define SODATE_COMPILED_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef ATTEND_METHODS[], GATE_METHODS[], ROWS_METHODS[], TRIE_METHODS[];

/* Floats of the widest register that `trie` has code for on this processor, 0 if none; whether `product` multiplies such weights. */
int trie_width(void), product_takes_float32(void), product_takes_bfloat16(void);
#endif
