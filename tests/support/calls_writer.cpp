// Calls about files being written.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "support/calls_base.h"
#include "support/temporary_folder.h"

namespace moeq_test {

namespace {

// A folder, and the path of a file in it that is not there yet.
struct InFolder : Base {
    using Base::Base;
    Bytes file() const
    {
        std::ifstream stream(path_, std::ios::binary);
        return Bytes(std::istreambuf_iterator<char>(stream), {});
    }
    int64_t files() const
    {
        return std::distance(std::filesystem::directory_iterator(folder_.path()),
                             std::filesystem::directory_iterator());
    }

    TemporaryFolder folder_;
    std::string path_ = folder_.path("model.safetensors");
};

struct WriterCreate : InFolder {
    using InFolder::InFolder;
    moeq_status run(moeq_error* err) override
    {
        auto options = sized<moeq_writer_options>();
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        options.metadata = "{\"who\": \"test\"}";
        return moeq_writer_create(world_.context, path_.c_str(), &options, out_.ready(), err);
    }
    bool outs_are_null() const override { return out_.is_null(); }
    Bytes state() override
    {
        Bytes bytes;
        append_value(bytes, files());
        return bytes;
    }
    Bytes result() override
    {
        EXPECT_DONE(moeq_writer_commit(out_.get(), &err));
        return file();
    }
    void release() override { out_.reset(); }

    WriterOut out_;
};

// Calls about a writer that is there before. `finish` does what is missing, and gives the file.
struct OfWriter : InFolder {
    OfWriter(World& world, const char* text, const Size& size)
        : InFolder(world, text, size), dense_(MOEQ_DTYPE_BF16, {size.rows, size.columns}),
          strided_(MOEQ_DTYPE_FP32, {size.columns, size.rows}, {1, size.columns})
    {
        auto options = sized<moeq_writer_options>();
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        dense_.fill(3);
        strided_.fill(4);
        quantize(world, spec_, size, 5, weight_);
        EXPECT_DONE(moeq_qtensor_get_spec(weight_.get(), &spec_, &err));
        EXPECT_DONE(moeq_writer_create(world.context, path_.c_str(), &options, writer_.ready(), &err));
    }
    moeq_status declare(const char* name, const HostTensor& tensor, int32_t dtype, moeq_error* err)
    {
        return moeq_writer_declare(writer_.get(), name, nullptr, dtype, 2, tensor.shape().data(), err);
    }
    moeq_status declare_weight(moeq_error* err)
    {
        return moeq_writer_declare(writer_.get(), "experts", &spec_, 0, ndim(), shape_.data(), err);
    }
    moeq_status put(const char* name, HostTensor& tensor, moeq_error* err)
    {
        return moeq_writer_put(writer_.get(), name, tensor, nullptr, err);
    }
    moeq_status put_weight(moeq_error* err)
    {
        return moeq_writer_put_qtensor(writer_.get(), "experts", weight_.get(), nullptr, err);
    }
    void declare_all()
    {
        EXPECT_DONE(declare("dense", dense_, MOEQ_DTYPE_BF16, &err));
        EXPECT_DONE(declare("strided", strided_, MOEQ_DTYPE_FP32, &err));
        EXPECT_DONE(declare_weight(&err));
    }
    Bytes committed()
    {
        EXPECT_DONE(moeq_writer_commit(writer_.get(), &err));
        return file();
    }
    Bytes state() override
    {
        Bytes bytes;
        append_value(bytes, std::filesystem::exists(path_));
        append_value(bytes, files());
        return bytes;
    }
    int deleted() const override { return dense_.deleted + strided_.deleted; } // borrowed: never
    void release() override
    {
        writer_.reset();
        weight_.reset();
    }

    HostTensor dense_;
    HostTensor strided_;
    QtensorOut weight_;
    WriterOut writer_;
};

struct WriterDeclare : OfWriter {
    using OfWriter::OfWriter;
    moeq_status run(moeq_error* err) override { return declare("dense", dense_, MOEQ_DTYPE_BF16, err); }
    Bytes result() override
    {
        EXPECT_DONE(put("dense", dense_, &err));
        return committed();
    }
};

struct WriterDeclareWeight : OfWriter {
    using OfWriter::OfWriter;
    moeq_status run(moeq_error* err) override { return declare_weight(err); }
    Bytes result() override
    {
        EXPECT_DONE(put_weight(&err));
        return committed();
    }
};

// Everything is declared.
struct OfDeclared : OfWriter {
    OfDeclared(World& world, const char* text, const Size& size) : OfWriter(world, text, size) { declare_all(); }
};

struct WriterPut : OfDeclared {
    using OfDeclared::OfDeclared;
    moeq_status run(moeq_error* err) override { return put("dense", dense_, err); }
    Bytes result() override
    {
        EXPECT_DONE(put("strided", strided_, &err));
        EXPECT_DONE(put_weight(&err));
        return committed();
    }
};

struct WriterPutStrided : OfDeclared {
    using OfDeclared::OfDeclared;
    moeq_status run(moeq_error* err) override { return put("strided", strided_, err); }
    Bytes result() override
    {
        EXPECT_DONE(put("dense", dense_, &err));
        EXPECT_DONE(put_weight(&err));
        return committed();
    }
};

struct WriterPutQtensor : OfDeclared {
    using OfDeclared::OfDeclared;
    moeq_status run(moeq_error* err) override { return put_weight(err); }
    Bytes result() override
    {
        EXPECT_DONE(put("dense", dense_, &err));
        EXPECT_DONE(put("strided", strided_, &err));
        return committed();
    }
};

struct WriterCommit : OfDeclared {
    WriterCommit(World& world, const char* text, const Size& size) : OfDeclared(world, text, size)
    {
        EXPECT_DONE(put("dense", dense_, &err));
        EXPECT_DONE(put("strided", strided_, &err));
        EXPECT_DONE(put_weight(&err));
    }
    moeq_status run(moeq_error* err) override { return moeq_writer_commit(writer_.get(), err); }
    Bytes result() override { return file(); }
};

// Nothing was declared, so the header is made by the commit.
struct WriterCommitEmpty : OfWriter {
    using OfWriter::OfWriter;
    moeq_status run(moeq_error* err) override { return moeq_writer_commit(writer_.get(), err); }
    Bytes result() override { return file(); }
};

} // namespace

void add_writer_calls(std::vector<CallKind>& calls)
{
    add<WriterCreate>(calls, "writer_create", "moeq_writer_create", false, kOne);
    add<WriterDeclare>(calls, "declare a tensor", "moeq_writer_declare", false, kOne);
    add<WriterDeclareWeight>(calls, "declare a weight", "moeq_writer_declare", false, kFew);
    add<WriterPut>(calls, "put", "moeq_writer_put", false, kOne);
    add<WriterPutStrided>(calls, "put strided", "moeq_writer_put", false, kOne);
    add<WriterPutQtensor>(calls, "put_qtensor", "moeq_writer_put_qtensor", false, kFew);
    add<WriterCommit>(calls, "commit", "moeq_writer_commit", false, kFew);
    add<WriterCommitEmpty>(calls, "commit nothing", "moeq_writer_commit", false, kOne);
}

} // namespace moeq_test
