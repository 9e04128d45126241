// A save from first to last call, and the folder that it goes to: for tests of what can go wrong with it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "support/calls_base.h"
#include "support/temporary_folder.h"

namespace moeq_test {

namespace fs = std::filesystem;

class Folder : public TemporaryFolder {
public:
    std::string target() const { return path("model.safetensors"); }
    // Everything but the target.
    std::vector<std::string> others() const
    {
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(path()))
            if (entry.path() != target())
                names.push_back(entry.path().filename().string());
        return names;
    }
    // What a killed process may leave: files that everyone can tell.
    void remove_leftovers() const
    {
        static const std::regex kName("\\.model\\.safetensors\\.moeq-tmp-[0-9a-f]{16}");
        for (const std::string& name : others()) {
            EXPECT_TRUE(std::regex_match(name, kName)) << name;
            fs::remove(path(name));
        }
    }
    void set(const std::string& bytes) const
    {
        fs::remove(target());
        if (!bytes.empty())
            std::ofstream(target(), std::ios::binary) << bytes;
    }
};

// A file with a quantized weight and a dense tensor, saved from first to last call.
class Save {
public:
    explicit Save(World& world, uint64_t seed = 1, int64_t length = 1000)
        : world_(world), spec_(parse("nf4:nested,dtype=bf16")), dense_(MOEQ_DTYPE_BF16, {length})
    {
        quantize(world, spec_, kSmall, seed, weight_);
        dense_.fill(seed);
    }

    moeq_status run(const std::string& path, int32_t flags, moeq_error* err)
    {
        auto options = sized<moeq_writer_options>();
        options.flags = flags;
        moeq_writer* writer = nullptr;
        moeq_status status = moeq_writer_create(world_.context, path.c_str(), &options, &writer, err);
        if (status == MOEQ_OK)
            status = fill(writer, err);
        if (status == MOEQ_OK)
            status = moeq_writer_commit(writer, err);
        moeq_writer_destroy(writer);
        return status;
    }
    // What a save that works gives.
    std::string bytes()
    {
        const Folder folder;
        EXPECT_DONE(run(folder.target(), MOEQ_WRITER_NOT_DURABLE, &err));
        return contents(folder.target());
    }
    World& world() { return world_; }

private:
    moeq_status fill(moeq_writer* writer, moeq_error* err)
    {
        const Shape shape = kSmall.shape();
        moeq_status status = moeq_writer_declare(writer, "experts", &spec_, 0, 3, shape.data(), err);
        if (status == MOEQ_OK)
            status = moeq_writer_declare(writer, "norm", nullptr, MOEQ_DTYPE_BF16, 1, dense_.shape().data(), err);
        if (status == MOEQ_OK)
            status = moeq_writer_put(writer, "norm", dense_, nullptr, err);
        if (status == MOEQ_OK)
            status = moeq_writer_put_qtensor(writer, "experts", weight_.get(), nullptr, err);
        return status;
    }

    World& world_;
    moeq_spec spec_;
    HostTensor dense_;
    QtensorOut weight_;
};

inline const char* const kOld = "the old file, which is shorter";

struct Case {
    const char* name;
    const char* old; // NULL: there is none
    int32_t flags;
};
inline const Case kCases[] = {{"New", nullptr, 0}, {"OverOld", kOld, 0}, {"NotDurable", kOld, MOEQ_WRITER_NOT_DURABLE}};

} // namespace moeq_test
