// Directories made to break a reader: indices, configurations and special files.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "store/container/checkpoint.h"
#include "support/open_reader.h"
#include "support/store.h"

namespace moeq_test {
namespace {

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr int64_t kSmallLimit = 100'000;

std::string shard(const std::string& name) { return container("{" + tensor(name, "U8", "[1]", 0, 1) + "}", "x"); }
std::string index_of(const std::string& members) { return "{\"weight_map\": {" + members + "}}"; }

struct Case {
    const char* what;
    std::function<void(const TemporaryFolder&)> make;
    moeq_status status;
    const char* class_id;
};

// Opens the folder itself; at once, whatever is in it, and with nothing left behind.
void expect_refused(const std::vector<Case>& cases)
{
    for (const Case& hostile : cases) {
        const TemporaryFolder folder;
        hostile.make(folder);
        CountedMemory memory;
        const auto begin = std::chrono::steady_clock::now();
        {
            moeq::store::Checkpoint checkpoint(memory.allocator);
            Outcome outcome;
            EXPECT_EQ(checkpoint.open(folder.path().c_str(), kSmallLimit, false, outcome.report), hostile.status)
                << hostile.what << ": " << outcome.message();
            EXPECT_EQ(outcome.class_id(), hostile.class_id) << hostile.what << ": " << outcome.message();
        }
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2)) << hostile.what;
        EXPECT_EQ(memory.allocator.live(), 0);
        for (const int32_t flags : {0, MOEQ_READER_MMAP}) {
            const ReaderOutcome opened = open_reader(folder.path(), kSmallLimit, flags);
            EXPECT_EQ(opened.status, hostile.status) << hostile.what << ": " << opened.message;
            EXPECT_EQ(opened.class_id, hostile.class_id) << hostile.what << ": " << opened.message;
            EXPECT_EQ(opened.made, hostile.status == MOEQ_OK) << hostile.what;
        }
    }
}

// Shards a and b with an index of this text.
Case with_index(const char* what, const std::string& index, moeq_status status, const char* class_id)
{
    return {what,
            [index](const TemporaryFolder& folder) {
                folder.write("a.safetensors", shard("a"));
                folder.write("b.safetensors", shard("b"));
                folder.write(kIndex, index);
            },
            status, class_id};
}

const moeq_status kFormat = MOEQ_ERROR_FORMAT;
const std::string kBoth = "\"a\": \"a.safetensors\", \"b\": \"b.safetensors\"";

TEST(HostileFolder, good_ones_open)
{
    expect_refused({
        with_index("the index that is right", index_of(kBoth), MOEQ_OK, ""),
        with_index("and names one shard only", index_of("\"a\": \"a.safetensors\""), MOEQ_OK, ""),
    });
}

TEST(HostileFolder, F11_tensors_in_two_files)
{
    const auto twins = [](const std::string& index) {
        return [index](const TemporaryFolder& folder) {
            folder.write("a.safetensors", shard("same"));
            folder.write("b.safetensors", shard("\\u0073ame"));
            folder.write("c.safetensors", shard("c"));
            folder.write(kIndex, index);
        };
    };
    expect_refused({
        {"both named", twins(index_of("\"same\": \"a.safetensors\", \"other\": \"b.safetensors\"")), kFormat, "F11"},
        {"the second named by way of another", twins(index_of("\"same\": \"b.safetensors\", \"x\": \"a.safetensors\"")),
         kFormat, "F11"},
        {"twice in the index", twins(index_of("\"same\": \"a.safetensors\", \"same\": \"b.safetensors\"")), kFormat,
         "F11"},
        {"twice in the index, escaped",
         twins(index_of("\"same\": \"a.safetensors\", \"sam\\u0065\": \"a.safetensors\"")), kFormat, "F11"},
        {"two weight_maps", twins("{\"weight_map\": {}, \"weight_map\": {}}"), kFormat, "F11"},
    });
}

TEST(HostileFolder, F12_what_is_no_json)
{
    const auto with_config = [](const char* what, const std::string& config, moeq_status status, const char* class_id) {
        return Case{what,
                    [config](const TemporaryFolder& folder) {
                        folder.write("a.safetensors", shard("a"));
                        folder.write("config.json", config);
                    },
                    status, class_id};
    };
    expect_refused({
        with_index("an empty index", "", kFormat, "F12"),
        with_index("an index of binary", std::string(100, '\0'), kFormat, "F12"),
        with_index("an index that is cut", "{\"weight_map\": {\"a\": \"a.safe", kFormat, "F12"),
        with_index("an array", "[]", kFormat, "F12"),
        with_index("deep", std::string(50'000, '['), kFormat, "F12"),
        with_config("an empty config", "", kFormat, "F12"),
        with_config("a config of text", "\"x\"", kFormat, "F12"),
        with_config("a config that is cut", "{\"model_type\": \"mix", kFormat, "F12"),
        with_config("a name twice", "{\"model_type\": \"a\", \"model_type\": \"b\"}", kFormat, "F11"),
        with_config("bad UTF-8", "{\"model_type\": \"\xFF\"}", kFormat, "F12"),
        with_config("deep", std::string(50'000, '['), kFormat, "F12"),
    });
}

// A single file is opened as strictly: what config.json beside it says is used.
TEST(HostileFolder, what_is_beside_a_single_file)
{
    const auto text = [](const std::string& config) {
        return [config](const TemporaryFolder& folder) { folder.write("config.json", config); };
    };
    const Case cases[] = {
        {"a good one", text("{\"model_type\": \"mixtral\"}"), MOEQ_OK, ""},
        {"nothing", [](const TemporaryFolder&) {}, MOEQ_OK, ""},
        {"an empty config", text(""), kFormat, "F12"},
        {"a config that is cut", text("{\"model_type\": \"mix"), kFormat, "F12"},
        {"a list", text("[]"), kFormat, "F12"},
        {"a name twice", text("{\"a\": 1, \"a\": 2}"), kFormat, "F11"},
        {"too large", text("{}" + std::string(kSmallLimit, ' ')), MOEQ_ERROR_LIMIT, "F02"},
        {"a FIFO",
         [](const TemporaryFolder& folder) { ASSERT_EQ(mkfifo(folder.path("config.json").c_str(), 0600), 0); }, kFormat,
         "F18"},
        {"a device",
         [](const TemporaryFolder& folder) { ASSERT_EQ(symlink("/dev/zero", folder.path("config.json").c_str()), 0); },
         kFormat, "F18"},
        {"a directory",
         [](const TemporaryFolder& folder) { std::filesystem::create_directories(folder.path("config.json")); },
         kFormat, "F18"},
        {"a link to itself",
         [](const TemporaryFolder& folder) {
             ASSERT_EQ(symlink("config.json", folder.path("config.json").c_str()), 0);
         },
         MOEQ_OK, ""},
    };
    for (const Case& hostile : cases) {
        const TemporaryFolder folder;
        hostile.make(folder);
        const ReaderOutcome opened = open_reader(folder.write("a.safetensors", shard("a")), kSmallLimit);
        EXPECT_EQ(opened.status, hostile.status) << hostile.what << ": " << opened.message;
        EXPECT_EQ(opened.class_id, hostile.class_id) << hostile.what << ": " << opened.message;
        EXPECT_EQ(opened.made, hostile.status == MOEQ_OK) << hostile.what;
        EXPECT_TRUE(opened.made || opened.message.find("config.json") != std::string::npos) << opened.message;
    }
}

// A conversion that was stopped is no checkpoint, however much of it is there.
TEST(HostileFolder, what_a_conversion_left)
{
    const auto with = [](std::vector<std::string> files) {
        return [files](const TemporaryFolder& folder) {
            for (const std::string& name : files)
                folder.write(name, name == kIndex           ? index_of("\"a\": \"a.safetensors\"")
                                   : name.ends_with("json") ? "{}"
                                                            : shard("a"));
        };
    };
    expect_refused({
        {"its beginning", with({"moeq_plan.json"}), MOEQ_ERROR_INCOMPLETE, "F28"},
        {"one unit", with({"moeq_plan.json", "a.safetensors", "unit-00000.json"}), MOEQ_ERROR_INCOMPLETE, "F28"},
        {"all units and the index", with({"moeq_plan.json", "a.safetensors", kIndex}), MOEQ_ERROR_INCOMPLETE, "F28"},
        {"all", with({"moeq_plan.json", "a.safetensors", kIndex, "moeq_report.json"}), MOEQ_OK, ""},
        {"a finished one", with({"a.safetensors", kIndex, "moeq_report.json"}), MOEQ_OK, ""},
    });
    const TemporaryFolder folder;
    with({"moeq_plan.json", "a.safetensors"})(folder);
    const ReaderOutcome opened = open_reader(folder.path(), kSmallLimit);
    for (const char* part : {"conversion that is not finished", "command that began it"})
        EXPECT_NE(opened.message.find(part), std::string::npos) << opened.message;
}

TEST(HostileFolder, F02_too_large)
{
    const std::string spaces(kSmallLimit, ' ');
    expect_refused({
        with_index("an index", index_of(kBoth) + spaces, MOEQ_ERROR_LIMIT, "F02"),
        {"a config", [&](const TemporaryFolder& folder) { folder.write("config.json", "{}" + spaces); },
         MOEQ_ERROR_LIMIT, "F02"},
        {"a header", [&](const TemporaryFolder& folder) { folder.write("a.safetensors", container("{}" + spaces)); },
         MOEQ_ERROR_LIMIT, "F02"},
        {"an index of a terabyte that is not there",
         [&](const TemporaryFolder& folder) {
             folder.write(kIndex, "{");
             ASSERT_EQ(truncate(folder.path(kIndex).c_str(), int64_t{1} << 40), 0);
         },
         MOEQ_ERROR_LIMIT, "F02"},
        {"a header of a terabyte that is not there",
         [&](const TemporaryFolder& folder) {
             folder.write("a.safetensors", length_prefix((uint64_t{1} << 40) - 8) + "{");
             ASSERT_EQ(truncate(folder.path("a.safetensors").c_str(), int64_t{1} << 40), 0);
         },
         MOEQ_ERROR_LIMIT, "F02"},
    });
}

TEST(HostileFolder, F17_names_that_lead_elsewhere)
{
    std::vector<Case> cases;
    for (const char* name :
         {"../a.safetensors", "/etc/passwd", "", ".", "..", "sub/a.safetensors", "./a.safetensors", "a.safetensors/",
          "a.safetensors\\u0000.json", "\\u002e\\u002e\\u002fa.safetensors", "//a"})
        cases.push_back(with_index(name, index_of(std::string("\"a\": \"") + name + "\""), kFormat, "F17"));
    cases.push_back(with_index("no text", index_of("\"a\": 1"), kFormat, "F17"));
    cases.push_back(with_index("a list", index_of("\"a\": [\"a.safetensors\"]"), kFormat, "F17"));
    cases.push_back(with_index("null", index_of("\"a\": null"), kFormat, "F17"));
    cases.push_back(with_index("256 bytes", index_of("\"a\": \"" + std::string(256, 'a') + "\""), kFormat, "F17"));
    cases.push_back(
        with_index("a good one and a bad one", index_of(kBoth + ", \"c\": \"../c.safetensors\""), kFormat, "F17"));
    expect_refused(cases);
}

TEST(HostileFolder, F18_special_files)
{
    const auto with_fifo = [](const char* name, const std::string& index) {
        return [name, index](const TemporaryFolder& folder) {
            ASSERT_EQ(mkfifo(folder.path(name).c_str(), 0600), 0);
            if (!index.empty())
                folder.write(kIndex, index);
        };
    };
    const auto with_link = [](const char* name, const char* target) {
        return
            [name, target](const TemporaryFolder& folder) { ASSERT_EQ(symlink(target, folder.path(name).c_str()), 0); };
    };
    const auto with_folder = [](const char* name) {
        return [name](const TemporaryFolder& folder) { std::filesystem::create_directories(folder.path(name)); };
    };
    expect_refused({
        {"a FIFO as the model", with_fifo("model.safetensors", ""), kFormat, "F18"},
        {"a FIFO as a shard", with_fifo("a.safetensors", index_of("\"a\": \"a.safetensors\"")), kFormat, "F18"},
        {"a FIFO as the index", with_fifo(kIndex, ""), kFormat, "F18"},
        {"a FIFO as the config", with_fifo("config.json", ""), kFormat, "F18"},
        {"a device as the model", with_link("model.safetensors", "/dev/zero"), kFormat, "F18"},
        {"a device as the index", with_link(kIndex, "/dev/zero"), kFormat, "F18"},
        {"a directory as the model", with_folder("model.safetensors"), kFormat, "F18"},
        {"a directory as the config", with_folder("config.json"), kFormat, "F18"},
    });
}

TEST(HostileFolder, F18_special_files_by_themselves)
{
    const TemporaryFolder folder;
    const std::string fifo = folder.path("fifo");
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    for (const std::string& path : {fifo, std::string("/dev/zero"), std::string("/dev/null")}) {
        CountedMemory memory;
        moeq::store::Checkpoint checkpoint(memory.allocator);
        Outcome outcome;
        EXPECT_EQ(checkpoint.open(path.c_str(), 0, true, outcome.report), kFormat) << path;
        EXPECT_EQ(outcome.class_id(), "F18") << path;
    }
}

TEST(HostileFolder, F26_no_other_loader_is_tried)
{
    const auto with = [](const char* name, const std::string& bytes) {
        return [name, bytes](const TemporaryFolder& folder) { folder.write(name, bytes); };
    };
    expect_refused({
        {"a pickle beside nothing", with("pytorch_model.bin", "\x80\x02}q\x01."), MOEQ_ERROR_NOT_FOUND, ""},
        {"a pickle by another name", with("model.safetensors", "\x80\x02}q\x01.        "), kFormat, "F01"},
        {"a zip by another name", with("model.safetensors", "PK\x03\x04" + std::string(100, '\1')), kFormat, "F01"},
        with_index("a shard that is a pickle", index_of("\"a\": \"pytorch_model.bin\""), MOEQ_ERROR_NOT_FOUND, "F28"),
    });
}

TEST(HostileFolder, F28_an_index_that_says_something_else)
{
    expect_refused({
        with_index("a tensor that is nowhere", index_of(kBoth + ", \"c\": \"b.safetensors\""), kFormat, "F28"),
        with_index("in the other file", index_of("\"a\": \"b.safetensors\", \"b\": \"a.safetensors\""), kFormat, "F28"),
        with_index("one is left out", index_of("\"a\": \"a.safetensors\", \"x\": \"b.safetensors\""), kFormat, "F28"),
        with_index("no weight_map", "{\"metadata\": {}}", kFormat, "F28"),
        with_index("a weight_map of text", "{\"weight_map\": \"a.safetensors\"}", kFormat, "F28"),
        {"two files and no index",
         [](const TemporaryFolder& folder) {
             folder.write("a.safetensors", shard("a"));
             folder.write("b.safetensors", shard("b"));
         },
         kFormat, "F28"},
        with_index("a file that is not there", index_of("\"a\": \"a.safetensors\", \"c\": \"c.safetensors\""),
                   MOEQ_ERROR_NOT_FOUND, "F28"),
        {"nothing", [](const TemporaryFolder&) {}, MOEQ_ERROR_NOT_FOUND, ""},
    });
}

// People have such: it is read and told of, and refused by who asks for that.
TEST(HostileFolder, F28_a_tensor_that_the_index_does_not_name)
{
    const TemporaryFolder folder;
    folder.write(
        "a.safetensors",
        container("{" + tensor("a", "U8", "[1]", 0, 1) + ", " + tensor("more", "U8", "[1]", 1, 2) + "}", "xx"));
    folder.write("c.safetensors", shard("c"));
    folder.write(kIndex, index_of("\"a\": \"a.safetensors\""));
    CountedMemory memory;
    Outcome outcome;
    moeq::store::Checkpoint checkpoint(memory.allocator);
    ASSERT_EQ(checkpoint.open(folder.path().c_str(), 0, false, outcome.report), MOEQ_OK) << outcome.message();
    EXPECT_EQ(checkpoint.tensor_count(), 2);
    EXPECT_EQ(checkpoint.unlisted_count(), 1);
    EXPECT_STREQ(checkpoint.tensor(checkpoint.first_unlisted()).entry.name, "more");
    ASSERT_EQ(checkpoint.stray_count(), 1);
    EXPECT_STREQ(checkpoint.stray(0), "c.safetensors");
    moeq::store::Checkpoint strict(memory.allocator);
    EXPECT_EQ(strict.open(folder.path().c_str(), 0, false, outcome.report, {.strict = true}), kFormat);
    EXPECT_EQ(outcome.class_id(), "F28");
    moeq::store::Checkpoint all(memory.allocator);
    Outcome again;
    ASSERT_EQ(all.open(folder.path().c_str(), 0, false, again.report, {.all = true}), MOEQ_OK) << again.message();
    EXPECT_EQ(all.tensor_count(), 3);
    EXPECT_EQ(all.unlisted_count() + all.stray_count(), 0);
}

TEST(HostileFolder, bad_headers_of_shards_are_told_with_their_file)
{
    const TemporaryFolder folder;
    folder.write("a.safetensors", shard("a"));
    folder.write("b.safetensors", shard("b") + "tail");
    folder.write(kIndex, index_of(kBoth));
    CountedMemory memory;
    moeq::store::Checkpoint checkpoint(memory.allocator);
    Outcome outcome;
    EXPECT_EQ(checkpoint.open(folder.path().c_str(), 0, false, outcome.report), kFormat);
    EXPECT_EQ(outcome.class_id(), "F09");
    EXPECT_NE(outcome.message().find("b.safetensors\""), std::string::npos) << outcome.message();
}

// What to do is told: where the file should be, and who wants it there; or that this is the wrong file.
TEST(HostileFolder, messages_about_files_say_where_and_why)
{
    const TemporaryFolder folder;
    folder.write(kIndex, index_of(kBoth));
    folder.write("a.safetensors", shard("a"));
    const std::string index = folder.path(kIndex);
    CountedMemory memory;
    const auto message_of = [&](const std::string& path, moeq_status status, const char* class_id) {
        moeq::store::Checkpoint checkpoint(memory.allocator);
        Outcome outcome;
        EXPECT_EQ(checkpoint.open(path.c_str(), 0, false, outcome.report), status) << path;
        EXPECT_EQ(outcome.class_id(), class_id);
        return outcome.message();
    };
    const auto holds = [](const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    };
    const std::string missing = message_of(folder.path(), MOEQ_ERROR_NOT_FOUND, "F28");
    EXPECT_TRUE(holds(missing, "directory \"" + folder.path().substr(0, 20))) << missing;
    EXPECT_TRUE(holds(missing, "\": got no file \"b.safetensors\"; want all files that " + std::string(kIndex)))
        << missing;
    const std::string json = message_of(index, kFormat, "F01");
    EXPECT_TRUE(holds(json, "looks like JSON; want a .safetensors file, or the directory")) << json;
    folder.write("b.safetensors", shard("b").substr(0, 12));
    const std::string cut = message_of(folder.path(), MOEQ_ERROR_TRUNCATED, "F01");
    const bool is_short = folder.path("b.safetensors").size() < 96;
    EXPECT_TRUE(holds(cut, is_short ? folder.path("b.safetensors") : "\"b.safetensors\"")) << cut;
    // A path that a message would cut: the name is what counts.
    const std::string longer = folder.path() + std::string(60, '/') + std::string("./.") + std::string(40, '/');
    const std::string name = message_of(longer, MOEQ_ERROR_TRUNCATED, "F01");
    EXPECT_TRUE(holds(name, "file \"b.safetensors\"")) << name;
}

// What is asked of a file beyond its end when it was opened, and of one that has changed since.
TEST(HostileFolder, F19_files_that_shrink)
{
    for (const int64_t left : {0, 8, 70}) {
        const TemporaryFolder folder;
        const std::string path = folder.write(
            "a.safetensors", container("{" + tensor("a", "U8", "[100]", 0, 100) + "}", std::string(100, 'x')));
        CountedMemory memory;
        moeq::store::Checkpoint checkpoint(memory.allocator);
        Outcome outcome;
        ASSERT_EQ(checkpoint.open(path.c_str(), 0, false, outcome.report), MOEQ_OK);
        ASSERT_EQ(truncate(path.c_str(), left), 0);
        char bytes[100];
        EXPECT_EQ(checkpoint.read(0, 0, 100, bytes, outcome.report), MOEQ_ERROR_TRUNCATED);
        EXPECT_EQ(outcome.class_id(), "F19");
    }
}

} // namespace
} // namespace moeq_test
