// Elements that wait for the rest of their scale unit, in the source's type. One buffer per unit in flight, found by the
// unit's index.
#pragma once

#include <atomic>

#include "core/memory.h"

namespace moeq::builder {

struct StagedUnit {
    int64_t unit;
    int64_t bytes;                  // of the elements
    std::atomic<int64_t> remaining; // elements not yet here
    StagedUnit* next;               // in its bucket, or in a list of spares

    char* elements() { return reinterpret_cast<char*>(this) + kHeader; }

    static constexpr int64_t kHeader = 64;
    static StagedUnit* create(Allocator& allocator, int64_t unit, int64_t elements, int64_t itemsize);
    void destroy(Allocator& allocator);
};

// Not thread-safe: the builder's lock guards it. Allocates once, at creation.
class Staging {
public:
    explicit Staging(Allocator& allocator) : allocator_(allocator) {}
    ~Staging();
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

    // For a weight of so many scale units.
    [[nodiscard]] bool create_buckets(int64_t units);
    StagedUnit* find(int64_t unit) const;
    void insert(StagedUnit* staged);
    void remove(StagedUnit* staged);
    // One of those that wait; NULL: none.
    StagedUnit* first() const;
    int64_t bytes() const { return bytes_; }

    uint64_t bucket_bytes() const { return static_cast<uint64_t>(bucket_count_) * sizeof(StagedUnit*); }

private:
    StagedUnit** bucket(int64_t unit) const { return buckets_ + (unit & (bucket_count_ - 1)); }

    Allocator& allocator_;
    StagedUnit** buckets_ = nullptr;
    int64_t bucket_count_ = 0; // a power of two
    int64_t bytes_ = 0;
};

} // namespace moeq::builder
