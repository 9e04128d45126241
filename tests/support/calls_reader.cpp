// Calls about open checkpoints.
#include "support/calls_base.h"
#include "support/checkpoint_files.h"

namespace moeq_test {

namespace {

using ReaderOut = Out<moeq_reader, moeq_reader_destroy>;

constexpr const char* kStack = "m.experts.gate_up_proj";

// A file of gate, up and a norm, each expert's in tensors of its own; and one of the same experts quantized.
struct InCheckpoint : Base {
    InCheckpoint(World& world, const char* text, const Size& size) : Base(world, text, size)
    {
        ContainerFile file;
        const Shape half{size.rows, size.columns};
        for (int64_t e = 0; e < size.experts; ++e)
            for (const char* leaf : {"gate_proj", "up_proj"}) {
                HostTensor piece(MOEQ_DTYPE_BF16, half);
                piece.fill(static_cast<uint64_t>(e) + (leaf[0] == 'g' ? 100 : 200));
                file.add("m.experts." + std::to_string(e) + "." + leaf + ".weight", piece);
            }
        HostTensor norm(MOEQ_DTYPE_FP32, {7});
        norm.fill(3);
        file.add("norm", norm);
        folder_.write("dense.safetensors", file.text());
        write_quantized();
    }
    void write_quantized()
    {
        QtensorOut weight;
        quantize(world_, spec_, size_, 5, weight);
        moeq_spec spec = sized<moeq_spec>();
        EXPECT_DONE(moeq_qtensor_get_spec(weight.get(), &spec, &err));
        auto options = sized<moeq_writer_options>();
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        moeq_writer* writer = nullptr;
        EXPECT_DONE(moeq_writer_create(world_.context, native_.c_str(), &options, &writer, &err));
        EXPECT_DONE(moeq_writer_declare(writer, kStack, &spec, 0, ndim(), shape_.data(), &err));
        EXPECT_DONE(moeq_writer_put_qtensor(writer, kStack, weight.get(), nullptr, &err));
        EXPECT_DONE(moeq_writer_commit(writer, &err));
        moeq_writer_destroy(writer);
    }
    // Uses no memory of the test's own.
    moeq_status open(bool native, int32_t flags, ReaderOut& out, moeq_error* err)
    {
        auto options = sized<moeq_reader_options>();
        options.flags = flags;
        options.patterns = R"([{"match": "other.{expert}.w", "stack": "other.w"}])";
        return moeq_reader_open(world_.context, (native ? native_ : dense_).c_str(), &options, out.ready(), err);
    }

    TemporaryFolder folder_;
    const std::string dense_ = folder_.path("dense.safetensors");
    const std::string native_ = folder_.path("native.safetensors");
};

Bytes described(const moeq_reader* reader)
{
    BlobOut blob;
    EXPECT_DONE(moeq_reader_metadata(reader, blob.ready(), &err));
    Bytes bytes;
    append(bytes, moeq_blob_data(blob.get()), static_cast<size_t>(moeq_blob_size(blob.get())));
    return bytes;
}

template <int32_t kFlags, bool kNative>
struct ReaderOpen : InCheckpoint {
    using InCheckpoint::InCheckpoint;
    moeq_status run(moeq_error* err) override { return open(kNative, kFlags, out_, err); }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return described(out_.get()); }
    void release() override { out_.reset(); }

    ReaderOut out_;
};

// Calls about a reader that is there before.
template <int32_t kFlags = 0, bool kNative = false>
struct OfReader : InCheckpoint {
    OfReader(World& world, const char* text, const Size& size) : InCheckpoint(world, text, size)
    {
        EXPECT_DONE(open(kNative, kFlags, reader_, &err));
    }
    Bytes state() override { return described(reader_.get()); }
    void release() override { reader_.reset(); }

    ReaderOut reader_;
};

struct ReaderGetInfo : OfReader<> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override { return moeq_reader_get_info(reader_.get(), &info_, err); }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, info_);
        return bytes;
    }
    moeq_reader_info info_ = sized<moeq_reader_info>();
};

struct ReaderGetTensor : OfReader<> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override { return moeq_reader_get_tensor(reader_.get(), 1, &info_, err); }
    Bytes result() override
    {
        Bytes bytes;
        append(bytes, info_.name, std::strlen(info_.name));
        info_.name = nullptr;
        append_value(bytes, info_);
        return bytes;
    }
    moeq_tensor_info info_ = sized<moeq_tensor_info>();
};

struct ReaderGetStack : OfReader<> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override { return moeq_reader_get_stack(reader_.get(), 0, &info_, err); }
    Bytes result() override
    {
        Bytes bytes;
        append(bytes, info_.name, std::strlen(info_.name));
        info_.name = nullptr;
        append_value(bytes, info_);
        return bytes;
    }
    moeq_stack_info info_ = sized<moeq_stack_info>();
};

struct ReaderGetStackSpec : OfReader<0, true> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override { return moeq_reader_get_stack_spec(reader_.get(), 0, &spec_out_, err); }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, spec_out_);
        return bytes;
    }
    moeq_spec spec_out_ = sized<moeq_spec>();
};

struct ReaderFind : OfReader<> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override
    {
        return moeq_reader_find(reader_.get(), kStack, &tensor_, &stack_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, tensor_);
        append_value(bytes, stack_);
        return bytes;
    }
    int64_t tensor_ = 0;
    int64_t stack_ = 0;
};

struct ReaderRead : OfReader<> {
    ReaderRead(World& world, const char* text, const Size& size)
        : OfReader(world, text, size), out_(MOEQ_DTYPE_BF16, {2, size.columns})
    {
    }
    moeq_status run(moeq_error* err) override { return moeq_reader_read(reader_.get(), 1, 1, out_, err); }
    Bytes result() override { return out_.memory(); }
    int deleted() const override { return out_.deleted; } // borrowed: never

    HostTensor out_;
};

template <int32_t kFlags, bool kNative>
struct ReaderLoad : OfReader<kFlags, kNative> {
    using OfReader<kFlags, kNative>::OfReader;
    moeq_status run(moeq_error* err) override
    {
        auto options = sized<moeq_load_options>();
        options.spec = kNative ? nullptr : &this->spec_;
        return moeq_reader_load(this->reader_.get(), 0, &options, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override { return everything(out_.get()); }
    void release() override
    {
        OfReader<kFlags, kNative>::release();
        out_.reset();
    }

    QtensorOut out_;
};

struct ReaderMetadata : OfReader<> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override { return moeq_reader_metadata(reader_.get(), out_.ready(), err); }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        Bytes bytes;
        append(bytes, moeq_blob_data(out_.get()), static_cast<size_t>(moeq_blob_size(out_.get())));
        return bytes;
    }
    void release() override
    {
        OfReader::release();
        out_.reset();
    }

    BlobOut out_;
};

struct ReaderVerify : OfReader<0, true> {
    using OfReader::OfReader;
    moeq_status run(moeq_error* err) override
    {
        return moeq_reader_verify(reader_.get(), nullptr, nullptr, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes result() override
    {
        Bytes bytes;
        append(bytes, moeq_blob_data(out_.get()), static_cast<size_t>(moeq_blob_size(out_.get())));
        return bytes;
    }
    void release() override
    {
        OfReader::release();
        out_.reset();
    }

    BlobOut out_;
};

} // namespace

void add_reader_calls(std::vector<CallKind>& calls)
{
    add<ReaderOpen<0, false>>(calls, "reader_open", "moeq_reader_open", false, kOne);
    add<ReaderOpen<MOEQ_READER_MMAP, true>>(calls, "reader_open mapped", "moeq_reader_open", false, kOne);
    add<ReaderGetInfo>(calls, "reader_get_info", "moeq_reader_get_info", false, kOne);
    add<ReaderGetTensor>(calls, "reader_get_tensor", "moeq_reader_get_tensor", false, kOne);
    add<ReaderGetStack>(calls, "reader_get_stack", "moeq_reader_get_stack", false, kOne);
    add<ReaderGetStackSpec>(calls, "reader_get_stack_spec", "moeq_reader_get_stack_spec", false, kOne);
    add<ReaderFind>(calls, "reader_find", "moeq_reader_find", false, kOne);
    add<ReaderRead>(calls, "reader_read", "moeq_reader_read", false, kOne);
    add<ReaderLoad<0, false>>(calls, "reader_load dense", "moeq_reader_load", false, kAll);
    add<ReaderLoad<0, true>>(calls, "reader_load quantized", "moeq_reader_load", false, kFew);
    add<ReaderLoad<MOEQ_READER_MMAP, true>>(calls, "reader_load mapped", "moeq_reader_load", false, kFew);
    add<ReaderMetadata>(calls, "reader_metadata", "moeq_reader_metadata", false, kOne);
    add<ReaderVerify>(calls, "reader_verify", "moeq_reader_verify", false, kFew);
}

} // namespace moeq_test
