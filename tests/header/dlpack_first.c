/* The forward declaration in moeq.h and the definition in dlpack.h are the same type, in this order ... */
#include <dlpack/dlpack.h>

#include "moeq.h"

struct DLManagedTensorVersioned* moeq_header_dlpack_first(struct DLManagedTensorVersioned* tensor);
struct DLManagedTensorVersioned* moeq_header_dlpack_first(struct DLManagedTensorVersioned* tensor)
{
    return tensor->dl_tensor.data ? tensor : 0;
}
