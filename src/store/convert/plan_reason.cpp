// Why a tensor that nobody asked to quantize is not.
#include <cstring>

#include "store/convert/plan.h"

namespace moeq::store {

namespace {

constexpr const char* kRouters[] = {".gate.weight", ".router.weight", ".shared_expert_gate.weight", "router"};

bool holds(const char* text, const char* part) { return std::strstr(text, part) != nullptr; }

} // namespace

const char* reason_of(const Checkpoint& checkpoint, const Weights& weights, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    if (lacks_scales(checkpoint, weights, tensor))
        return "codes without scales";
    if (float_type(entry.dtype) < 0)
        return "not of a float type that is quantized";
    if (entry.ndim == 3)
        return "three axes, but no name of experts that is known for this model type";
    if (entry.ndim != 2)
        return "not a matrix";
    if (holds(entry.name, kRouters[0]) || holds(entry.name, kRouters[1]) || holds(entry.name, kRouters[2]) ||
        holds(entry.name, kRouters[3]))
        return "router";
    return holds(entry.name, "embed") || holds(entry.name, "lm_head") ? "embedding or output layer"
                                                                      : "not an expert weight";
}

} // namespace moeq::store
