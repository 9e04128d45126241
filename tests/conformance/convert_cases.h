// Conversions as a caller makes them, and what they leave on the disk.
#pragma once

#include <map>

#include "conformance/reader_cases.h"

namespace moeq_test {

// Options with room for what they point to.
struct ConvertOptions {
    ConvertOptions(int32_t dialect, const char* text) : value(sized<moeq_convert_options>())
    {
        value.dialect = dialect;
        value.flags = MOEQ_WRITER_NOT_DURABLE;
        if (text != nullptr) {
            spec = parse(text);
            value.spec = &spec;
        }
    }
    ConvertOptions(const ConvertOptions&) = delete;
    ConvertOptions& operator=(const ConvertOptions&) = delete;

    moeq_spec spec{};
    moeq_convert_options value;
};

inline void convert(const Context& context, const std::string& source, const std::string& target,
                    const ConvertOptions& options)
{
    MOEQ_EXPECT_OK(moeq_convert(context.get(), source.c_str(), target.c_str(), &options.value, &ok));
}

// A conversion that must fail.
inline Error refused(const Context& context, const std::string& source, const std::string& target,
                     const ConvertOptions& options, moeq_status status)
{
    Error error;
    EXPECT_EQ(moeq_convert(context.get(), source.c_str(), target.c_str(), &options.value, &error), status)
        << error.message;
    return error;
}

inline std::string plan(const Context& context, const std::string& source, const std::string& target,
                        const ConvertOptions& options)
{
    moeq_blob* blob = nullptr;
    MOEQ_EXPECT_OK(moeq_convert_plan(context.get(), source.c_str(), target.c_str(), &options.value, &blob, &ok));
    const Blob owner(blob);
    return static_cast<const char*>(moeq_blob_data(blob));
}

inline std::string plan_hash(const std::string& plan) { return plan.substr(plan.find("\"hash\": \"") + 9, 32); }

inline int64_t unit_count(const std::string& plan)
{
    const std::string key = "\"totals\": {\"units\": ";
    return std::stoll(plan.substr(plan.find(key) + key.size()));
}

inline std::string read_file(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    EXPECT_TRUE(file.good()) << path;
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// All files below a directory, by name.
using Tree = std::map<std::string, std::string>;
inline Tree tree(const std::string& path)
{
    Tree out;
    for (const auto& entry : std::filesystem::directory_iterator(path))
        out[entry.path().filename().string()] = read_file(entry.path().string());
    return out;
}

inline void expect_same_tree(const Tree& a, const Tree& b)
{
    ASSERT_FALSE(a.empty());
    for (const auto& [name, bytes] : a) {
        const auto other = b.find(name);
        ASSERT_TRUE(other != b.end()) << name << " is missing";
        EXPECT_TRUE(bytes == other->second) << name << " differs";
    }
    for (const auto& [name, bytes] : b)
        EXPECT_EQ(a.count(name), 1u) << name << " is there too, " << bytes.size() << " bytes";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

namespace fs = std::filesystem;

inline const std::string kTiny = MOEQ_SOURCE_DIR "/tests/data/tiny-moe";

class ConvertFixture : public testing::Test {
protected:
    const Context context_ = make_context(1);
    TemporaryFolder folder_;
    ConvertOptions options_{MOEQ_DIALECT_NATIVE, "nf4"};

    std::string path(const std::string& name) const { return folder_.path(name); }
    // A source of its own, which may be changed.
    std::string copied_source() const
    {
        fs::copy(kTiny, path("source"));
        return path("source");
    }
    Tree reference()
    {
        convert(context_, kTiny, path("reference"), options_);
        return tree(path("reference"));
    }
    ConvertOptions& steps(int32_t which, int64_t begin = 0, int64_t end = 0)
    {
        options_.value.steps = which;
        options_.value.unit_begin = begin;
        options_.value.unit_end = end;
        return options_;
    }
};

} // namespace moeq_test
