// Reductions.
#include "support/calls_base.h"

namespace moeq_test {

namespace {

struct Reduce : Base {
    Reduce(World& world, const char* text, const Size& size)
        : Base(world, text, size), source_(MOEQ_DTYPE_BF16, shape_, {1, size.experts, size.experts * size.rows}),
          destination_(MOEQ_DTYPE_FP32, {size.rows})
    {
        source_.fill(8);
    }
    moeq_status run(moeq_error* err) override
    {
        const int32_t axes[] = {0, -1};
        auto options = sized<moeq_reduce_options>();
        options.axes = axes;
        options.axis_count = 2;
        options.operation = operation_;
        return moeq_reduce(world_.context, source_, &options, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }

    int32_t operation_ = MOEQ_REDUCE_AMAX;
    HostTensor source_;
    HostTensor destination_;
};

struct ReduceSum : Reduce {
    ReduceSum(World& world, const char* text, const Size& size) : Reduce(world, text, size)
    {
        operation_ = MOEQ_REDUCE_SUM;
    }
};

struct ReduceMany : Base {
    ReduceMany(World& world, const char* text, const Size& size)
        : Base(world, text, size), first_(MOEQ_DTYPE_BF16, shape_), second_(MOEQ_DTYPE_FP32, shape_),
          destination_(MOEQ_DTYPE_FP32, {2})
    {
        first_.fill(9);
        second_.fill(10);
    }
    moeq_status run(moeq_error* err) override
    {
        const DLManagedTensorVersioned* sources[] = {first_, second_};
        return moeq_reduce_many(world_.context, sources, 2, nullptr, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }

    HostTensor first_;
    HostTensor second_;
    HostTensor destination_;
};

struct ReduceShape : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        auto options = sized<moeq_reduce_options>();
        options.flags = MOEQ_REDUCE_KEEP_AXES;
        return moeq_reduce_shape(ndim(), shape_.data(), &options, &out_ndim_, out_shape_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_ndim_);
        append_value(bytes, out_shape_);
        return bytes;
    }

    int32_t out_ndim_ = -1;
    int64_t out_shape_[8] = {};
};

struct ReduceAxes : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        const int32_t kept[] = {1};
        return moeq_reduce_axes(3, kept, 1, axes_, &count_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, axes_);
        append_value(bytes, count_);
        return bytes;
    }

    int32_t axes_[3] = {};
    int32_t count_ = -1;
};

struct ScaleFromAmax : Base {
    ScaleFromAmax(World& world, const char* text, const Size& size)
        : Base(world, text, size), amax_(MOEQ_DTYPE_FP32, {size.experts, size.columns}),
          destination_(MOEQ_DTYPE_FP32, {size.experts, size.columns})
    {
        amax_.fill(11);
        for (int64_t i = 0; i < count_of(amax_.shape()); ++i)
            amax_.as<uint32_t>()[i] &= 0x7FFFFFFFu;
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_scale_from_amax(world_.context, amax_, &spec_, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }

    HostTensor amax_;
    HostTensor destination_;
};

} // namespace

void add_reduce_calls(std::vector<CallKind>& calls)
{
    add<Reduce>(calls, "reduce", "moeq_reduce", true, kOne);
    add<ReduceSum>(calls, "reduce sum", "moeq_reduce", true, kOne);
    add<ReduceMany>(calls, "reduce_many", "moeq_reduce_many", true, kOne);
    add<ReduceShape>(calls, "reduce_shape", "moeq_reduce_shape", false, kOne);
    add<ReduceAxes>(calls, "reduce_axes", "moeq_reduce_axes", false, kOne);
    add<ScaleFromAmax>(calls, "scale_from_amax", "moeq_scale_from_amax", true, kFew);
}

} // namespace moeq_test
