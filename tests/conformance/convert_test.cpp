// Conversions as a whole: units in any order and number give the same files, a broken one is mended, and what changed is
// refused.
#include <algorithm>
#include <thread>

#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

class Convert : public ConvertFixture {};

// ---- the same bytes

TEST_F(Convert, TwoThreads)
{
    const Tree wanted = reference();
    convert(make_context(2), kTiny, path("two"), options_);
    expect_same_tree(tree(path("two")), wanted);
    EXPECT_FALSE(fs::exists(path("two.partial")));
}

TEST_F(Convert, UnitsInAnyOrder)
{
    const Tree wanted = reference();
    const int64_t units = unit_count(plan(context_, kTiny, path("t"), options_));
    ASSERT_GE(units, 9);
    for (int64_t u = units; u-- > 0;) {
        convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_UNITS, u, u + 1));
        EXPECT_FALSE(fs::exists(path("t")));
    }
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_FINISH));
    expect_same_tree(tree(path("t")), wanted);
}

TEST_F(Convert, OtherPaths)
{
    const Tree wanted = reference();
    const std::string source = copied_source();
    EXPECT_EQ(plan_hash(plan(context_, kTiny, path("a"), options_)), plan_hash(plan(context_, source, "b", options_)));
    EXPECT_EQ(plan(context_, kTiny, path("a"), options_), plan(context_, source + "/", "b", options_));
    convert(context_, source, path("t") + "/", options_);
    expect_same_tree(tree(path("t")), wanted);
}

// A source whose files are links into a store, as the cache of a hub has them.
TEST_F(Convert, SourceOfLinks)
{
    const Tree wanted = reference();
    fs::create_directory(path("links"));
    for (const auto& entry : fs::directory_iterator(kTiny))
        fs::create_symlink(entry.path(), path("links/" + entry.path().filename().string()));
    convert(context_, path("links"), path("t"), options_);
    expect_same_tree(tree(path("t")), wanted);
}

TEST_F(Convert, GoesOnWhereItWasStopped)
{
    const Tree wanted = reference();
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_UNITS));
    const std::string partial = path("t.partial/");
    fs::remove(partial + "unit-00001.json");
    fs::remove(partial + "model-00003-of-00009.safetensors");
    // A byte of the last tensor's data, and a byte of the header.
    for (const auto& [name, from_end] :
         {std::pair{"model-00005-of-00009.safetensors", 7}, std::pair{"model-00006-of-00009.safetensors", 221'600}}) {
        std::string bytes = read_file(partial + name);
        bytes[bytes.size() - static_cast<size_t>(from_end)] ^= 1;
        std::ofstream(partial + name, std::ios::binary) << bytes;
    }
    fs::resize_file(partial + "model-00007-of-00009.safetensors", 1000);
    std::ofstream(partial + "unit-00007.json") << "{\"plan\": \"";
    const Error error = refused(context_, kTiny, path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_INCOMPLETE);
    EXPECT_TRUE(contains(error.text(), ": 1, 2, 4, 5, 6, 7; ")) << error.text();
    EXPECT_FALSE(fs::exists(path("t")));
    const auto untouched = fs::last_write_time(partial + "model-00001-of-00009.safetensors");
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_UNITS));
    EXPECT_EQ(fs::last_write_time(partial + "model-00001-of-00009.safetensors"), untouched);
    convert(context_, kTiny, path("t"), steps(0));
    expect_same_tree(tree(path("t")), wanted);
}

TEST_F(Convert, OneUnitTwiceAtOnce)
{
    const Tree wanted = reference();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            ConvertOptions own(MOEQ_DIALECT_NATIVE, "nf4");
            own.value.steps = MOEQ_CONVERT_UNITS;
            convert(make_context(1), kTiny, path("t"), own);
        });
    for (std::thread& thread : threads)
        thread.join();
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_FINISH));
    expect_same_tree(tree(path("t")), wanted);
}

// The caller stops it at every place where it is asked.
TEST_F(Convert, Cancelled)
{
    const Tree wanted = reference();
    struct Stop {
        int calls_left;
        int64_t last = 0, total = 0;
    };
    options_.value.progress = [](const moeq_progress* progress, void* user) -> int32_t {
        auto* stop = static_cast<Stop*>(user);
        EXPECT_GE(progress->bytes_done, stop->last);
        EXPECT_LE(progress->bytes_done, progress->bytes_total);
        stop->last = progress->bytes_done;
        stop->total = progress->bytes_total;
        return --stop->calls_left < 0 ? 0 : MOEQ_CONTINUE;
    };
    const std::string text = plan(context_, kTiny, path("t"), ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"));
    const std::string key = "\"bytes_in\": ";
    const int64_t bytes_in = std::stoll(text.substr(text.find(key, text.find("\"totals\"")) + key.size()));
    int calls = 0;
    for (;; ++calls) {
        Stop stop{calls};
        options_.value.progress_user = &stop;
        const std::string target = path("t" + std::to_string(calls));
        Error error;
        const moeq_status status = moeq_convert(context_.get(), kTiny.c_str(), target.c_str(), &options_.value, &error);
        if (status == MOEQ_OK) {
            EXPECT_EQ(stop.last, stop.total);
            EXPECT_EQ(stop.total, bytes_in); // each byte counts once
            break;
        }
        ASSERT_EQ(status, MOEQ_ERROR_CANCELLED) << error.message;
        EXPECT_FALSE(fs::exists(target));
        for (const auto& entry : fs::directory_iterator(target + ".partial"))
            EXPECT_NE(entry.path().filename().string()[0], '.') << "something half-written was left";
        if (calls % 7 == 0) {
            ConvertOptions again(MOEQ_DIALECT_NATIVE, "nf4");
            convert(context_, kTiny, target, again);
            expect_same_tree(tree(target), wanted);
        }
    }
    EXPECT_GE(calls, 10);
}

// Another process finishes and publishes, at every place where this one is: nothing of this one's stays behind.
class ConvertRace : public Convert, public testing::WithParamInterface<int32_t> {};

TEST_P(ConvertRace, AnotherPublishes)
{
    struct Other {
        int calls_left;
        std::string target;
    };
    const Tree wanted = reference();
    for (int calls = 0;; ++calls) {
        Other other{calls, path("t" + std::to_string(calls))};
        if (GetParam() == MOEQ_CONVERT_FINISH)
            convert(context_, kTiny, other.target, steps(MOEQ_CONVERT_UNITS));
        ConvertOptions options(MOEQ_DIALECT_NATIVE, "nf4");
        options.value.steps = GetParam();
        options.value.progress_user = &other;
        options.value.progress = [](const moeq_progress*, void* user) -> int32_t {
            auto* the_other = static_cast<Other*>(user);
            if (the_other->calls_left-- == 0)
                convert(make_context(1), kTiny, the_other->target, ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"));
            return MOEQ_CONTINUE;
        };
        convert(context_, kTiny, other.target, options);
        if (other.calls_left >= 0) // it was never asked so often
            break;
        expect_same_tree(tree(other.target), wanted);
        EXPECT_FALSE(fs::exists(other.target + ".partial")) << calls;
        fs::remove_all(other.target);
    }
}

INSTANTIATE_TEST_SUITE_P(Steps, ConvertRace,
                         testing::Values(0, int32_t{MOEQ_CONVERT_UNITS}, int32_t{MOEQ_CONVERT_FINISH}));

// ---- stopped between the report and the name, and then damaged

// As `stop` left it when the caller was asked for the last time.
class ConvertSealed : public Convert {
protected:
    void seal(const std::string& source, const std::string& target)
    {
        ConvertOptions options(MOEQ_DIALECT_NATIVE, "nf4");
        options.value.progress = [](const moeq_progress* progress, void*) -> int32_t {
            return progress->bytes_done == progress->bytes_total && progress->name[0] == '\0' ? 0 : MOEQ_CONTINUE;
        };
        refused(context_, source, target, options, MOEQ_ERROR_CANCELLED);
        ASSERT_TRUE(fs::exists(target + ".partial/moeq_report.json"));
        ASSERT_FALSE(fs::exists(target));
    }
    void lose_plan(const std::string& target)
    {
        for (const auto& entry : fs::directory_iterator(target + ".partial")) {
            const std::string name = entry.path().filename();
            if (name == "moeq_plan.json" || name.rfind("unit-", 0) == 0)
                fs::remove(entry.path());
        }
    }
    static constexpr const char* kFirst = ".partial/model-00001-of-00009.safetensors";
};

TEST_F(ConvertSealed, OnlyTheNameIsMissing)
{
    const Tree wanted = reference();
    for (const bool lost : {false, true}) {
        const std::string target = path(lost ? "a" : "b");
        seal(kTiny, target);
        if (lost)
            lose_plan(target);
        convert(context_, kTiny, target, steps(MOEQ_CONVERT_FINISH));
        expect_same_tree(tree(target), wanted);
    }
}

TEST_F(ConvertSealed, ADamagedUnitIsNotPublished)
{
    const Tree wanted = reference();
    const std::string target = path("t");
    seal(kTiny, target);
    fs::resize_file(target + kFirst, 0);
    const Error error = refused(context_, kTiny, target, steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_INCOMPLETE);
    EXPECT_TRUE(contains(error.text(), "not as written: 0;")) << error.text();
    EXPECT_FALSE(fs::exists(target));
    convert(context_, kTiny, target, steps(0));
    expect_same_tree(tree(target), wanted);
}

TEST_F(ConvertSealed, WithoutItsRecordsItIsMadeAnew)
{
    const Tree wanted = reference();
    for (const bool removed : {false, true}) {
        const std::string target = path(removed ? "a" : "b");
        seal(kTiny, target);
        lose_plan(target);
        if (removed)
            fs::remove(target + kFirst);
        else
            fs::resize_file(target + kFirst, 100);
        refused(context_, kTiny, target, steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_INCOMPLETE);
        convert(context_, kTiny, target, steps(MOEQ_CONVERT_UNITS));
        EXPECT_FALSE(fs::exists(target + ".partial/moeq_report.json"));
        convert(context_, kTiny, target, steps(MOEQ_CONVERT_FINISH));
        expect_same_tree(tree(target), wanted);
    }
}

TEST_F(ConvertSealed, AChangedSourceIsSeen)
{
    const std::string source = copied_source();
    seal(source, path("t"));
    const std::string file = source + "/model-00001-of-00003.safetensors";
    ASSERT_TRUE(fs::exists(file));
    std::string bytes = read_file(file);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    std::ofstream(file, std::ios::binary) << bytes;
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(5));
    refused(context_, source, path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_MISMATCH);
    convert(context_, source, path("t"), steps(0));
    convert(context_, source, path("fresh"), steps(0));
    expect_same_tree(tree(path("t")), tree(path("fresh")));
}

// What gets the name is the directory that was looked at.
TEST_F(ConvertSealed, AnotherDirectoryOfThatName)
{
    const std::string target = path("t");
    options_.value.progress_user = const_cast<std::string*>(&target);
    options_.value.progress = [](const moeq_progress* progress, void* user) -> int32_t {
        const std::string& name = *static_cast<std::string*>(user);
        if (progress->bytes_done == progress->bytes_total && progress->name[0] == '\0') {
            fs::rename(name + ".partial", name + ".moved");
            fs::create_directory(name + ".partial");
        }
        return MOEQ_CONTINUE;
    };
    refused(context_, kTiny, target, options_, MOEQ_ERROR_STATE);
    EXPECT_FALSE(fs::exists(target));
    EXPECT_TRUE(fs::is_empty(target + ".partial"));
}

// A process that comes late with units of its own finds them done; one that is to make the target finds it there.
TEST_F(Convert, LateComers)
{
    convert(context_, kTiny, path("t"), options_);
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_UNITS, 1, 3));
    EXPECT_FALSE(fs::exists(path("t.partial")));
    refused(context_, kTiny, path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_DUPLICATE);
    ConvertOptions other(MOEQ_DIALECT_NATIVE, "int8");
    other.value.steps = MOEQ_CONVERT_UNITS;
    refused(context_, kTiny, path("t"), other, MOEQ_ERROR_DUPLICATE);
}

// ---- what is refused

TEST_F(Convert, AnotherPlansDirectory)
{
    convert(context_, kTiny, path("t"), steps(MOEQ_CONVERT_UNITS, 0, 1));
    const auto difference = [&](const ConvertOptions& other, const char* source) {
        const Error error = refused(context_, source, path("t"), other, MOEQ_ERROR_MISMATCH);
        EXPECT_TRUE(contains(error.text(), "remove it")) << error.text();
        return error.text();
    };
    EXPECT_TRUE(
        contains(difference(ConvertOptions(MOEQ_DIALECT_NATIVE, "int8"), kTiny.c_str()), "differs in its spec"));
    EXPECT_TRUE(
        contains(difference(ConvertOptions(MOEQ_DIALECT_NATIVE, nullptr), kTiny.c_str()), "differs in its spec"));
    EXPECT_TRUE(contains(difference(ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, "nf4"), kTiny.c_str()),
                         "differs in its dialect"));
    ConvertOptions ruled(MOEQ_DIALECT_NATIVE, "nf4");
    ruled.value.rules = "[]";
    EXPECT_TRUE(contains(difference(ruled, kTiny.c_str()), "differs in its rules"));
    const std::string source = copied_source();
    std::ofstream(source + "/config.json", std::ios::app) << "\n";
    steps(MOEQ_CONVERT_UNITS, 1, 2);
    convert(context_, source, path("t"), options_); // the same JSON
    std::string config = read_file(source + "/config.json");
    config.replace(config.find("1024"), 4, "2048");
    std::ofstream(source + "/config.json") << config;
    EXPECT_TRUE(
        contains(difference(ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"), source.c_str()), "differs in its config.json"));
}

TEST_F(Convert, ChangedSource)
{
    const std::string source = copied_source();
    const std::string shard = source + "/model-00001-of-00003.safetensors";
    convert(context_, source, path("t"), steps(MOEQ_CONVERT_UNITS));
    // Another time alone changes nothing.
    fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(5));
    fs::copy(path("t.partial"), path("u.partial"));
    convert(context_, source, path("u"), steps(MOEQ_CONVERT_FINISH));
    // Other bytes do.
    std::string bytes = read_file(shard);
    bytes[bytes.size() - 100] ^= 1;
    std::ofstream(shard, std::ios::binary) << bytes;
    fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(10));
    const Error error = refused(context_, source, path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_MISMATCH);
    EXPECT_TRUE(contains(error.text(), "model-00001-of-00003.safetensors")) << error.text();
    EXPECT_FALSE(fs::exists(path("t")));
    // What read the old bytes is done again.
    convert(context_, source, path("t"), steps(0));
    convert(context_, source, path("fresh"), steps(0));
    expect_same_tree(tree(path("t")), tree(path("fresh")));
}

TEST_F(Convert, ChangedHeader)
{
    const std::string source = copied_source();
    const std::string shard = source + "/model-00001-of-00003.safetensors";
    convert(context_, source, path("t"), steps(MOEQ_CONVERT_UNITS));
    std::string bytes = read_file(shard);
    const size_t pad = bytes.find("}   "); // the header's end
    ASSERT_LT(pad, 10'000u);
    bytes[pad + 1] = '\n';
    std::ofstream(shard, std::ios::binary) << bytes;
    const Error error = refused(context_, source, path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_MISMATCH);
    EXPECT_TRUE(contains(error.text(), "source files")) << error.text();
}

TEST_F(Convert, ATargetThatIsThere)
{
    for (const char* name : {"file", "directory", "link"}) {
        if (name[0] == 'f')
            folder_.write(name, "kept");
        else if (name[0] == 'd')
            fs::create_directory(path(name));
        else
            fs::create_symlink("nowhere", path(name));
        refused(context_, kTiny, path(name), options_, MOEQ_ERROR_DUPLICATE);
        EXPECT_FALSE(fs::exists(path(std::string(name) + ".partial")));
    }
    EXPECT_EQ(read_file(path("file")), "kept");
}

TEST_F(Convert, AMissingExpert)
{
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 3, 64, 64);
    const TemporaryFolder source;
    std::vector<ContainerFile> files(1);
    for (int64_t e = 0; e < 3; ++e)
        for (const char* name : {"gate_proj", "up_proj"})
            if (e != 1 || name[0] != 'u') {
                const int64_t begin = name[0] == 'u' ? 64 : 0;
                files[0].add("model.layers.0.mlp.experts." + std::to_string(e) + "." + name + ".weight",
                             MOEQ_DTYPE_BF16, {64, 64}, take_rows(layer.gate_up, e, begin, begin + 64));
            }
    write_sharded(source, files);
    source.write("config.json", layer.config());
    const Error error = refused(context_, source.path(), path("t"), options_, MOEQ_ERROR_INCOMPLETE);
    EXPECT_TRUE(contains(error.text(), "expert 1")) << error.text();
    convert(context_, source.path(), path("dense"), ConvertOptions(MOEQ_DIALECT_NATIVE, nullptr));
}

} // namespace
} // namespace moeq_test
