#include "builder/staging.h"

namespace moeq::builder {

static_assert(sizeof(StagedUnit) <= StagedUnit::kHeader);

StagedUnit* StagedUnit::create(Allocator& allocator, int64_t unit, int64_t elements, int64_t itemsize)
{
    const int64_t bytes = elements * itemsize;
    void* memory = allocator.allocate(static_cast<uint64_t>(kHeader + bytes));
    return memory == nullptr ? nullptr : ::new (memory) StagedUnit{unit, bytes, {elements}, nullptr};
}

void StagedUnit::destroy(Allocator& allocator)
{
    const uint64_t size = static_cast<uint64_t>(kHeader + bytes);
    this->~StagedUnit();
    allocator.free(this, size);
}

Staging::~Staging()
{
    for (int64_t i = 0; buckets_ != nullptr && i < bucket_count_; ++i)
        while (StagedUnit* staged = buckets_[i]) {
            buckets_[i] = staged->next;
            staged->destroy(allocator_);
        }
    allocator_.free(buckets_, bucket_bytes());
}

bool Staging::create_buckets(int64_t units)
{
    constexpr int64_t kMost = int64_t{1} << 17; // 1 MiB of pointers
    bucket_count_ = 64;
    while (bucket_count_ < kMost && bucket_count_ < units)
        bucket_count_ *= 2;
    buckets_ = static_cast<StagedUnit**>(allocator_.allocate(bucket_bytes()));
    for (int64_t i = 0; buckets_ != nullptr && i < bucket_count_; ++i)
        buckets_[i] = nullptr;
    return buckets_ != nullptr;
}

StagedUnit* Staging::find(int64_t unit) const
{
    StagedUnit* staged = *bucket(unit);
    while (staged != nullptr && staged->unit != unit)
        staged = staged->next;
    return staged;
}

StagedUnit* Staging::first() const
{
    for (int64_t i = 0; bytes_ != 0 && i < bucket_count_; ++i)
        if (buckets_[i] != nullptr)
            return buckets_[i];
    return nullptr;
}

void Staging::insert(StagedUnit* staged)
{
    StagedUnit** head = bucket(staged->unit);
    staged->next = *head;
    *head = staged;
    bytes_ += staged->bytes;
}

void Staging::remove(StagedUnit* staged)
{
    StagedUnit** link = bucket(staged->unit);
    while (*link != staged)
        link = &(*link)->next;
    *link = staged->next;
    bytes_ -= staged->bytes;
}

} // namespace moeq::builder
