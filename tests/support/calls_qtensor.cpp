// Calls about handles.
#include "support/calls_base.h"

namespace moeq_test {

namespace {

struct QtensorQuantize : Base {
    QtensorQuantize(World& world, const char* text, const Size& size)
        : Base(world, text, size), source_(MOEQ_DTYPE_FP32, shape_)
    {
        source_.fill();
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_quantize(world_.context, source_, &spec_, nullptr, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return everything(out_.get()); }
    int deleted() const override { return source_.deleted; } // borrowed: never
    void release() override { out_.reset(); }

    HostTensor source_;
    QtensorOut out_;
};

// The source's columns are not side by side, and the codes go into storage of the caller's.
struct QtensorQuantizeStorage : Base {
    QtensorQuantizeStorage(World& world, const char* text, const Size& size)
        : Base(world, text, size), source_(MOEQ_DTYPE_BF16, shape_, {size.rows * size.columns, 1, size.rows}),
          storage_(spec_, shape_)
    {
        source_.fill(2);
    }
    moeq_status run(moeq_error* err) override
    {
        auto options = sized<moeq_quantize_options>();
        options.storage = storage_.list.data();
        options.storage_count = storage_.count();
        return moeq_qtensor_quantize(world_.context, source_, &spec_, &options, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return everything(out_.get()); }
    int deleted() const override { return storage_.deleted() + source_.deleted; }
    int adopted() const override { return static_cast<int>(storage_.count()); }
    void release() override { out_.reset(); }

    HostTensor source_;
    Components storage_;
    QtensorOut out_;
};

struct QtensorAdopt : Base {
    QtensorAdopt(World& world, const char* text, const Size& size) : Base(world, text, size), components_(spec_, shape_)
    {
        HostTensor source(MOEQ_DTYPE_FP32, shape_);
        source.fill(3);
        EXPECT_DONE(moeq_quantize_into(world.context, source, &spec_, nullptr, nullptr, components_.list.data(),
                                       components_.count(), &err));
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_adopt(world_.context, &spec_, ndim(), shape_.data(), components_.list.data(),
                                  components_.count(), nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes state() override { return components_.bytes(); }
    Bytes result() override { return everything(out_.get()); }
    int deleted() const override { return components_.deleted(); }
    int adopted() const override { return static_cast<int>(components_.count()); }
    void release() override { out_.reset(); }

    Components components_;
    QtensorOut out_;
};

// Calls about a handle that is there before.
struct OfQtensor : Base {
    OfQtensor(World& world, const char* text, const Size& size) : Base(world, text, size)
    {
        quantize(world, spec_, size, 4, handle_);
    }
    Bytes state() override { return everything(handle_.get()); }
    void release() override { handle_.reset(); }

    QtensorOut handle_;
};

struct QtensorGetInfo : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_qtensor_info>();
        return moeq_qtensor_get_info(handle_.get(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_qtensor_info out_{};
};

struct QtensorGetSpec : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_spec>();
        return moeq_qtensor_get_spec(handle_.get(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_spec out_{};
};

struct QtensorExport : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_export(handle_.get(), MOEQ_COMPONENT_CODES, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        handle_.reset(); // what is exported may outlive it
        return contents(out_.get());
    }
    void release() override
    {
        OfQtensor::release();
        out_.reset();
    }

    TensorOut out_;
};

struct QtensorDequantize : OfQtensor {
    QtensorDequantize(World& world, const char* text, const Size& size)
        : OfQtensor(world, text, size), destination_(MOEQ_DTYPE_BF16, shape_)
    {
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_dequantize(handle_.get(), nullptr, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }
    int deleted() const override { return destination_.deleted; }

    HostTensor destination_;
};

// A list of experts with repeats, some rows, a transposed destination.
struct QtensorDequantizeRegion : OfQtensor {
    QtensorDequantizeRegion(World& world, const char* text, const Size& size)
        : OfQtensor(world, text, size), destination_(MOEQ_DTYPE_FP32, {3, size.rows - 1, size.columns},
                                                     {(size.rows - 1) * size.columns, 1, size.rows - 1})
    {
    }
    moeq_status run(moeq_error* err) override
    {
        const int64_t experts[] = {2, 0, 2};
        auto region = sized<moeq_region>();
        region.experts = experts;
        region.expert_count = 3;
        region.row_begin = 1;
        return moeq_qtensor_dequantize(handle_.get(), &region, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }

    HostTensor destination_;
};

struct QtensorRequantize : OfQtensor {
    QtensorRequantize(World& world, const char* text, const Size& size)
        : OfQtensor(world, text, size), source_(MOEQ_DTYPE_BF16, shape_)
    {
        source_.fill(5);
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_requantize(handle_.get(), source_, nullptr, nullptr, err);
    }
    Bytes result() override { return everything(handle_.get()); }
    Bytes state() override { return {}; } // what it was writing into is unspecified

    HostTensor source_;
};

struct QuantizeInto : Base {
    QuantizeInto(World& world, const char* text, const Size& size)
        : Base(world, text, size), source_(MOEQ_DTYPE_FP16, shape_), components_(spec_, shape_)
    {
        source_.fill(6);
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_quantize_into(world_.context, source_, &spec_, nullptr, nullptr, components_.list.data(),
                                  components_.count(), err);
    }
    Bytes result() override { return components_.bytes(); }
    int deleted() const override { return components_.deleted() + source_.deleted; }

    HostTensor source_;
    Components components_;
};

struct QtensorSlice : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override { return moeq_qtensor_slice(handle_.get(), 0, 1, 3, out_.ready(), err); }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        handle_.reset();
        return everything(out_.get());
    }
    void release() override
    {
        OfQtensor::release();
        out_.reset();
    }

    QtensorOut out_;
};

struct QtensorCopy : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_copy(handle_.get(), MOEQ_DEVICE_CPU, 0, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return everything(out_.get()); }
    void release() override
    {
        OfQtensor::release();
        out_.reset();
    }

    QtensorOut out_;
};

struct QtensorCompare : OfQtensor {
    QtensorCompare(World& world, const char* text, const Size& size)
        : OfQtensor(world, text, size), source_(MOEQ_DTYPE_BF16, shape_),
          destination_(MOEQ_DTYPE_FP64, {size.experts, 7})
    {
        source_.fill(4);
    }
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_compare(handle_.get(), source_, nullptr, destination_, err);
    }
    Bytes result() override { return destination_.memory(); }

    HostTensor source_;
    HostTensor destination_;
};

} // namespace

void add_qtensor_calls(std::vector<CallKind>& calls)
{
    add<QtensorQuantize>(calls, "quantize", "moeq_qtensor_quantize", false, kAll);
    add<QtensorQuantizeStorage>(calls, "quantize into storage", "moeq_qtensor_quantize", false, kAll);
    add<QtensorAdopt>(calls, "adopt", "moeq_qtensor_adopt", false, kAll);
    add<QtensorGetInfo>(calls, "get_info", "moeq_qtensor_get_info", false, kFew);
    add<QtensorGetSpec>(calls, "get_spec", "moeq_qtensor_get_spec", false, kFew);
    add<QtensorExport>(calls, "export", "moeq_qtensor_export", false, kFew);
    add<QtensorDequantize>(calls, "dequantize", "moeq_qtensor_dequantize", true, kAll);
    add<QtensorDequantizeRegion>(calls, "dequantize a region", "moeq_qtensor_dequantize", true, kAll);
    add<QtensorRequantize>(calls, "requantize", "moeq_qtensor_requantize", true, kAll);
    add<QuantizeInto>(calls, "quantize_into", "moeq_quantize_into", true, kAll);
    add<QtensorSlice>(calls, "slice", "moeq_qtensor_slice", false, {"int8", "nf4", "fp4:128", "fp8_e4m3:block128x128"});
    add<QtensorCopy>(calls, "copy", "moeq_qtensor_copy", false, kAll);
    add<QtensorCompare>(calls, "compare", "moeq_qtensor_compare", false, kAll);
}

} // namespace moeq_test
