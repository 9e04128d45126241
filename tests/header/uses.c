/* Calls, a struct of options with zeros as defaults and the frozen error compile without a cast. */
#include <string.h>

#include "moeq.h"

const char* moeq_header_uses(moeq_error* error);
const char* moeq_header_uses(moeq_error* error)
{
    moeq_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.struct_size = (uint32_t)sizeof spec;
    spec.format = MOEQ_FORMAT_NF4;
    memset(error, 0, sizeof *error);
    error->status = moeq_abi_version() == MOEQ_ABI_VERSION ? MOEQ_OK : MOEQ_ERROR_VERSION;
    return moeq_status_name(error->status);
}
