#include "support/calls.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <regex>

namespace moeq_test {

namespace {

template <class T>
T* rubbish()
{
    return reinterpret_cast<T*>(uintptr_t{0x5555555555555550});
}

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

constexpr std::array kComponents = {MOEQ_COMPONENT_CODES,      MOEQ_COMPONENT_SCALE,         MOEQ_COMPONENT_NESTED_SCALE,
                                    MOEQ_COMPONENT_NESTED_MAP, MOEQ_COMPONENT_NESTED_OFFSET, MOEQ_COMPONENT_CODE_MAP,
                                    MOEQ_COMPONENT_GLOBAL_SCALE};

// An out-pointer, which holds rubbish before the call and is given back at the end.
template <class T, void (*kGiveBack)(T*)>
class Out {
public:
    Out() = default;
    ~Out() { reset(); }
    Out(const Out&) = delete;
    Out& operator=(const Out&) = delete;

    T** ready()
    {
        reset();
        pointer_ = rubbish<T>();
        return &pointer_;
    }
    bool is_null() const { return pointer_ == nullptr; }
    T* get() const { return pointer_; }
    T* take() { return std::exchange(pointer_, nullptr); }
    void reset()
    {
        if (pointer_ != rubbish<T>())
            kGiveBack(pointer_);
        pointer_ = nullptr;
    }

private:
    T* pointer_ = nullptr;
};

void release_qtensor(moeq_qtensor* qtensor) { moeq_qtensor_release(qtensor); }
void delete_tensor(DLManagedTensorVersioned* tensor)
{
    if (tensor != nullptr && tensor->deleter != nullptr)
        tensor->deleter(tensor);
}

using QtensorOut = Out<moeq_qtensor, release_qtensor>;
using BuilderOut = Out<moeq_builder, moeq_builder_destroy>;
using ContextOut = Out<moeq_context, moeq_context_destroy>;
using BlobOut = Out<moeq_blob, moeq_blob_destroy>;
using TensorOut = Out<DLManagedTensorVersioned, delete_tensor>;

#define EXPECT_DONE(expression)                                                                                        \
    do {                                                                                                               \
        moeq_error err{};                                                                                              \
        EXPECT_EQ((expression), MOEQ_OK) << err.message;                                                               \
    } while (false)

void quantize(World& world, const moeq_spec& spec, const Size& size, uint64_t seed, QtensorOut& out)
{
    HostTensor source(MOEQ_DTYPE_BF16, size.shape());
    source.fill(seed);
    EXPECT_DONE(moeq_qtensor_quantize(world.context, source, &spec, nullptr, nullptr, out.ready(), &err));
}

// The tensors that hold the components of a weight, in the caller's memory.
struct Components {
    Components(const moeq_spec& spec, const Shape& shape)
    {
        for (const int32_t component : kComponents) {
            auto info = sized<moeq_component_info>();
            const auto ndim = static_cast<int32_t>(shape.size());
            if (moeq_spec_get_component(&spec, ndim, shape.data(), component, &info, nullptr) != MOEQ_OK)
                continue;
            tensors.push_back(std::make_unique<HostTensor>(info.dtype, Shape(info.shape, info.shape + info.ndim)));
            list.push_back({component, 0, *tensors.back()});
        }
    }
    int64_t count() const { return static_cast<int64_t>(list.size()); }
    Bytes bytes() const
    {
        Bytes all;
        for (const auto& tensor : tensors)
            append(all, tensor->memory());
        return all;
    }
    int deleted() const
    {
        int times = 0;
        for (const auto& tensor : tensors)
            times += tensor->deleted;
        return times;
    }

    std::vector<std::unique_ptr<HostTensor>> tensors;
    std::vector<moeq_component> list;
};

// What all calls have at hand.
struct Base : Call {
    Base(World& world, const char* text, const Size& size) : world_(world), spec_(parse(text)), size_(size), shape_(size.shape()) {}
    int32_t ndim() const { return static_cast<int32_t>(shape_.size()); }

    World& world_;
    moeq_spec spec_;
    Size size_;
    Shape shape_;
};

// ---- Contexts and tensors ----

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
        return moeq_tensor_create(world_.context, MOEQ_DTYPE_FP32, ndim(), shape_.data(), 0, 0, nullptr, out_.ready(), err);
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
    TensorFromLegacy(World& world, const char* text, const Size& size) : Base(world, text, size), tensor_(MOEQ_DTYPE_FP32, shape_)
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

// ---- Specs ----

struct SpecResolve : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_spec>();
        return moeq_spec_resolve(&spec_, ndim(), shape_.data(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_spec out_{};
};

struct SpecGetComponent : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_component_info>();
        return moeq_spec_get_component(&spec_, ndim(), shape_.data(), MOEQ_COMPONENT_CODES, &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_component_info out_{};
};

struct SpecGetBytes : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        return moeq_spec_get_bytes(&spec_, ndim(), shape_.data(), &bytes_, &staging_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, bytes_);
        append_value(bytes, staging_);
        return bytes;
    }

    int64_t bytes_ = -1;
    int64_t staging_ = -1;
};

struct SpecParse : Base {
    SpecParse(World& world, const char* text, const Size& size) : Base(world, text, size), text_(text) {}
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_spec>();
        return moeq_spec_parse(text_.c_str(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    std::string text_;
    moeq_spec out_{};
};

struct SpecPrint : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override { return moeq_spec_print(&spec_, out_, err); }
    Bytes result() override { return Bytes(out_, out_ + std::strlen(out_)); }

    char out_[MOEQ_SPEC_TEXT] = {};
};

// ---- Qtensors ----

struct QtensorQuantize : Base {
    QtensorQuantize(World& world, const char* text, const Size& size) : Base(world, text, size), source_(MOEQ_DTYPE_FP32, shape_)
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
        : Base(world, text, size), source_(MOEQ_DTYPE_BF16, shape_, {size.rows * size.columns, 1, size.rows}), storage_(spec_, shape_)
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
        return moeq_qtensor_adopt(world_.context, &spec_, ndim(), shape_.data(), components_.list.data(), components_.count(),
                                  nullptr, out_.ready(), err);
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
    OfQtensor(World& world, const char* text, const Size& size) : Base(world, text, size) { quantize(world, spec_, size, 4, handle_); }
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
    QtensorDequantize(World& world, const char* text, const Size& size) : OfQtensor(world, text, size), destination_(MOEQ_DTYPE_BF16, shape_)
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
        : OfQtensor(world, text, size),
          destination_(MOEQ_DTYPE_FP32, {3, size.rows - 1, size.columns}, {(size.rows - 1) * size.columns, 1, size.rows - 1})
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
    QtensorRequantize(World& world, const char* text, const Size& size) : OfQtensor(world, text, size), source_(MOEQ_DTYPE_BF16, shape_)
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
        return moeq_quantize_into(world_.context, source_, &spec_, nullptr, nullptr, components_.list.data(), components_.count(), err);
    }
    Bytes result() override { return components_.bytes(); }
    int deleted() const override { return components_.deleted() + source_.deleted; }

    HostTensor source_;
    Components components_;
};

struct QtensorSlice : OfQtensor {
    using OfQtensor::OfQtensor;
    moeq_status run(moeq_error* err) override
    {
        return moeq_qtensor_slice(handle_.get(), 0, 1, 3, out_.ready(), err);
    }
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
        : OfQtensor(world, text, size), source_(MOEQ_DTYPE_BF16, shape_), destination_(MOEQ_DTYPE_FP64, {size.experts, 7})
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

// ---- Builders ----

struct BuilderCreate : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        return moeq_builder_create(world_.context, &spec_, ndim(), shape_.data(), nullptr, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        auto state = sized<moeq_builder_state>();
        EXPECT_DONE(moeq_builder_get_state(out_.get(), &state, &err));
        Bytes bytes;
        append_value(bytes, state);
        return bytes;
    }
    void release() override { out_.reset(); }

    BuilderOut out_;
};

// Calls about a builder that already has some pieces: the first expert but for its last column, and one of the second's rows.
struct OfBuilder : Base {
    OfBuilder(World& world, const char* text, const Size& size) : Base(world, text, size), weight_(MOEQ_DTYPE_FP32, shape_)
    {
        weight_.fill(7);
        EXPECT_DONE(moeq_builder_create(world.context, &spec_, ndim(), shape_.data(), nullptr, nullptr, builder_.ready(), &err));
        EXPECT_DONE(write(0, 0, 0, size_.rows, size_.columns - 1, &err));
        EXPECT_DONE(write(1, 1, 0, 1, size_.columns, &err));
    }
    // The block of `rows` and `columns` that begins there, a strided view of the whole weight. Uses no memory but the stack.
    moeq_status write(int64_t expert, int64_t row, int64_t column, int64_t rows, int64_t columns, moeq_error* err)
    {
        int64_t shape[] = {rows, columns};
        int64_t strides[] = {size_.columns, 1};
        DLManagedTensorVersioned piece = *weight_.operator->();
        piece.dl_tensor.byte_offset = static_cast<uint64_t>(((expert * size_.rows + row) * size_.columns + column)) * sizeof(float);
        piece.dl_tensor.ndim = 2;
        piece.dl_tensor.shape = shape;
        piece.dl_tensor.strides = strides;
        return moeq_builder_write(builder_.get(), expert, row, column, &piece, nullptr, err);
    }
    // Progress and the missing blocks.
    Bytes state() override
    {
        auto state = sized<moeq_builder_state>();
        EXPECT_DONE(moeq_builder_get_state(builder_.get(), &state, &err));
        std::vector<moeq_block> missing(64);
        int64_t count = -1;
        EXPECT_DONE(moeq_builder_get_missing(builder_.get(), missing.data(), 64, &count, &err));
        Bytes bytes;
        append_value(bytes, state);
        append_value(bytes, count);
        append(bytes, missing.data(), static_cast<size_t>(std::min<int64_t>(count, 64)) * sizeof(moeq_block));
        return bytes;
    }
    // All that is missing.
    void write_rest()
    {
        std::vector<moeq_block> missing(256);
        int64_t count = 0;
        EXPECT_DONE(moeq_builder_get_missing(builder_.get(), missing.data(), 256, &count, &err));
        ASSERT_LE(count, 256);
        for (int64_t i = 0; i < count; ++i) {
            const moeq_block& block = missing[static_cast<size_t>(i)];
            for (int64_t expert = block.expert_begin; expert < block.expert_end; ++expert)
                EXPECT_DONE(write(expert, block.row_begin, block.column_begin, block.row_end - block.row_begin,
                                  block.column_end - block.column_begin, &err));
        }
    }
    Bytes finished()
    {
        write_rest();
        QtensorOut out;
        EXPECT_DONE(moeq_builder_finish(builder_.take(), nullptr, out.ready(), &err));
        return everything(out.get());
    }
    Bytes result() override { return finished(); }
    int deleted() const override { return weight_.deleted; } // borrowed: never
    void release() override { builder_.reset(); }

    HostTensor weight_;
    BuilderOut builder_;
};

struct BuilderWriteWhole : OfBuilder {
    using OfBuilder::OfBuilder;
    moeq_status run(moeq_error* err) override { return write(2, 0, 0, size_.rows, size_.columns, err); }
};

struct BuilderWritePart : OfBuilder {
    using OfBuilder::OfBuilder;
    moeq_status run(moeq_error* err) override { return write(2, 1, 7, size_.rows - 2, size_.columns - 50, err); }
};

struct BuilderWriteLastOfUnit : OfBuilder {
    using OfBuilder::OfBuilder;
    moeq_status run(moeq_error* err) override { return write(0, 0, size_.columns - 1, size_.rows, 1, err); }
};

struct BuilderGetState : OfBuilder {
    using OfBuilder::OfBuilder;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_builder_state>();
        return moeq_builder_get_state(builder_.get(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_builder_state out_{};
};

struct BuilderGetMissing : OfBuilder {
    using OfBuilder::OfBuilder;
    moeq_status run(moeq_error* err) override { return moeq_builder_get_missing(builder_.get(), blocks_, 2, &count_, err); }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, blocks_);
        append_value(bytes, count_);
        return bytes;
    }

    moeq_block blocks_[2] = {};
    int64_t count_ = -1;
};

struct BuilderFinish : OfBuilder {
    BuilderFinish(World& world, const char* text, const Size& size) : OfBuilder(world, text, size) { write_rest(); }
    moeq_status run(moeq_error* err) override
    {
        const moeq_status status = moeq_builder_finish(builder_.get(), nullptr, out_.ready(), err);
        if (status == MOEQ_OK)
            builder_.take();
        return status;
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return everything(out_.get()); }
    void release() override
    {
        OfBuilder::release();
        out_.reset();
    }

    QtensorOut out_;
};

// ---- Reductions ----

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
    ReduceSum(World& world, const char* text, const Size& size) : Reduce(world, text, size) { operation_ = MOEQ_REDUCE_SUM; }
};

struct ReduceMany : Base {
    ReduceMany(World& world, const char* text, const Size& size)
        : Base(world, text, size), first_(MOEQ_DTYPE_BF16, shape_), second_(MOEQ_DTYPE_FP32, shape_), destination_(MOEQ_DTYPE_FP32, {2})
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

template <class T>
std::unique_ptr<Call> make(World& world, const char* spec, const Size& size)
{
    return std::make_unique<T>(world, spec, size);
}

std::vector<CallKind> list_calls()
{
    constexpr bool kHot = true;
    std::vector<CallKind> calls;
    const auto add = [&]<class T>(const char* name, const char* function, bool hot, std::vector<std::string> specs) {
        for (const std::string& spec : specs)
            calls.push_back({std::string(name) + " " + spec, function, hot, false, make<T>, spec});
    };
    const std::vector<std::string> one = {"int8"};
    const std::vector<std::string> few = {"int8", "nf4:nested", "fp8_e4m3:block128x128"};
    const std::vector<std::string> all = {"int8",       "int8:expert",         "int8:axis=-2", "nf4",      "nf4:nested",
                                          "nf4:32,blocking=row", "nf4:blocking=flat",  "fp4",          "fp8_e4m3", "fp8_e4m3:block128x128",
                                          "fp8_e5m2:expert"};
    add.operator()<ContextCreate>("context_create", "moeq_context_create", false, one);
    add.operator()<ContextGetMemory>("context_get_memory", "moeq_context_get_memory", false, one);
    add.operator()<ContextDescribe>("context_describe", "moeq_context_describe", false, one);
    add.operator()<TensorCreate>("tensor_create", "moeq_tensor_create", false, one);
    add.operator()<TensorFromLegacy>("tensor_from_legacy", "moeq_tensor_from_legacy", false, one);
    add.operator()<SpecResolve>("spec_resolve", "moeq_spec_resolve", false, all);
    add.operator()<SpecGetComponent>("spec_get_component", "moeq_spec_get_component", false, all);
    add.operator()<SpecGetBytes>("spec_get_bytes", "moeq_spec_get_bytes", false, all);
    add.operator()<SpecParse>("spec_parse", "moeq_spec_parse", false, all);
    add.operator()<SpecPrint>("spec_print", "moeq_spec_print", false, all);
    add.operator()<QtensorQuantize>("quantize", "moeq_qtensor_quantize", false, all);
    add.operator()<QtensorQuantizeStorage>("quantize into storage", "moeq_qtensor_quantize", false, all);
    add.operator()<QtensorAdopt>("adopt", "moeq_qtensor_adopt", false, all);
    add.operator()<QtensorGetInfo>("get_info", "moeq_qtensor_get_info", false, few);
    add.operator()<QtensorGetSpec>("get_spec", "moeq_qtensor_get_spec", false, few);
    add.operator()<QtensorExport>("export", "moeq_qtensor_export", false, few);
    add.operator()<QtensorDequantize>("dequantize", "moeq_qtensor_dequantize", kHot, all);
    add.operator()<QtensorDequantizeRegion>("dequantize a region", "moeq_qtensor_dequantize", kHot, all);
    add.operator()<QtensorRequantize>("requantize", "moeq_qtensor_requantize", kHot, all);
    add.operator()<QuantizeInto>("quantize_into", "moeq_quantize_into", kHot, all);
    add.operator()<QtensorSlice>("slice", "moeq_qtensor_slice", false, {"int8", "nf4", "fp4:128", "fp8_e4m3:block128x128"});
    add.operator()<QtensorCopy>("copy", "moeq_qtensor_copy", false, all);
    add.operator()<QtensorCompare>("compare", "moeq_qtensor_compare", false, all);
    add.operator()<BuilderCreate>("builder_create", "moeq_builder_create", false, all);
    add.operator()<BuilderWriteWhole>("write an expert", "moeq_builder_write", false, all);
    add.operator()<BuilderWritePart>("write part of an expert", "moeq_builder_write", false, all);
    add.operator()<BuilderWriteLastOfUnit>("write the last piece of units", "moeq_builder_write", false, all);
    add.operator()<BuilderGetState>("get_state", "moeq_builder_get_state", false, few);
    add.operator()<BuilderGetMissing>("get_missing", "moeq_builder_get_missing", false, few);
    add.operator()<BuilderFinish>("finish", "moeq_builder_finish", false, all);
    add.operator()<Reduce>("reduce", "moeq_reduce", kHot, one);
    add.operator()<ReduceSum>("reduce sum", "moeq_reduce", kHot, one);
    add.operator()<ReduceMany>("reduce_many", "moeq_reduce_many", kHot, one);
    add.operator()<ReduceShape>("reduce_shape", "moeq_reduce_shape", false, one);
    add.operator()<ReduceAxes>("reduce_axes", "moeq_reduce_axes", false, one);
    add.operator()<ScaleFromAmax>("scale_from_amax", "moeq_scale_from_amax", kHot, few);
    // Room for the statistics is optional: without it the source is read twice.
    for (CallKind& call : calls)
        call.absorbs = call.function == "moeq_qtensor_quantize" && call.spec == "nf4:nested";
    return calls;
}

} // namespace

const std::vector<CallKind>& all_calls()
{
    static const std::vector<CallKind> calls = list_calls();
    return calls;
}

std::string test_name(const testing::TestParamInfo<CallKind>& info)
{
    std::string name = info.param.name;
    std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

std::vector<std::string> fallible_functions()
{
    std::ifstream header(MOEQ_SOURCE_DIR "/include/moeq.h");
    const std::string text((std::istreambuf_iterator<char>(header)), std::istreambuf_iterator<char>());
    const std::regex declaration("MOEQ_API\\s+moeq_status\\s+(moeq_\\w+)\\s*\\(");
    std::vector<std::string> names;
    for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it)
        names.push_back((*it)[1]);
    std::sort(names.begin(), names.end());
    return names;
}

moeq_spec parse(const char* text)
{
    auto spec = sized<moeq_spec>();
    EXPECT_DONE(moeq_spec_parse(text, &spec, &err));
    return spec;
}

Bytes everything(const moeq_qtensor* qtensor)
{
    Bytes bytes;
    auto spec = sized<moeq_spec>();
    EXPECT_DONE(moeq_qtensor_get_spec(qtensor, &spec, &err));
    append_value(bytes, spec);
    auto info = sized<moeq_qtensor_info>();
    EXPECT_DONE(moeq_qtensor_get_info(qtensor, &info, &err));
    append_value(bytes, info.shape);
    append_value(bytes, info.bytes);
    for (const int32_t component : kComponents) {
        TensorOut out;
        const moeq_status status = moeq_qtensor_export(qtensor, component, out.ready(), nullptr);
        append_value(bytes, status);
        if (status == MOEQ_OK)
            append(bytes, contents(out.get()));
    }
    HostTensor values(MOEQ_DTYPE_FP32, {info.folded[0], info.folded[1], info.folded[2]});
    EXPECT_DONE(moeq_qtensor_dequantize(qtensor, nullptr, nullptr, values, &err));
    append(bytes, values.memory());
    return bytes;
}

} // namespace moeq_test
