// Tensors that moeq hands out: a DLManagedTensorVersioned whose deleter needs nothing but C.
#pragma once

#include <dlpack/dlpack.h>

#include "api/context.h"
#include "core/tensor_view.h"

namespace moeq {

// Called once, by the tensor's deleter, from any thread.
using ReleaseOwner = void (*)(void* owner);

// A tensor over `view`'s memory in `context`'s bookkeeping; `release(owner)` ends the memory's life when the deleter runs.
// On failure nothing was taken over.
[[nodiscard]] moeq_status managed_tensor_create(const moeq_context& context, const TensorView& view, void* owner,
                                                ReleaseOwner release, DLManagedTensorVersioned** out, Report& report);

// Ends a tensor that was adopted: calls its deleter, if it has one.
void managed_tensor_delete(DLManagedTensorVersioned* tensor);

} // namespace moeq
