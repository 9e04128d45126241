// Calls about contexts and tensors.
#include "support/calls_base.h"

namespace moeq_test {

namespace {

struct ContextCreate : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        const moeq_context_options options = world_.options();
        const moeq_status status = moeq_context_create(&options, out_.ready(), err);
        world_.contexts += status == MOEQ_OK ? 1 : 0;
        return status;
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes state() override { return {static_cast<uint8_t>(world_.hooks.destroyed)}; }
    Bytes result() override { return {out_.is_null()}; }
    void release() override { out_.reset(); }

    ContextOut out_;
};

struct ContextGetMemory : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_memory>();
        return moeq_context_get_memory(world_.context, &out_, err);
    }
    Bytes result() override { return {out_.host_live > 0 && out_.host_live <= out_.host_peak}; }

    moeq_memory out_{};
};

struct ContextDescribe : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override { return moeq_context_describe(world_.context, out_.ready(), err); }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        Bytes bytes;
        append(bytes, moeq_blob_data(out_.get()), static_cast<size_t>(moeq_blob_size(out_.get())));
        return bytes;
    }
    void release() override { out_.reset(); }

    BlobOut out_;
};

struct TensorCreate : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        return moeq_tensor_create(world_.context, MOEQ_DTYPE_FP32, ndim(), shape_.data(), 0, 0, nullptr, out_.ready(),
                                  err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        DLTensor& plain = out_.get()->dl_tensor;
        const size_t bytes = static_cast<size_t>(count_of(shape_)) * sizeof(float);
        std::memset(plain.data, 0x11, bytes); // all of it is ours to write
        return contents(out_.get());
    }
    void release() override { out_.reset(); }

    TensorOut out_;
};

struct TensorFromLegacy : Base {
    TensorFromLegacy(World& world, const char* text, const Size& size)
        : Base(world, text, size), tensor_(MOEQ_DTYPE_FP32, shape_)
    {
        tensor_.fill();
        legacy_.dl_tensor = tensor_.plain();
        legacy_.manager_ctx = &tensor_;
        legacy_.deleter = [](DLManagedTensor* self) { ++static_cast<HostTensor*>(self->manager_ctx)->deleted; };
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_tensor_from_legacy(world_.context, &legacy_, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes state() override { return tensor_.memory(); }
    Bytes result() override { return contents(out_.get()); }
    int deleted() const override { return tensor_.deleted; }
    int adopted() const override { return 1; }
    void release() override { out_.reset(); }

    HostTensor tensor_;
    DLManagedTensor legacy_{};
    TensorOut out_;
};

} // namespace

void add_context_calls(std::vector<CallKind>& calls)
{
    add<ContextCreate>(calls, "context_create", "moeq_context_create", false, kOne);
    add<ContextGetMemory>(calls, "context_get_memory", "moeq_context_get_memory", false, kOne);
    add<ContextDescribe>(calls, "context_describe", "moeq_context_describe", false, kOne);
    add<TensorCreate>(calls, "tensor_create", "moeq_tensor_create", false, kOne);
    add<TensorFromLegacy>(calls, "tensor_from_legacy", "moeq_tensor_from_legacy", false, kOne);
}

} // namespace moeq_test
