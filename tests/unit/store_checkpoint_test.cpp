// Checkpoints: a file, a directory with one, shards and their index, a hub's cache of links, mappings, many readers at
// once. What is refused is in tests/hostile.
#include "store/container/checkpoint.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::store::Checkpoint;

struct Opened {
    explicit Opened(const std::string& path, bool map = false)
    {
        status = checkpoint.open(path.c_str(), 0, map, outcome.report);
    }
    std::string names() const
    {
        std::string names;
        for (int64_t i = 0; i < checkpoint.tensor_count(); ++i)
            names += checkpoint.tensor(i).entry.name + std::string(" ");
        return names;
    }
    int64_t find(const std::string& name) const
    {
        return checkpoint.find(name.data(), static_cast<int64_t>(name.size()));
    }
    std::string bytes(const std::string& name)
    {
        const int64_t tensor = find(name);
        std::string bytes(static_cast<size_t>(checkpoint.tensor(tensor).entry.bytes), '\0');
        EXPECT_EQ(checkpoint.read(tensor, 0, static_cast<int64_t>(bytes.size()), bytes.data(), outcome.report),
                  MOEQ_OK);
        return bytes;
    }

    CountedMemory memory;
    Outcome outcome;
    Checkpoint checkpoint{memory.allocator};
    moeq_status status;
};

std::string first_shard()
{
    return container("{" + tensor("b", "U8", "[2]", 0, 2) + ", " + tensor("a", "U8", "[3]", 2, 5) + "}", "bbaaa");
}
std::string second_shard() { return container("{" + tensor("c", "F16", "[2]", 0, 4) + "}", "cccc"); }
const char* const kIndexText =
    "{\"metadata\": {\"total_size\": 9}, \"weight_map\": {\"c\": \"two.safetensors\", \"a\": "
    "\"one.safetensors\", \"b\": \"one.safetensors\"}}";

void write_shards(const TemporaryFolder& folder)
{
    folder.write("two.safetensors", second_shard());
    folder.write("one.safetensors", first_shard());
    folder.write("model.safetensors.index.json", kIndexText);
    folder.write("config.json", "{\"model_type\": \"x\", \"limit\": [0.0, Infinity]}");
}

TEST(Checkpoint, opens_a_file)
{
    const TemporaryFolder folder;
    Opened opened(folder.write("any.name", first_shard()));
    ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
    EXPECT_EQ(opened.names(), "b a ");
    EXPECT_EQ(opened.bytes("a"), "aaa");
    EXPECT_EQ(opened.bytes("b"), "bb");
    EXPECT_EQ(opened.find("c"), -1);
    EXPECT_EQ(opened.find(""), -1);
    EXPECT_EQ(opened.checkpoint.bytes(), 5);
    EXPECT_FALSE(opened.checkpoint.is_directory());
    EXPECT_TRUE(opened.checkpoint.config().missing());
    EXPECT_EQ(opened.checkpoint.mapped(0), nullptr);
    char byte = 0;
    EXPECT_EQ(opened.checkpoint.read(1, 2, 1, &byte, opened.outcome.report), MOEQ_OK);
    EXPECT_EQ(opened.checkpoint.read(1, 3, 0, &byte, opened.outcome.report), MOEQ_OK);
    EXPECT_EQ(opened.checkpoint.read(1, 3, 1, &byte, opened.outcome.report), MOEQ_ERROR_INTERNAL);
    EXPECT_EQ(opened.checkpoint.read(1, -1, 1, &byte, opened.outcome.report), MOEQ_ERROR_INTERNAL);
}

TEST(Checkpoint, opens_a_directory_with_one_file)
{
    const TemporaryFolder folder;
    folder.write("model.safetensors", first_shard());
    folder.write("pytorch_model.bin", "not looked at");
    folder.write("config.json", "{\"model_type\": \"mixtral\"}");
    Opened opened(folder.path());
    ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
    EXPECT_EQ(opened.names(), "b a ");
    EXPECT_TRUE(opened.checkpoint.is_directory());
    EXPECT_TRUE(opened.checkpoint.config().find("model_type").equals("mixtral"));
    EXPECT_STREQ(opened.checkpoint.file(0).file.name(), "model.safetensors");
}

TEST(Checkpoint, opens_shards_in_the_order_of_their_names)
{
    const TemporaryFolder folder;
    write_shards(folder);
    folder.write("consolidated.safetensors", "not in the index, not opened");
    for (const bool map : {false, true}) {
        Opened opened(folder.path(), map);
        ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
        EXPECT_EQ(opened.names(), "b a c ");
        EXPECT_EQ(opened.checkpoint.file_count(), 2);
        EXPECT_STREQ(opened.checkpoint.file(0).file.name(), "one.safetensors");
        EXPECT_EQ(opened.checkpoint.file(1).first_tensor, 2);
        EXPECT_EQ(opened.checkpoint.file(1).tensor_count, 1);
        EXPECT_EQ(opened.checkpoint.tensor(2).file, 1);
        EXPECT_EQ(opened.checkpoint.bytes(), 9);
        EXPECT_EQ(opened.bytes("a"), "aaa");
        EXPECT_EQ(opened.bytes("c"), "cccc");
        EXPECT_EQ(opened.checkpoint.config().find("limit").size(), 2);
        const int64_t c = opened.find("c");
        ASSERT_EQ(opened.checkpoint.mapped(c) != nullptr, map);
        if (map) {
            EXPECT_EQ(std::string(opened.checkpoint.mapped(c), 4), "cccc");
        }
    }
}

TEST(Checkpoint, follows_the_links_of_a_hubs_cache)
{
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder.path("blobs"));
    std::filesystem::create_directories(folder.path("snapshots/abc"));
    folder.write("blobs/1", first_shard());
    folder.write("blobs/2", second_shard());
    folder.write("blobs/3", kIndexText);
    const auto link_to = [&](const char* blob, const char* name) {
        ASSERT_EQ(symlink((std::string("../../blobs/") + blob).c_str(),
                          folder.path(std::string("snapshots/abc/") + name).c_str()),
                  0);
    };
    link_to("1", "one.safetensors");
    link_to("2", "two.safetensors");
    link_to("3", "model.safetensors.index.json");
    ASSERT_EQ(symlink("abc", folder.path("snapshots/main").c_str()), 0);
    for (const char* name : {"snapshots/abc", "snapshots/main", "snapshots/main/"}) {
        Opened opened(folder.path(name));
        ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
        EXPECT_EQ(opened.names(), "b a c ");
    }
}

const char* model_type(const Opened& opened) { return opened.checkpoint.config().find("model_type").text(); }

TEST(Checkpoint, reads_the_config_beside_a_file)
{
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder.path("inner"));
    folder.write("config.json", "{\"model_type\": \"outer\"}");
    folder.write("inner/one.safetensors", first_shard());
    const std::string file = folder.path("inner/one.safetensors");
    EXPECT_STREQ(model_type(Opened(file)), ""); // that of another folder is none
    folder.write("inner/config.json", "{\"model_type\": \"inner\", \"limit\": NaN}");
    const auto before = std::filesystem::current_path();
    for (const bool map : {false, true}) {
        const Opened opened(file, map);
        ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
        EXPECT_STREQ(model_type(opened), "inner");
        EXPECT_FALSE(opened.checkpoint.is_directory());
    }
    EXPECT_STREQ(model_type(Opened(folder.path("inner/../inner//one.safetensors"))), "inner");
    std::filesystem::current_path(folder.path("inner"));
    EXPECT_STREQ(model_type(Opened("one.safetensors")), "inner");
    EXPECT_STREQ(model_type(Opened("./one.safetensors")), "inner");
    std::filesystem::current_path(before);
}

// Where the link is, not where it leads to: a hub's cache keeps the contents of many models in one folder.
TEST(Checkpoint, looks_for_the_config_beside_the_link)
{
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder.path("blobs"));
    std::filesystem::create_directories(folder.path("snapshots/abc"));
    folder.write("blobs/1", first_shard());
    folder.write("blobs/2", "{\"model_type\": \"linked\"}");
    folder.write("blobs/config.json", "{\"model_type\": \"wrong\"}");
    const std::string file = folder.path("snapshots/abc/model.safetensors");
    const std::string config = folder.path("snapshots/abc/config.json");
    ASSERT_EQ(symlink("../../blobs/1", file.c_str()), 0);
    EXPECT_STREQ(model_type(Opened(file)), "");
    ASSERT_EQ(symlink("../../blobs/nothing", config.c_str()), 0); // as when it was never loaded
    EXPECT_STREQ(model_type(Opened(file)), "");
    ASSERT_EQ(unlink(config.c_str()), 0);
    ASSERT_EQ(symlink("../../blobs/2", config.c_str()), 0);
    EXPECT_STREQ(model_type(Opened(file)), "linked");
}

TEST(Checkpoint, an_index_may_have_no_tensors)
{
    const TemporaryFolder folder;
    folder.write("model.safetensors.index.json", "{\"weight_map\": {}}");
    Opened opened(folder.path());
    EXPECT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
    EXPECT_EQ(opened.checkpoint.tensor_count(), 0);
    EXPECT_EQ(opened.find("a"), -1);
}

TEST(Checkpoint, one_whose_file_shrinks_is_truncated)
{
    const TemporaryFolder folder;
    write_shards(folder);
    Opened opened(folder.path());
    ASSERT_EQ(opened.status, MOEQ_OK);
    const int64_t a = opened.find("a");
    ASSERT_EQ(truncate(folder.path("one.safetensors").c_str(), opened.checkpoint.tensor(a).entry.offset + 1), 0);
    char bytes[3];
    EXPECT_EQ(opened.checkpoint.read(a, 0, 1, bytes, opened.outcome.report), MOEQ_OK);
    EXPECT_EQ(opened.checkpoint.read(a, 0, 3, bytes, opened.outcome.report), MOEQ_ERROR_TRUNCATED);
    EXPECT_EQ(opened.outcome.class_id(), "F19");
    EXPECT_NE(opened.outcome.message().find("one.safetensors"), std::string::npos);
}

TEST(Checkpoint, finds_every_name_of_many)
{
    const TemporaryFolder folder;
    std::string text = "{";
    constexpr int64_t kCount = 20'000;
    for (int64_t i = 0; i < kCount; ++i)
        text += (i == 0 ? "" : ", ") + tensor("model.layers." + std::to_string(i) + ".weight", "U8", "[1]", i, i + 1);
    Opened opened(folder.write("m.safetensors", container(text + "}", std::string(kCount, 'x'))));
    ASSERT_EQ(opened.status, MOEQ_OK) << opened.outcome.message();
    for (int64_t i = 0; i < kCount; ++i)
        ASSERT_EQ(opened.find("model.layers." + std::to_string(i) + ".weight"), i);
    EXPECT_EQ(opened.find("model.layers.20000.weight"), -1);
    EXPECT_EQ(opened.find("model.layers.1.weigh"), -1);
}

TEST(Checkpoint, many_threads_may_read_at_once)
{
    const TemporaryFolder folder;
    write_shards(folder);
    Opened opened(folder.path());
    ASSERT_EQ(opened.status, MOEQ_OK);
    std::vector<std::thread> threads;
    std::vector<int64_t> wrong(8, 0);
    for (int64_t t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            Outcome outcome;
            for (int i = 0; i < 500; ++i) {
                const std::string name(1, "abc"[(i + t) % 3]);
                char bytes[4];
                const int64_t tensor = opened.checkpoint.find(name.data(), 1);
                const int64_t count = opened.checkpoint.tensor(tensor).entry.bytes;
                if (opened.checkpoint.read(tensor, 0, count, bytes, outcome.report) != MOEQ_OK ||
                    std::string(bytes, static_cast<size_t>(count)) != std::string(static_cast<size_t>(count), name[0]))
                    ++wrong[static_cast<size_t>(t)];
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, std::vector<int64_t>(8, 0));
}

TEST(Checkpoint, survives_every_failing_allocation)
{
    const TemporaryFolder folder;
    write_shards(folder);
    const std::string paths[] = {folder.path(), folder.path("one.safetensors")};
    for (const auto& [path, once] : {std::pair{paths[0], true}, {paths[0], false}, {paths[1], true}, {paths[1], false}})
        for (int64_t fail_at = 0;; ++fail_at) {
            CountedMemory memory;
            memory.fail_at = fail_at;
            memory.fail_once = once;
            moeq_status status = MOEQ_OK;
            {
                Checkpoint checkpoint(memory.allocator);
                Outcome outcome;
                status = checkpoint.open(path.c_str(), 0, true, outcome.report);
            }
            EXPECT_EQ(memory.allocator.live(), 0);
            if (memory.calls <= fail_at) {
                EXPECT_EQ(status, MOEQ_OK);
                EXPECT_GT(fail_at, 5);
                break;
            }
            EXPECT_EQ(status, MOEQ_ERROR_MEMORY);
        }
}

} // namespace
} // namespace moeq_test
