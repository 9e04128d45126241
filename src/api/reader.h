// The handle of an open checkpoint. Its files are counted: handles that were adopted from a mapping keep them open.
#pragma once

#include "api/qtensor.h"
#include "store/model/weights.h"

namespace moeq {

struct ReaderFiles {
    explicit ReaderFiles(const moeq_context& of) : context(&of), checkpoint(of.allocator) { of.retain(); }

    void retain() { references.fetch_add(1, std::memory_order_relaxed); }
    void release();

    const moeq_context* context;
    store::Checkpoint checkpoint;
    std::atomic<int64_t> references{1};
};

} // namespace moeq

struct moeq_reader : moeq::LiveHandle {
    moeq_reader(moeq::ReaderFiles* of, int32_t with) : files(of), weights(of->context->allocator), flags(with) {}

    moeq::ReaderFiles* files;
    moeq::store::Weights weights;
    int32_t flags; // MOEQ_READER_
};
