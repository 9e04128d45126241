// Which experts a call is about.
#pragma once

#include <cstdint>

namespace moeq {

// Which experts, in which order: a host list, a tensor of ids in host memory, or (neither) all from 0 on.
struct ExpertList {
    const int64_t* ids = nullptr;
    const char* tensor = nullptr; // int32 or int64
    int64_t tensor_stride = 0;    // in bytes
    bool wide = false;
    int64_t count = 0;

    int64_t operator[](int64_t i) const
    {
        if (ids != nullptr)
            return ids[i];
        if (tensor == nullptr)
            return i;
        const char* at = tensor + i * tensor_stride;
        return wide ? *reinterpret_cast<const int64_t*>(at) : *reinterpret_cast<const int32_t*>(at);
    }
};

} // namespace moeq
