// Calls about builders.
#include "support/calls_base.h"

namespace moeq_test {

namespace {

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
    OfBuilder(World& world, const char* text, const Size& size)
        : Base(world, text, size), weight_(MOEQ_DTYPE_FP32, shape_)
    {
        weight_.fill(7);
        EXPECT_DONE(moeq_builder_create(world.context, &spec_, ndim(), shape_.data(), nullptr, nullptr,
                                        builder_.ready(), &err));
        EXPECT_DONE(write(0, 0, 0, size_.rows, size_.columns - 1, &err));
        EXPECT_DONE(write(1, 1, 0, 1, size_.columns, &err));
    }
    // The block of `rows` and `columns` that begins there, a strided view of the whole weight. Uses no memory but the stack.
    moeq_status write(int64_t expert, int64_t row, int64_t column, int64_t rows, int64_t columns, moeq_error* err)
    {
        int64_t shape[] = {rows, columns};
        int64_t strides[] = {size_.columns, 1};
        DLManagedTensorVersioned piece = *weight_.operator->();
        piece.dl_tensor.byte_offset =
            static_cast<uint64_t>(((expert * size_.rows + row) * size_.columns + column)) * sizeof(float);
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
    moeq_status run(moeq_error* err) override
    {
        return moeq_builder_get_missing(builder_.get(), blocks_, 2, &count_, err);
    }
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

} // namespace

void add_builder_calls(std::vector<CallKind>& calls)
{
    add<BuilderCreate>(calls, "builder_create", "moeq_builder_create", false, kAll);
    add<BuilderWriteWhole>(calls, "write an expert", "moeq_builder_write", false, kAll);
    add<BuilderWritePart>(calls, "write part of an expert", "moeq_builder_write", false, kAll);
    add<BuilderWriteLastOfUnit>(calls, "write the last piece of units", "moeq_builder_write", false, kAll);
    add<BuilderGetState>(calls, "get_state", "moeq_builder_get_state", false, kFew);
    add<BuilderGetMissing>(calls, "get_missing", "moeq_builder_get_missing", false, kFew);
    add<BuilderFinish>(calls, "finish", "moeq_builder_finish", false, kAll);
}

} // namespace moeq_test
