/* ... and in this one. */
#include "moeq.h"

#include <dlpack/dlpack.h>

struct DLManagedTensorVersioned* moeq_header_dlpack_last(struct DLManagedTensorVersioned* tensor);
struct DLManagedTensorVersioned* moeq_header_dlpack_last(struct DLManagedTensorVersioned* tensor)
{
    return tensor->dl_tensor.data ? tensor : 0;
}
