/* sodate.kernels._compiled: the methods of every C file here, as one module.
 *
 * A new file gets a table of methods, a line in _compiled.h, one below, one in _compiled.pyi, and its name in pyproject.toml.
 * Which instructions run is decided on the processor, not here: each file has code for AVX-512, AVX2 and any other CPU.
 */
#include "_compiled.h"

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_compiled", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__compiled(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL &&
        (PyModule_AddFunctions(module, ATTEND_METHODS) || PyModule_AddFunctions(module, FEW_METHODS) ||
         PyModule_AddFunctions(module, GATE_METHODS) ||
         PyModule_AddFunctions(module, ROWS_METHODS) || PyModule_AddFunctions(module, STEP_METHODS) ||
         PyModule_AddFunctions(module, TRIE_METHODS) ||
         PyModule_AddIntConstant(module, "WIDE", trie_width()) ||
         PyModule_AddIntConstant(module, "FEW", few_works()) ||
         PyModule_AddIntConstant(module, "FLOAT32", product_takes_float32()) ||
         PyModule_AddIntConstant(module, "BFLOAT16", product_takes_bfloat16())))
        Py_CLEAR(module);
    return module;
}
