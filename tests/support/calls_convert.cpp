// Calls about conversions: of a checkpoint with one stack of experts and one other tensor.
#include <filesystem>
#include <fstream>
#include <map>

#include "support/calls_base.h"
#include "support/checkpoint_files.h"

namespace moeq_test {

namespace {

struct OfCheckpoint : Base {
    OfCheckpoint(World& world, const char* text, const Size& size)
        : Base(world, text, size), source_path_(source_.path()), target_path_(folder_.path("target"))
    {
        HostTensor experts(MOEQ_DTYPE_BF16, shape_);
        HostTensor norm(MOEQ_DTYPE_BF16, {size.columns});
        experts.fill(11);
        norm.fill(12);
        ContainerFile file;
        file.add("model.norm.weight", norm);
        file.add("model.layers.0.mlp.experts.down_proj", experts);
        write_sharded(source_, {file});
        source_.write("config.json",
                      "{\"model_type\": \"qwen3_moe\", \"hidden_size\": " + std::to_string(size.rows) + "}");
        source_.write("tokenizer.json", "{}");
        options_.dialect = MOEQ_DIALECT_NATIVE;
        options_.flags = MOEQ_WRITER_NOT_DURABLE;
        options_.spec = &spec_;
        options_.rules = "[{\"match\": \"nothing\", \"spec\": null}]";
    }

    TemporaryFolder source_;
    TemporaryFolder folder_;
    std::string source_path_;
    std::string target_path_;
    moeq_convert_options options_ = sized<moeq_convert_options>();
};

// The same, once quantized, as the source: its weights become dense.
struct OfQuantized : OfCheckpoint {
    OfQuantized(World& world, const char* text, const Size& size) : OfCheckpoint(world, text, size)
    {
        const std::string quantized = folder_.path("quantized");
        EXPECT_DONE(moeq_convert(world.context, source_path_.c_str(), quantized.c_str(), &options_, &err));
        source_path_ = quantized;
        options_.spec = nullptr;
        options_.dense_dtype = MOEQ_DTYPE_BF16;
    }
};

template <class Of>
struct ConvertPlan : Of {
    using Of::Of;
    moeq_status run(moeq_error* err) override
    {
        return moeq_convert_plan(this->world_.context, this->source_path_.c_str(), this->target_path_.c_str(),
                                 &this->options_, out_.ready(), err);
    }
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

// A failure may leave units in the directory beside the target, never a target.
template <class Of>
struct Convert : Of {
    using Of::Of;
    moeq_status run(moeq_error* err) override
    {
        return moeq_convert(this->world_.context, this->source_path_.c_str(), this->target_path_.c_str(),
                            &this->options_, err);
    }
    Bytes state() override
    {
        Bytes bytes;
        append_value(bytes, std::filesystem::exists(this->target_path_));
        return bytes;
    }
    Bytes result() override
    {
        std::map<std::string, Bytes> files;
        for (const auto& entry : std::filesystem::directory_iterator(this->target_path_)) {
            std::ifstream file(entry.path(), std::ios::binary);
            files[entry.path().filename().string()] = Bytes(std::istreambuf_iterator<char>(file), {});
        }
        Bytes bytes;
        for (const auto& [name, contents] : files) {
            append(bytes, name.data(), name.size());
            append(bytes, contents);
        }
        std::filesystem::remove_all(this->target_path_); // for the next time
        return bytes;
    }
};

} // namespace

void add_convert_calls(std::vector<CallKind>& calls)
{
    add<ConvertPlan<OfCheckpoint>>(calls, "convert_plan", "moeq_convert_plan", false, kFew);
    add<Convert<OfCheckpoint>>(calls, "convert", "moeq_convert", false, kFew);
    add<ConvertPlan<OfQuantized>>(calls, "plan of a dense target", "moeq_convert_plan", false, kFew);
    add<Convert<OfQuantized>>(calls, "convert into a dense target", "moeq_convert", false, kFew);
}

} // namespace moeq_test
